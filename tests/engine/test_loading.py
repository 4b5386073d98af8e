"""The load protocol: what the engine does about every way in which a part or a commit can end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import LoadPlan, LoadResult, Receipt
from ownlens_plugins.engine.loading import load, match_receipts
from ownlens_plugins.errors import CommitUnknown, OwnLensError, Rejected, Retryable, StagedSetChanged
from ownlens_plugins.testing import make_plan, sample_contract, sample_rows, sample_table

from .sqlite_destination import SqliteDestination, SqliteSession

ROWS = 20


@pytest.fixture
def plan(tmp_path: Path) -> LoadPlan:
    contract = sample_contract("events")
    table = sample_table(contract, sample_rows(ROWS))
    return make_plan(SqliteDestination, contract, table, tmp_path / "staged", parts=3)


def faulty(destination: SqliteDestination, **methods: Callable[..., Any]) -> list[str]:
    """Replace methods of the destination's sessions; return the list in which calls are noted."""
    calls: list[str] = []

    def noted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: SqliteSession, *arguments: Any) -> Any:
            calls.append(name)
            return method(self, *arguments)

        return call

    kept = {name: getattr(SqliteSession, name) for name in ("commit", "abort", "close")}
    members = {name: noted(name, method) for name, method in {**kept, **methods}.items()}
    destination.session_type = type("FaultySession", (SqliteSession,), members)
    return calls


def raising(error: BaseException) -> Callable[..., Any]:
    def method(*_: Any) -> Any:
        raise error

    return method


def committing_then(error: BaseException) -> Callable[[SqliteSession, Sequence[Receipt]], LoadResult]:
    """The answer to a commit that landed is lost."""

    def commit(session: SqliteSession, receipts: Sequence[Receipt]) -> LoadResult:
        SqliteSession.commit(session, receipts)
        raise error

    return commit


def test_a_load_lands_once_however_often_it_is_run(sqlite: SqliteDestination, plan: LoadPlan) -> None:
    calls = faulty(sqlite)
    first, second = load(sqlite, plan), load(sqlite, plan)
    assert (first.rows, first.replayed) == (ROWS, False)
    assert (second.rows, second.replayed) == (ROWS, True)
    assert calls == ["commit", "close"]
    assert len(sqlite.landed("samples")) == ROWS


def test_the_same_number_with_other_content_is_refused(sqlite: SqliteDestination, plan: LoadPlan) -> None:
    load(sqlite, plan)
    with pytest.raises(StagedSetChanged):
        load(sqlite, replace(plan, digest="0" * 64))


@pytest.mark.parametrize(
    "error", [Retryable("samples: again"), Rejected("samples: no"), ValueError("bug"), KeyboardInterrupt()]
)
def test_an_error_while_parts_are_written_aborts(
    sqlite: SqliteDestination, plan: LoadPlan, error: BaseException
) -> None:
    calls = faulty(sqlite)
    written: list[str] = []

    def failing(write: Callable[..., Receipt], parts: Any) -> Any:
        for part in parts:
            if written:
                raise error
            written.append(part.part_id)
            yield write(part)

    with pytest.raises(type(error)):
        load(sqlite, plan, map_parts=failing)
    assert calls == ["abort", "close"]
    assert sqlite.landed("samples") == []
    assert sqlite.staged() == 0
    assert load(sqlite, plan).rows == ROWS


@pytest.mark.parametrize(
    "error", [Retryable("samples: again"), Rejected("samples: no"), StagedSetChanged("samples: x")]
)
def test_a_commit_that_certainly_did_not_land_aborts(
    sqlite: SqliteDestination, plan: LoadPlan, error: OwnLensError
) -> None:
    calls = faulty(sqlite, commit=raising(error))
    with pytest.raises(type(error)) as caught:
        load(sqlite, plan)
    assert caught.value is error
    assert calls == ["commit", "abort", "close"]
    assert sqlite.staged() == 0


@pytest.mark.parametrize("error", [CommitUnknown("samples: no answer"), ConnectionResetError(), ValueError("bug")])
def test_an_unknown_commit_that_landed_is_a_success(
    sqlite: SqliteDestination, plan: LoadPlan, error: Exception
) -> None:
    calls = faulty(sqlite, commit=committing_then(error))
    result = load(sqlite, plan)
    assert (result.rows, result.replayed) == (ROWS, True)
    assert calls == ["commit", "close"]
    assert len(sqlite.landed("samples")) == ROWS


