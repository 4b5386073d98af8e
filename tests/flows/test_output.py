"""Whoever reads what a command prints, or does not, decides nothing over what it did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Project
from .interrupted import PATIENCE, environment

OWNLENS = str(Path(sys.executable).with_name("ownlens"))
CONTRACT = """\
table: {table}
domain: press
preset: events
key: [id]
path: press/t
columns: {{id: int64, created_at: timestamptz}}
"""


@pytest.mark.parametrize("both", [False, True], ids=["stdout", "stderr too"])
def test_a_load_whose_reader_has_left_ends_as_it_went(project: Project, both: bool) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [OWNLENS, "load", "--config", project.config]
    errors = writing if both else subprocess.PIPE
    done = subprocess.run(command, env=environment(), stdout=writing, stderr=errors, timeout=PATIENCE)
    os.close(writing)
    assert done.returncode == 0
    assert both or b"Traceback" not in done.stderr
    assert project.query("SELECT count(*) FROM press.reads") == [(3,)]


def folder(tmp_path: Path, table: str, file: str | None = None) -> str:
    (tmp_path / "press").mkdir()
    (tmp_path / "press" / f"{file or table}.yaml").write_text(CONTRACT.format(table=table), encoding="utf-8")
    return str(tmp_path)


def shown(contracts: str, table: str, output: int | None = None, **settings: str) -> subprocess.CompletedProcess[bytes]:
    command = [OWNLENS, "contracts", "show", table, "--contracts", contracts]
    where = subprocess.PIPE if output is None else output
    return subprocess.run(
        command, env={**os.environ, **settings}, stdout=where, stderr=subprocess.PIPE, timeout=PATIENCE
    )


def test_a_full_disk_below_stdout_is_told(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = shown(folder(tmp_path, "reads"), "reads", full.fileno())
    assert done.returncode == 1
    assert done.stderr == b"ownlens: the output cannot be written (No space left on device)\n"


@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "LANG": ""}, {"NO_COLOR": "1"}])
def test_names_that_a_terminal_cannot_spell_end_nothing(tmp_path: Path, settings: dict[str, str]) -> None:
    done = shown(folder(tmp_path, "日本語"), "日本語", **settings)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["load", "--full-refresh", "--tables", ""], "it names nothing; leave the option out for all"),
        (["load", "--tables", "reads", "--destinations", ","], "it names nothing; leave the option out for all"),
        (["show", "reads", "--destination", "s3", "--limit", "-1"], "-1 is not in the range x>=0"),
        (["quarantine", "show", "reads", "--limit", "-1"], "-1 is not in the range x>=0"),
    ],
)
def test_a_value_that_means_nothing_is_wrong_usage(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from ownlens_cli.main import run

    assert run(arguments) == 2
    assert told in capsys.readouterr().err
