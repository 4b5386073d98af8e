"""`ownlens maintain` and the flow `maintain-tables`: what nobody needs leaves, and loads go on afterwards."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ownlens_cli.main import run
from ownlens_flows.maintain import MaintainRequest, maintain_tables
from ownlens_plugins.engine.manifest import Manifest

from .conftest import Project

NEW_AUTHOR = "{0},Cy,2026-02-0{0} 00:00:00Z"


def aged(project: Project, days: int = 30) -> None:
    """Make all staged sets so many days old."""
    for file in (project.folder / "staging").rglob("manifests/*.json"):
        manifest = Manifest.from_json(file.read_bytes())
        old = datetime.now(UTC) - timedelta(days=days)
        object.__setattr__(manifest, "staged_at", old)
        file.write_bytes(manifest.to_json())


def sets(project: Project, table: str) -> list[str]:
    return sorted(path.stem.lstrip("0") for path in (project.folder / "staging" / table / "manifests").glob("*.json"))


def maintain(project: Project, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["maintain", "--config", project.config, "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def loaded(project: Project) -> Project:
    for number in (3, 4, 5):
        project.add_line("authors", NEW_AUTHOR.format(number))
        assert project.load() == 0
    aged(project)
    return project


def test_sets_that_all_have_applied_leave_and_loads_go_on(loaded: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert sets(loaded, "authors") == ["1", "2", "3"]
    code, planned = maintain(loaded, capsys, "--plan")
    assert code == 0
    assert sets(loaded, "authors") == ["1", "2", "3"]
    code, done = maintain(loaded, capsys)
    assert (code, done) == (0, planned)
    assert sets(loaded, "authors") == ["3"]
    loaded.add_line("authors", NEW_AUTHOR.format(6))
    assert loaded.load() == 0
    assert loaded.query("SELECT count(*) FROM press.authors") == [(6,)]


def test_nothing_leaves_while_a_destination_was_not_asked(loaded: Project, capsys: pytest.CaptureFixture[str]) -> None:
    code, done = maintain(loaded, capsys, "--destinations", "s3")
    assert code == 0
    assert sets(loaded, "authors") == ["1", "2", "3"]
    assert "not all destinations" in next(one["note"] for one in done["tables"] if one["place"] == "staging")


def test_the_flow_says_what_went(loaded: Project) -> None:
    state = maintain_tables(MaintainRequest(config=loaded.config), return_state=True)
    assert state.is_completed(), state.message
    assert "3 tables" in (state.message or "")
    assert sets(loaded, "authors") == ["3"]


def test_a_store_that_cannot_be_reached_keeps_the_staged_sets(
    loaded: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded.write_config(port=1)
    code, done = maintain(loaded, capsys, "--tables", "authors")
    assert code == 1
    assert sets(loaded, "authors") == ["1", "2", "3"]
    assert "postgresql" in next(one["error"] for one in done["tables"] if one["place"] == "staging")


def test_an_unknown_table_is_a_wrong_command_line(project: Project, tmp_path: Path) -> None:
    assert run(["maintain", "--config", project.config, "--tables", "autors"]) == 2
    assert not (tmp_path / "staging" / "autors").exists()
