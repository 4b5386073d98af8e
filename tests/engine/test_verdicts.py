"""What validations have said, kept beside the staged sets; what no validation has passed is put together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from ownlens_plugins.api import Covers, LoadPlan, StagedPart, TouchedSlice
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.outcomes import covering
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.verdicts import Verdict, Verdicts
from ownlens_plugins.registry import Registry
from ownlens_plugins.testing import sample_contract

from ..minio_server import MinioServer, running_minio
from .sqlite_destination import SqliteDestination


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        server.client().create_bucket(Bucket="staging")
        yield server


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.minio)])
def verdicts(
    request: pytest.FixtureRequest, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> Verdicts:
    if request.param == "local":
        return Verdicts(StagingArea(str(tmp_path / "staging"), registry))
    for name, value in request.getfixturevalue("minio").variables.items():
        monkeypatch.setenv(name, value)
    return Verdicts(StagingArea(f"s3://staging/{tmp_path.name}", registry))


def said(verdicts: Verdicts, table: str = "odd.table/x", destination: str = "s3") -> tuple[int, int, str]:
    word = verdicts.read(table, destination)
    return word.passed, word.failed, word.reason


def test_nothing_has_passed_at_first(verdicts: Verdicts) -> None:
    assert verdicts.read("odd.table/x", "s3") == Verdict()


def test_the_newest_word_counts_and_replaces_the_older(verdicts: Verdicts) -> None:
    for position in (1, 2, 10):
        verdicts.passed("odd.table/x", "s3", position)
    verdicts.passed("odd.table/x", "clickhouse", 3)
    assert (said(verdicts), said(verdicts, destination="clickhouse")) == ((10, 0, ""), (3, 0, ""))
    assert len(verdicts._folder.list("odd%2Etable%2Fx/validated/s3")) == 1


def test_a_failure_keeps_owing_what_was_owed(verdicts: Verdicts) -> None:
    verdicts.passed("odd.table/x", "s3", 4)
    verdicts.failed("odd.table/x", "s3", 7, "a check")
    verdicts.failed("odd.table/x", "s3", 8, "a check")
    assert said(verdicts) == (4, 8, "a check")
    verdicts.passed("odd.table/x", "s3", 8)
    assert said(verdicts) == (8, 0, "")


def test_a_set_that_passed_and_fails_later_is_owed_again(verdicts: Verdicts) -> None:
    verdicts.passed("odd.table/x", "s3", 4)
    verdicts.failed("odd.table/x", "s3", 4, "a check")
    assert said(verdicts) == (3, 4, "a check")


def test_sets_that_are_loaded_once_more_are_owed_again(verdicts: Verdicts) -> None:
    verdicts.passed("odd.table/x", "s3", 5)
    verdicts.withdraw("odd.table/x", "s3", 6)
    assert said(verdicts) == (5, 0, "")
    verdicts.withdraw("odd.table/x", "s3", 3)
    assert said(verdicts) == (2, 0, "")


def test_of_two_words_at_once_the_one_that_owes_more_counts(verdicts: Verdicts) -> None:
    place = "odd%2Etable%2Fx/validated/s3"
    for attempt, passed in (("a" * 16, 9), ("b" * 16, 4)):
        content = f'{{"passed": {passed}, "failed": 0, "reason": "", "at": "2026-01-01T00:00:00+00:00"}}'
        verdicts._folder.create(f"{place}/00000007-{attempt}/verdict.json", content.encode())
    assert said(verdicts) == (4, 0, "")


# --- what stands for several sets


def plan(sequence: int, strategy: Strategy, rows: int, day: int | None, covers: Covers | None = None) -> LoadPlan:
    parts = (StagedPart("0", "none", rows, 0, ""),) if rows else ()
    touched = None if day is None else TouchedSlice("day", date(2026, 1, day), date(2026, 1, day))
    options = SqliteDestination.options_type(strategy=strategy)
    made = LoadPlan(sample_contract("entity"), "sqlite", strategy, options, sequence, "", parts, touched=touched)
    return replace(made, covers=covers)


def test_several_sets_are_the_newest_over_all_their_days() -> None:
    found = covering(
        [plan(1, Strategy.UPSERT, 5, 9), plan(2, Strategy.UPSERT, 5, 3), plan(3, Strategy.UPSERT, 0, None)]
    )
    assert (found.sequence, found.touched) == (3, TouchedSlice("day", date(2026, 1, 3), date(2026, 1, 9)))


def test_without_days_the_newest_set_with_rows_stands_for_all() -> None:
    assert covering([plan(1, Strategy.APPEND, 5, None), plan(2, Strategy.APPEND, 0, None)]).sequence == 1


def test_an_overwrite_stands_for_all_before_it_even_when_it_is_empty() -> None:
    found = covering([plan(1, Strategy.APPEND, 5, None), plan(2, Strategy.OVERWRITE, 0, None)])
    assert (found.sequence, found.rows) == (2, 0)


def test_a_set_of_keys_stands_for_no_rows() -> None:
    swept = plan(2, Strategy.UPSERT, 9, None, Covers(keys_only=True))
    assert covering([plan(1, Strategy.UPSERT, 5, 4), swept]).sequence == 1
