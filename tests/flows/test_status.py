"""`ownlens status`: how far each destination has come, what is not validated, and the exit code for scripts."""

from __future__ import annotations

import io
import json
import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ownlens_cli.main import run
from ownlens_cli.standings import print_standings
from ownlens_plugins.engine.standing import Load, Standing

from .conftest import ROWS, Project
from .interrupted import die_at_validation
from .test_owed_validations import BAD_ARTICLE


def status(project: Project, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[Any, Any]]:
    capsys.readouterr()
    code = run(["status", "--config", project.config, "--json", *arguments])
    document = json.loads(capsys.readouterr().out)
    return code, {(load["table"], load["destination"]): load for load in document["loads"]}


def test_a_project_that_was_never_loaded_has_nothing_to_do(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    code, loads = status(project, capsys)
    assert (code, len(loads)) == (0, 6)
    assert {(load["newest"], load["validation"]) for load in loads.values()} == {(0, "none")}


def test_what_is_loaded_and_validated_is_in_order(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.load() == 0
    code, loads = status(project, capsys)
    assert code == 0
    assert {(one["position"], one["newest"], one["behind"], one["validation"]) for one in loads.values()} == {
        (1, 1, 0, "passed")
    }
    for one in loads.values():
        assert one["last_load"]["rows"] == {"authors": 2, "articles": 2, "reads": 3}[one["table"]]
        assert one["last_load"]["seconds"] > 0
        assert one["stored_bytes"] > 0
        assert one["staged_bytes"] > 0
    assert status(project, capsys, "--max-age", "90d")[0] == 0
    code, loads = status(project, capsys, "--max-age", "0s", "--presets", "reference", "--destinations", "lake")
    (author,) = loads.values()
    assert (code, author["table"], author["well"]) == (1, "authors", False)
    assert "not up to date since" in author["reason"]


def test_a_load_that_no_validation_has_seen_is_owed_one(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--tables", "authors", "--destinations", "s3")
    assert die_at_validation(project, tmp_path, *arguments) == -signal.SIGKILL
    code, loads = status(project, capsys, *arguments)
    assert (code, loads["authors", "s3"]["validation"]) == (1, "owed")
    assert project.load(*arguments) == 0
    code, loads = status(project, capsys, *arguments)
    assert (code, loads["authors", "s3"]["validation"]) == (0, "passed")


def test_a_failed_validation_stays_visible_with_its_reason(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.add_line("articles", BAD_ARTICLE)
    assert project.load("--destinations", "s3") == 1
    code, loads = status(project, capsys, "--destinations", "s3")
    article = loads["articles", "s3"]
    assert (code, article["validation"]) == (1, "failed")
    assert "expect_column_value_lengths_to_be_between" in article["reason"]
    assert run(["status", "--config", project.config]) == 1
    out = capsys.readouterr().out
    assert out.index("articles") < out.index("authors"), "what needs a person comes first"


def test_a_destination_that_lacks_sets_is_behind(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.load("--tables", "authors", "--destinations", "s3") == 0
    code, loads = status(project, capsys, "--tables", "authors")
    assert (code, loads["authors", "postgresql"]["behind"], loads["authors", "s3"]["behind"]) == (1, 1, 0)
    assert (loads["authors", "postgresql"]["rows_behind"], loads["authors", "s3"]["rows_behind"]) == (2, 0)


def test_a_destination_that_is_away_is_told_for_each_table(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.load("--destinations", "s3") == 0
    project.write_config(host="127.0.0.1", port=1, password="hunter2@%/")
    code, loads = status(project, capsys)
    assert code == 1
    assert all(loads[table, "postgresql"]["reason"] for table in ("authors", "articles", "reads"))
    assert loads["authors", "s3"]["validation"] == "passed"
    assert "hunter2" not in json.dumps(list(loads.values()))


def test_unknown_names_are_told(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--config", project.config, "--tables", "artcles"]) == 2
    assert "did you mean 'articles'?" in capsys.readouterr().err


@pytest.mark.parametrize("age", ["26", "a day", "all", ""])
def test_an_age_that_is_none_is_a_wrong_command_line(
    project: Project, capsys: pytest.CaptureFixture[str], age: str
) -> None:
    assert run(["status", "--config", project.config, "--max-age", age]) == 2
    assert "such as 36h" in capsys.readouterr().err


def test_a_failed_load_is_told_until_one_goes_well(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--tables", "authors", "--destinations", "s3")
    assert project.load(*arguments) == 0
    project.write_table("authors", "author_id\n1\n")
    assert project.load(*arguments) == 1
    code, loads = status(project, capsys, *arguments)
    author = loads["authors", "s3"]
    assert (code, author["position"], author["behind"]) == (1, 1, 0)
    assert "name" in author["reason"]
    assert author["last_load"]["rows"] == 2
    project.write_table("authors", ROWS["authors"])
    assert project.load(*arguments) == 0
    assert status(project, capsys, *arguments)[0] == 0


def test_a_source_that_is_away_is_told_for_each_table(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.folder / "data").rename(project.folder / "moved")
    assert project.load("--destinations", "s3") == 1
    code, loads = status(project, capsys, "--destinations", "s3")
    assert code == 1
    assert all(one["reason"] for one in loads.values()), loads


@pytest.mark.parametrize("width", [80, 120])
def test_many_tables_are_readable_on_a_terminal(width: int) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    names = [f"{'editorial_author_performance_of' if n % 2 else 'users'}_{n:02d}" for n in range(79)]
    load = Load(now, 1_234_567, 123.4)
    found = [
        Standing(name, place, 12_345, 12_345, as_of=now, last_load=load, staged_bytes=9**11, stored_bytes=9**12)
        for name in names
        for place in ("clickhouse", "postgresql", "s3")
    ]
    found = [replace(one, reason="s3: the lake is away") if one.destination == "s3" else one for one in found]
    out = io.StringIO()
    print_standings(found, now, Console(file=out, width=width, force_terminal=True, color_system=None))
    first, *lines = out.getvalue().splitlines()
    assert first.startswith("✗ 79 tables (users_00, editorial_author_performance_of_01, users_02, …): s3: the lake is")
    assert max(map(len, lines[:-1])) <= width
    assert sum("clickhouse" in line for line in lines[:-1]) == 79
    assert "79 need a person" in lines[-1]
