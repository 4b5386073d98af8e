"""Small files of staging that a disk or a hand has damaged: what may be lost counts as absent, the rest is named."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from ownlens_cli.main import run

from .conftest import Project

DAMAGES = {"empty": b"", "cut": b'{"seq', "foreign": b"\x00\xff[1]", "another": b"[]"}


def notes_of(project: Project, pattern: str) -> list[Path]:
    found = [path for path in (project.folder / "staging/reads").glob(pattern) if path.is_file()]
    assert found, pattern
    return found


def written_notes(project: Project) -> None:
    """Have runs leave every kind of note: loads, nothing new, and maintenance that lets sets go."""
    assert project.load() == 0
    assert project.load() == 0
    from ownlens_plugins.engine.staging import StagingArea
    from ownlens_plugins.registry import Registry

    area = StagingArea(str(project.folder / "staging"), Registry())
    area.note_gone("reads")
    area.remember("reads", [])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_note_counts_as_absent(project: Project, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    written_notes(project)
    for pattern in ("validated/*/*/verdict.json", "loads/**/*", "progress.json", "forgotten.json", "gone"):
        for path in notes_of(project, pattern):
            path.write_bytes(DAMAGES[damage])
    assert project.load() == 0
    capsys.readouterr()
    assert run(["status", "--config", project.config, "--json"]) == 0
    assert "\x00" not in capsys.readouterr().out
    project.add_line("reads", "103,11,2026-01-03,60,2026-01-03 12:00:00Z")
    assert project.load() == 0
    assert project.query("SELECT count(*) FROM press.reads") == [(4,)]
    assert "is damaged" in (project.folder / "ownlens.log").read_text()


def test_a_damaged_manifest_is_named_and_the_fix_works(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.load() == 0
    (manifest,) = notes_of(project, "manifests/*.json")
    manifest.write_bytes(b"")
    capsys.readouterr()
    assert project.load("--json") == 1
    (error,) = {one.partition(": ")[2] for one in json.loads(capsys.readouterr().out)["errors"]} | set()
    assert str(manifest) in error
    manifest.rename(project.folder / "away.json")
    options = shlex.split(error.partition("load the table with ")[2])
    assert project.load(*options) == 0
    assert project.query("SELECT count(*) FROM press.reads") == [(3,)]
    assert project.load() == 0
