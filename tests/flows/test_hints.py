"""What went well and is still worth a word: columns that no contract names, and columns that older rows lack."""

from __future__ import annotations

import json

import pytest

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
