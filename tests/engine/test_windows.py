"""Where the next set is looked for, given the sets before it: decided without a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, TableContract
from ownlens_plugins.engine.manifest import Manifest
from ownlens_plugins.engine.progress import Progress
from ownlens_plugins.engine.sources.source import Seen
from ownlens_plugins.engine.windows import StageRequest, next_request
from ownlens_plugins.errors import Rejected

from .staging_rows import reads

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Sight:
    """A snapshot that only says what it is."""

    closes_at: datetime = NOON
    sight: Seen | None = None
    place: str = "here"
    days: Mapping[date, int] | None = None
    found: Mapping[str, str] | None = None
    changed: frozenset[date] = frozenset()

    def files(self, contract: TableContract) -> Mapping[str, str]:
        return self.found or {}

    def identity(self, contract: TableContract) -> dict[str, str]:
        return {"database": self.place}

    def seen(self, contract: TableContract) -> Seen | None:
        return self.sight

    def day_rows(self, contract: TableContract) -> Mapping[date, int]:
        return self.days or {}

    def changed_days(self, contract: TableContract, unseen_by: Seen) -> frozenset[date]:
        return self.changed

    def read(self, contract: TableContract, selection: Any) -> Any:
        raise AssertionError("nothing is read here")


def seen(xmin: int, following: int | None = None, *, timeline: int = 1, system: str = "1") -> Seen:
    """A snapshot, taken when the log had a thousand bytes for each transaction."""
    following = xmin if following is None else following
    return Seen(system, timeline, xmin, following, following, following * 1000, following * 1000)


def staged(sequence: int, at: datetime | None, sight: Seen | None = None, **changes: Any) -> Manifest:
    manifest = Manifest(
        table="reads",
        sequence=sequence,
        digest="d",
        rows=1,
        bytes=1,
        rejected=0,
        parts=(),
        extraction="window",
        full_refresh=False,
        window=Window(None, at),
        touched=None,
        schema={},
        contract_fingerprint="f",
        ownlens_version="1",
        staged_at=NOON,
        quarantine=None,
        key_violations=0,
        source={"database": "here"},
        seen=sight,
    )
    return replace(manifest, **changes)


def following(sight: Sight, *sets: Manifest, noted: Progress | None = None, **contract: Any) -> StageRequest:
    request = next_request(reads(**contract), sight, sets, noted)
    assert request is not None
    return request


def test_the_first_set_is_looked_for_everywhere() -> None:
    request = following(Sight(sight=seen(10)))
    assert (request.window, request.unseen_by, request.after) == (Window(None, NOON), None, 0)


def test_the_next_set_holds_what_the_snapshot_before_has_not_surely_seen() -> None:
    request = following(Sight(NOON + DAY, seen(20)), staged(1, NOON, seen(10)))
    assert (request.unseen_by, request.after) == (seen(10), 1)
    assert request.window == Window(NOON - DAY, NOON + DAY)


@pytest.mark.parametrize(
    ("look_back", "start"), [("0s", NOON), ("36h", NOON - timedelta(hours=36)), ("7d", NOON - 7 * DAY), ("all", None)]
)
def test_the_look_back_says_how_far_behind_late_rows_are_looked_for(look_back: str, start: datetime | None) -> None:
    assert following(Sight(sight=seen(20)), staged(1, NOON, seen(10)), look_back=look_back).window.start == start


def test_a_transaction_that_was_open_moves_the_start_back_to_the_last_snapshot_before_it_began() -> None:
    sets = [
        staged(1, NOON, seen(10)),
        staged(2, NOON + DAY, seen(20, 25)),
        staged(3, NOON + 2 * DAY, seen(20, 40)),
    ]
    later = Sight(NOON + 3 * DAY, seen(50))
    assert following(later, *sets).window.start == NOON - DAY  # only the first snapshot was over before number 20
    assert following(later, *sets[1:]).window.start is None
    assert following(later, *sets, staged(4, NOON + 3 * DAY, seen(45))).window.start == NOON + 2 * DAY


def test_a_transaction_that_runs_alone_is_no_snapshots_own_and_still_open() -> None:
    alone = replace(seen(20), next=21)
    request = following(Sight(NOON + 2 * DAY, seen(30)), staged(1, NOON, seen(10)), staged(2, NOON + DAY, alone))
    assert request.window.start == NOON - DAY


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (seen(10), seen(20, timeline=2)),
        (seen(10), seen(20, system="2")),
        (seen(10), None),
        (None, seen(20)),
        (seen(10), seen(10 + (1 << 31))),
        (replace(seen(10), tables=(1, 2)), replace(seen(20), tables=(1, 2, 3))),
        (replace(seen(10), tables=(1,)), replace(seen(20), tables=(2,))),
    ],
    ids=[
        "failover",
        "another system",
        "a view",
        "an older manifest",
        "numbers wrapped",
        "a partition attached",
        "another table",
    ],
)
def test_where_transactions_cannot_be_compared_the_look_back_is_read_again(
    before: Seen | None, now: Seen | None
) -> None:
    request = following(Sight(sight=now), staged(1, NOON, before))
    assert request.unseen_by is None
    assert request.window.start == NOON - DAY
    assert [manifest.sequence for manifest in request.known] == [1]


def test_an_older_snapshot_brings_nothing_after_a_newer_one() -> None:
    for preset in ("events", "reference"):
        assert next_request(reads(preset), Sight(sight=seen(10)), [staged(1, NOON, seen(12))]) is None
    assert next_request(reads(), Sight(sight=seen(10)), [staged(1, NOON, seen(10))]) is not None
    assert next_request(reads(), Sight(sight=seen(10, timeline=2)), [staged(1, NOON, seen(12))]) is not None


def test_a_source_that_was_taken_back_is_refused_and_goes_on_when_it_has_moved() -> None:
    before = staged(1, NOON, replace(seen(12), taken=NOON))
    back = Sight(sight=replace(seen(10), taken=NOON + DAY))
    with pytest.raises(Rejected, match="reads: the source was taken back to an earlier state than was staged"):
        next_request(reads(), back, [before])
    request = next_request(reads(), back, [before], source_moved=True)
    assert request is not None
    assert (request.unseen_by, request.window.start) == (None, NOON - DAY)
    assert next_request(reads(), back, [before], full_refresh=True) is not None
    rival = Sight(sight=replace(seen(10), taken=NOON - DAY))  # an older snapshot of the same server
    assert next_request(reads(), rival, [before]) is None
    assert next_request(reads(), Sight(sight=seen(10)), [before]) is None  # a standby that is behind


def test_of_two_snapshots_that_were_taken_at_once_the_second_to_stage_brings_nothing() -> None:
    one = replace(seen(10), wal_from=10_000, wal_to=10_200)
    other = replace(seen(10), wal_from=10_100, wal_to=10_300)
    assert next_request(reads("reference"), Sight(sight=one), [staged(1, NOON, other)]) is None
    assert next_request(reads("reference"), Sight(sight=other), [staged(1, NOON, one)]) is None
    later = replace(seen(10), wal_from=10_300, wal_to=10_300)
    assert next_request(reads("reference"), Sight(sight=later), [staged(1, NOON, other)]) is not None


def test_a_run_without_news_moves_the_start_until_there_is_a_newer_set() -> None:
    noted = Progress(1, NOON + DAY, seen(20), None)
    request = following(Sight(NOON + 2 * DAY, seen(30)), staged(1, NOON, seen(10)), noted=noted)
    assert (request.window.start, request.unseen_by) == (NOON, seen(20))
    newer = staged(2, NOON + 2 * DAY, seen(25))
    assert following(Sight(NOON + 3 * DAY, seen(30)), staged(1, NOON, seen(10)), newer, noted=noted).unseen_by == seen(
        25
    )


def test_sets_of_frames_say_nothing_of_the_source() -> None:
    frame = staged(2, None, source=None)
    request = following(Sight(NOON + DAY, seen(20)), staged(1, NOON, seen(10)), frame)
    assert (request.window.start, request.unseen_by, request.after) == (NOON - DAY, seen(10), 2)
    assert following(Sight(sight=seen(20)), staged(1, None, source=None)).window.start is None


@pytest.mark.parametrize(("preset", "refresh"), [("reference", False), ("reference", True), ("events", True)])
def test_whole_tables_and_full_refreshes_have_no_start(preset: str, refresh: bool) -> None:
    request = next_request(reads(preset), Sight(sight=seen(20)), [staged(1, NOON, seen(10))], full_refresh=refresh)
    assert request is not None
    assert (request.extraction, request.window) == (Extraction.WHOLE, Window(None, NOON))
    assert (request.full_refresh, request.unseen_by, request.known) == (refresh, None, ())


def test_rows_that_a_refresh_or_a_sweep_took_away_are_not_known_any_more() -> None:
    from ownlens_plugins.api import Covers

    sets = [staged(1, NOON, seen(1)), staged(2, NOON, seen(2), full_refresh=True), staged(3, NOON, seen(3))]
    assert [each.sequence for each in following(Sight(sight=seen(9)), *sets).known] == [2, 3]
    sets += [staged(4, NOON, seen(4), covers=Covers(keys_only=True)), staged(5, NOON, seen(5))]
    assert [each.sequence for each in following(Sight(sight=seen(9)), *sets).known] == [5]


def test_another_source_is_refused_unless_it_has_moved() -> None:
    known = [staged(1, NOON, seen(10))]
    for preset in ("events", "reference"):
        with pytest.raises(Rejected) as caught:
            next_request(reads(preset), Sight(place="there"), known)
        assert str(caught.value) == (
            "reads: the staged sets came from another source (database 'here', now 'there'); give this profile a "
            "staging folder of its own, or, if the database has moved, run once with --source-moved"
        )
    assert next_request(reads(), Sight(place=""), known) is not None  # it may not say where it is
    assert next_request(reads(), Sight(place="there"), known, source_moved=True) is not None
    moved = Progress(1, NOON, seen(10), None, source={"database": "there"})
    assert next_request(reads(), Sight(place="there"), known, moved) is not None  # a run without news has moved already
    with pytest.raises(Rejected):
        next_request(reads(), Sight(place="here"), known, moved)
    assert next_request(reads(), Sight(place="there"), known, full_refresh=True) is not None


DAYS: dict[str, Any] = {"columns": {"read_id": "int64", "created_at": "date", "updated_at": "timestamptz"}}


def test_days_that_lost_rows_are_extracted_and_days_that_lost_all_are_gone() -> None:
    first, second, third = (date(2026, 1, day) for day in (1, 2, 3))
    before = {"2026-01-01": 5, "2026-01-02": 5, "2026-01-03": 5}
    sight = Sight(sight=seen(20), days={first: 5, second: 4})
    sets = [staged(1, NOON, seen(10), day_rows=before)]
    request = next_request(reads("daily", **DAYS), sight, sets)
    assert request is not None
    assert (request.days, request.gone) == (frozenset({second}), frozenset({third}))
    assert request.day_rows == {"2026-01-01": 5, "2026-01-02": 4}
    swapped = replace(sight, changed=frozenset({first}))  # as many rows as before, and others
    request = next_request(reads("daily", **DAYS), swapped, sets)
    assert request is not None
    assert request.days == frozenset({first, second})


def test_files_that_came_or_changed_are_read_whole_and_compared_with_all_sets() -> None:
    before = {"a.csv": "1", "b.csv": "1"}
    sets = [staged(1, NOON, newest=NOON - 90 * DAY, files=before), staged(2, NOON + DAY, files=before)]
    same = following(Sight(NOON + 2 * DAY, found=before), *sets)
    assert (same.new_files, [each.sequence for each in same.known]) == (frozenset(), [2])
    late = following(Sight(NOON + 2 * DAY, found={**before, "b.csv": "2", "c.csv": "1"}), *sets)
    assert (late.new_files, [each.sequence for each in late.known]) == (frozenset({"b.csv", "c.csv"}), [1, 2])
    assert (late.known_from, late.files) == (None, {"a.csv": "1", "b.csv": "2", "c.csv": "1"})