def test_an_unknown_commit_that_did_not_land_is_tried_again_and_never_aborted(
    sqlite: SqliteDestination, plan: LoadPlan
) -> None:
    calls = faulty(sqlite, commit=raising(CommitUnknown("samples: no answer")))
    with pytest.raises(Retryable, match="samples: sqlite has not applied the commit; run it again") as caught:
        load(sqlite, plan)
    assert isinstance(caught.value.__cause__, CommitUnknown)
    assert calls == ["commit", "close"]


def test_an_unclassified_error_of_a_commit_that_did_not_land_is_told_and_never_aborted(
    sqlite: SqliteDestination, plan: LoadPlan
) -> None:
    calls = faulty(sqlite, commit=raising(ValueError("bug")))
    with pytest.raises(ValueError, match="bug"):
        load(sqlite, plan)
    assert calls == ["commit", "close"]


def test_an_interrupted_commit_is_neither_aborted_nor_asked_for(sqlite: SqliteDestination, plan: LoadPlan) -> None:
    calls = faulty(sqlite, commit=committing_then(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        load(sqlite, plan)
    assert calls == ["commit", "close"]
    assert load(sqlite, plan).replayed


def test_a_store_that_cannot_be_asked_after_an_unknown_commit_is_asked_again_later(
    sqlite: SqliteDestination, plan: LoadPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = faulty(sqlite, commit=committing_then(CommitUnknown("samples: no answer")))
    answers = iter([lambda plan: None, raising(Retryable("samples: sqlite is away"))])
    monkeypatch.setattr(sqlite, "find_commit", lambda plan: next(answers)(plan))
    with pytest.raises(Retryable, match="sqlite is away"):
        load(sqlite, plan)
    assert calls == ["commit", "close"]
    monkeypatch.undo()
    assert load(sqlite, plan).replayed
    assert len(sqlite.landed("samples")) == ROWS


def test_an_abort_that_fails_does_not_hide_the_reason(
    sqlite: SqliteDestination, plan: LoadPlan, caplog: pytest.LogCaptureFixture
) -> None:
    faulty(sqlite, commit=raising(Retryable("samples: again")), abort=raising(OSError("and the wire is cut")))
    with pytest.raises(Retryable, match="samples: again"):
        load(sqlite, plan)
    assert "samples: sqlite could not discard an attempt at samples/00000001" in caplog.text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda receipts: receipts[:-1],
        lambda receipts: [*receipts, receipts[0]],
        lambda receipts: [],
        lambda receipts: [*receipts[:-1], Receipt("99999", receipts[-1].rows)],
        lambda receipts: [*receipts[:-1], replace(receipts[-1], rows=receipts[-1].rows + 1)],
        lambda receipts: [replace(receipts[0], rows=receipts[0].rows - 1), *receipts[1:]],
    ],
    ids=["lost", "doubled", "none", "foreign", "more rows", "fewer rows"],
)
def test_receipts_that_do_not_match_the_set_abort(
    sqlite: SqliteDestination, plan: LoadPlan, spoil: Callable[[list[Receipt]], list[Receipt]]
) -> None:
    calls = faulty(sqlite)
    with pytest.raises(Rejected) as caught:
        load(sqlite, plan, map_parts=lambda write, parts: spoil([write(part) for part in parts]))
    assert str(caught.value).startswith("samples: sqlite wrote ")
    assert f"but {ROWS} rows in 3 parts are staged; report this to the destination's author" in str(caught.value)
    assert calls == ["abort", "close"]
    assert sqlite.landed("samples") == []


def test_receipts_may_come_in_any_order_and_parts_may_be_written_twice(
    sqlite: SqliteDestination, plan: LoadPlan
) -> None:
    def twice_and_backwards(write: Callable[..., Receipt], parts: Any) -> list[Receipt]:
        return [write(part) for part in parts if write(part)][::-1]

    assert load(sqlite, plan, map_parts=twice_and_backwards).rows == ROWS
    assert len(sqlite.landed("samples")) == ROWS


def test_an_empty_set_needs_no_receipts(sqlite: SqliteDestination, plan: LoadPlan) -> None:
    empty = replace(plan, parts=())
    match_receipts(empty, [])
    assert load(sqlite, empty).rows == 0
    assert load(sqlite, empty).replayed
