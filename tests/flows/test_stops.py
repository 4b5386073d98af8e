"""`ownlens load` that gets a signal: what has not begun to commit leaves off, and the next run makes up for it."""

from __future__ import annotations

import json
import signal

import pytest

from .conftest import Project
from .interrupted import PATIENCE, eventually, loads_of, locked, running_load, waiting_for_a_lock


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_a_load_that_waits_does_not_commit_after_a_signal(
    project: Project, capsys: pytest.CaptureFixture[str], sent: signal.Signals, code: int
) -> None:
    assert project.load() == 0
    project.write_table("authors", "author_id,name,updated_at\n1,Ada,2026-01-01 00:00:00Z\n3,Cy,2026-01-01 00:00:00Z\n")
    with locked(project, "authors") as holder, running_load(project, "--json") as process:
        eventually(lambda: waiting_for_a_lock(project), "the load waits inside its transaction")
        process.send_signal(sent)
        eventually(lambda: "the run stops" in (project.folder / "ownlens.log").read_text(), "the run notes the signal")
        holder.commit()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    loads = loads_of(out)
    assert loads["authors", "postgresql"]["status"] == "stopped"
    assert {load["status"] for load in loads.values()} <= {"loaded", "nothing new", "stopped"}
    assert f"stopped by {sent.name}; what is missing is loaded by the next run" in json.loads(out)["errors"]
    assert "Traceback" not in err
    assert project.query("SELECT count(*) FROM press.authors WHERE name = 'Cy'") == [(0,)], "nothing was committed"
    capsys.readouterr()
    assert project.load("--json") == 0
    assert loads_of(capsys.readouterr().out)["authors", "postgresql"]["validation"] == "passed"
    assert project.query("SELECT count(*) FROM press.authors WHERE name = 'Cy'") == [(1,)]
