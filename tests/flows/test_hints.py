"""What went well and is still worth a word: columns that no contract names, and columns that older rows lack."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.commands import naming_the_table
from ownlens_plugins.errors import Rejected
from ownlens_s3.destination import S3Destination

from .conftest import Project

HEAD, ROW = "read_id,created_at,updated_at", "1,2026-01-03 11:00:00Z,2026-01-03 11:00:00Z"


def reads(project: Project, *, with_device: bool) -> None:
    """Write the table `reads`, and its contract, with or without a column `device`."""
    device = ", device: 'text?'" if with_device else ""
    project.write_contract(
        "reads",
        "preset: entity\nkey: [read_id]\npartition_by: created_at\n"
        f"columns: {{read_id: int64, created_at: timestamptz, updated_at: timestamptz{device}}}\n",
    )


def test_a_column_that_no_contract_names_is_told_once_at_the_end(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    reads(project, with_device=False)
    project.write_table("reads", f"{HEAD},device,app\n{ROW},phone,a\n")
    assert project.load("--tables", "reads") == 0
    err = capsys.readouterr().err.replace("\n", " ")
    said = "2 columns of the source that no contract names, left out: reads.device, reads.app"
    assert err.count(said) == 1
    assert project.load("--tables", "reads", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["unnamed_columns"] == {"reads": ["device", "app"]}
    assert document["hints"] == [said]
    assert document["succeeded"] is True


def test_a_column_that_older_rows_lack_is_told_until_the_advice_is_followed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    reads(project, with_device=False)
    project.write_table("reads", f"{HEAD},device\n{ROW},phone\n")
    assert project.load("--tables", "reads") == 0
    reads(project, with_device=True)
    capsys.readouterr()
    assert project.load("--tables", "reads", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["added_columns"] == {"reads": ["device"]}
    command = "ownlens load --full-refresh --tables reads"
    assert document["hints"] == [
        f"reads: device came into the contract after rows were loaded, which hold null there until {command}"
    ]
    assert project.load(*command.split()[2:]) == 0
    assert project.query("SELECT read_id, device FROM press.reads") == [(1, "phone")]
    capsys.readouterr()
    assert project.load("--tables", "reads", "--json") == 0
    assert json.loads(capsys.readouterr().out)["hints"] == []


def test_a_bare_full_refresh_of_a_message_names_the_table(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed as it stood, it would replace every table in every store."""

    def refuse(_: Any, plan: LoadPlan) -> Any:
        raise Rejected(f"{plan.table}: s3 is strange; replace it with --full-refresh")

    monkeypatch.setattr(S3Destination, "open", refuse)
    capsys.readouterr()
    assert project.load("--json") == 1
    said = json.loads(capsys.readouterr().out)["errors"]
    assert any(line.endswith("reads: s3 is strange; replace it with --full-refresh --tables reads") for line in said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("load it with --full-refresh", "load it with --full-refresh --tables 'a b'"),
        ("--full-refresh, which builds", "--full-refresh --tables 'a b', which builds"),
        ("run `ownlens load --full-refresh --tables c`", "run `ownlens load --full-refresh --tables c`"),
        ("nothing to replace", "nothing to replace"),
    ],
)
def test_only_a_bare_one_is_completed(said: str, told: str) -> None:
    assert naming_the_table(said, "a b") == told
