"""Two runs of one table at once: the one that comes second stages again, and both tell the truth."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ownlens_plugins.engine.staging import StagingArea

from .conftest import Project
from .interrupted import loads_of, running_load


def test_a_run_that_is_overtaken_while_it_stages_decides_anew(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rival runs from begin to end between this run's decision and its publishing."""
    arguments = ("--tables", "reads", "--destinations", "s3")
    original, tried = StagingArea.stage, []

    def stage(self: StagingArea, *given: Any) -> Any:
        tried.append(given)
        if len(tried) == 1:
            with running_load(project, *arguments) as rival:
                assert rival.wait(60) == 0
        return original(self, *given)

    monkeypatch.setattr(StagingArea, "stage", stage)
    capsys.readouterr()
    assert project.load("--json", *arguments) == 0
    (load,) = json.loads(capsys.readouterr().out)["loads"]
    assert (len(tried), load["status"]) == (2, "nothing new"), "it asked again, and the rival had it all"
    assert len(list((project.folder / "staging" / "reads" / "manifests").glob("*.json"))) == 1
    from ownlens_cli.main import run

    assert run(["show", "reads", "--destination", "s3", "--limit", "0", "--json", "--config", project.config]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_two_command_lines_at_once_load_each_row_once(project: Project) -> None:
    with running_load(project, "--json") as one, running_load(project, "--json") as other:
        outs = [process.communicate(timeout=120) for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), outs
    assert project.query("SELECT count(*) FROM press.reads") == [(3,)]
    rows = [loads_of(out)["reads", "s3"]["rows"] for out, _ in outs]
    assert sorted(rows) in ([0, 3], [3, 3]), "each set is applied once; both may have waited for it"
