"""`ownlens load` without Prefect: the same tables, ledgers and reports as in a flow, and no server is started."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ownlens_flows.configured import api_is_configured
from ownlens_plugins.errors import Retryable
from ownlens_s3.destination import S3Destination

from .conftest import Project
from .interrupted import PATIENCE, environment, eventually, loads_of, locked, running_load, waiting_for_a_lock

# Seconds within which a terminal gets its prompt back.
SOON = 15.0
# What differs from run to run.
_OF_THE_MOMENT = re.compile(r'"(seconds|rows_per_second|peak_memory_mb|committed_at|load_id|digest)": [^,\n]+')
_ATTEMPT = re.compile("-[0-9a-f]{16}/")


@pytest.fixture
def unconfigured(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing names a Prefect API."""
    kept = {name: value for name, value in environment().items() if not name.startswith("PREFECT")}
    return {**kept, "HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}


def report_of(project: Project, capsys: pytest.CaptureFixture[str], *, flow: bool, code: int = 0) -> Any:
    capsys.readouterr()
    assert project.load("--json", flow=flow) == code
    plain = _OF_THE_MOMENT.sub(r'"\1": 0', capsys.readouterr().out)
    return json.loads(_ATTEMPT.sub("-attempt/", plain))


def state_of(project: Project) -> dict[str, Any]:
    """Return what the stores hold: every table's rows, and the ledger without its moments."""
    tables = ("authors", "articles", "reads")
    rows = {table: project.query(f"SELECT * FROM press.{table} ORDER BY 1") for table in tables}
    ledger = "SELECT table_name, sequence, strategy, rows, rows_inserted, rows_updated FROM ownlens.loads ORDER BY 1, 2"
    lake = sorted(path.suffix for path in (project.folder / "lake").rglob("*") if path.is_file())
    return {**rows, "ledger": project.query(ledger), "lake": lake}


def test_both_ways_leave_equal_tables_ledgers_and_reports(
    project: Project, capsys: pytest.CaptureFixture[str], database: dict[str, Any]
) -> None:
    found = []
    for flow in (False, True):
        first = report_of(project, capsys, flow=flow)
        project.add_line("articles", "12,9,Orphan,2026-01-03 08:00:00Z,2026-01-03 09:00:00Z")
        project.add_line("authors", "x,Bad,2026-01-03 08:00:00Z")
        second = report_of(project, capsys, flow=flow, code=3)
        found.append((first, second, state_of(project)))
        with_database(project, "DROP SCHEMA press, ownlens CASCADE")
        start_over(project)
    for alone, in_flow in zip(*found, strict=True):
        assert alone == in_flow


def with_database(project: Project, statement: str) -> None:
    import psycopg

    login = {"dbname" if name == "database" else name: value for name, value in project.database.items()}
    with psycopg.connect(**login, autocommit=True) as connection:
        connection.execute(statement.encode())


def start_over(project: Project) -> None:
    import shutil

    from .conftest import ROWS

    for name in ("staging", "lake"):
        shutil.rmtree(project.folder / name)
    for table, text in ROWS.items():
        project.write_table(table, text)


def test_no_server_is_started_where_none_is_configured(project: Project, unconfigured: dict[str, str]) -> None:
    with running_load(project, "--json", settings=unconfigured) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert {load["status"] for load in loads_of(out).values()} == {"loaded"}
    assert not Path(unconfigured["PREFECT_HOME"]).exists(), "Prefect was not even imported"


def test_a_flow_run_is_made_where_a_server_is_configured(project: Project) -> None:
    with running_load(
        project, "--json", settings={**environment(), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    ) as run:
        _, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1
    assert "http://127.0.0.1:9/api does not answer" in err


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_stops_it_before_the_commit(
    project: Project, unconfigured: dict[str, str], sent: signal.Signals, code: int
) -> None:
    assert project.load() == 0
    project.add_line("authors", "3,Cy,2026-01-03 00:00:00Z")
    with locked(project, "authors") as holder, running_load(project, "--json", settings=unconfigured) as process:
        eventually(lambda: waiting_for_a_lock(project), "the load waits inside its transaction")
        begun = time.monotonic()
        os.killpg(process.pid, sent)
        eventually(lambda: "the run stops" in (project.folder / "ownlens.log").read_text(), "the run notes the signal")
        holder.commit()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert time.monotonic() - begun < SOON
    assert loads_of(out)["authors", "postgresql"]["status"] == "stopped"
    assert "Traceback" not in err
    assert project.query("SELECT count(*) FROM press.authors WHERE name = 'Cy'") == [(0,)]
    assert project.load() == 0
    assert project.query("SELECT count(*) FROM press.authors WHERE name = 'Cy'") == [(1,)]


def test_a_step_is_tried_again_as_often_as_the_profile_says(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def away(_: Any, plan: Any) -> Any:
        tried.append(plan.table)
        raise Retryable(f"{plan.table}: s3: away")

    monkeypatch.setattr(S3Destination, "open", away)
    assert project.load("--tables", "authors", "--json") == 1
    assert tried == ["authors"] * 2, "one retry"
    assert "authors: s3: away" in " ".join(json.loads(capsys.readouterr().out)["errors"])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (".env", "PREFECT_API_URL=http://one/api\n", True),
        (".env", "# PREFECT_API_URL=\nOTHER=1\n", False),
        ("prefect.toml", '[api]\nurl = "http://one/api"\n', True),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://one/api"\n', True),
        ("pyproject.toml", "[tool.prefect]\nother = 1\n", False),
        ("home/profiles.toml", 'active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://one/api"\n', True),
        ("home/profiles.toml", 'active = "work"\n[profiles.work]\nPREFECT_LOGGING_LEVEL = "INFO"\n', False),
        ("home/profiles.toml", 'active = "local"\n', True),
        ("home/profiles.toml", "active = [", True),
        ("none", "", False),
    ],
)
def test_the_places_that_prefect_reads_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, told: bool
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / name).write_text(text)
    monkeypatch.delitem(__import__("sys").modules, "prefect.settings")
    assert api_is_configured({"PREFECT_HOME": str(tmp_path / "home")}, tmp_path) is told
    assert api_is_configured({"PREFECT_API_URL": "http://one/api"}, tmp_path)
