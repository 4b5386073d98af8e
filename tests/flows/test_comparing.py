"""After a run, stores that should show the same are compared; rows that waited for others are let go or brought in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.powers import SliceCounts
from ownlens_postgresql.destination import PostgreSQLDestination
from ownlens_s3.destination import S3Destination

from .conftest import Project
from .interrupted import loads_of

Counts = Callable[[Any, LoadPlan], SliceCounts]


def by_reading(self: Any, plan: LoadPlan) -> SliceCounts:
    rows = self.read(plan).read_all()
    return SliceCounts(
        rows.num_rows, rows.select(list(plan.contract.key)).group_by(list(plan.contract.key)).aggregate([]).num_rows
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Let both stores count, by reading; returns what was asked."""
    asked: list[tuple[str, str]] = []

    def count(self: Any, plan: LoadPlan) -> SliceCounts:
        asked.append((plan.table, plan.destination))
        return by_reading(self, plan)

    for kind in (PostgreSQLDestination, S3Destination):
        monkeypatch.setattr(kind, "count", count, raising=False)
        monkeypatch.setattr(kind, "kept_since", lambda *_: None, raising=False)
    return asked


def test_stores_that_agree_are_told_of_no_mismatch(project: Project, counted: list[tuple[str, str]]) -> None:
    assert project.load() == 0
    assert {table for table, _ in counted} == {"authors", "articles", "reads"}
    counted.clear()
    assert project.load() == 0
    assert counted == [], "nothing was loaded, so nothing is compared"


def test_a_store_with_other_rows_is_a_mismatch(
    project: Project,
    counted: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr("ownlens_flows.signals.emit_event", lambda event, **_: told.append(event))
    assert project.load() == 0
    project.add_line("authors", "3,Cy,2026-01-01 00:00:00Z")
    told.clear()
    capsys.readouterr()
    monkeypatch.setattr(PostgreSQLDestination, "count", lambda *_: SliceCounts(2, 2), raising=False)
    assert project.load("--json", flow=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert (
        "authors: the counts of set 2 differ: 3 rows are staged, s3 shows 3 rows, postgresql shows 2 rows"
        in " ".join(document["errors"])
    )
    assert document["message"].endswith("1 differ")
    assert "ownlens.load.mismatch" in told
    assert loads_of(json.dumps(document))["authors", "postgresql"]["status"] == "loaded"


def test_a_store_that_cannot_be_asked_decides_nothing(
    project: Project, counted: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> SliceCounts:
        raise OSError("gone")

    monkeypatch.setattr(S3Destination, "count", away, raising=False)
    assert project.load() == 0
    assert "the stores were not compared: gone" in (project.folder / "ownlens.log").read_text()


def test_spared_rows_are_asked_for_once_more_children_first(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def release(self: Any, plan: LoadPlan) -> LoadResult | None:
        asked.append(plan.table)
        gone = int(plan.table == "authors")
        return LoadResult(plan.load_id, plan.digest, rows=0, inserted=0, deleted=gone) if gone else None

    assert project.load() == 0
    project.add_line("authors", "3,Cy,2026-01-01 00:00:00Z")
    original = PostgreSQLDestination.open

    def sparing(self: Any, plan: LoadPlan) -> Any:
        session = original(self, plan)
        commit = session.commit
        session.commit = lambda receipts: replace(commit(receipts), spared=1)
        return session

    monkeypatch.setattr(PostgreSQLDestination, "release", release)
    monkeypatch.setattr(PostgreSQLDestination, "open", sparing)
    capsys.readouterr()
    assert project.load("--json") == 0
    end = asked[-3:]
    assert end == ["reads", "articles", "authors"]
    load = loads_of(capsys.readouterr().out)["authors", "postgresql"]
    assert (load["deleted"], load["spared"]) == (1, 0)
