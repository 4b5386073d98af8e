"""What readers see of a load, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ...api import Covers, LoadPlan, TouchedSlice
from ...contracts import Strategy
from ...errors import OwnLensError, Rejected
from ...powers import SliceCounts, SupportsCounting
from ..comparing import require_rows
from ..model import Row, narrow_row
from ..trial import Trial


class Visibility:
    """Nothing before commit, everything after it, and true counts."""

    def test_nothing_is_visible_before_commit(self, trial: Trial) -> None:
        trial.require("a table that no load has made yet has no rows")
        plan = trial.start()
        with trial.destination.open(plan) as session:
            trial.write(session, plan)
            trial.require("nothing is visible before commit")
            assert trial.destination.find_commit(plan) is None, "a load is not committed before `commit`"
            session.abort()

    def test_all_rows_and_the_marker_are_there_after_commit(self, trial: Trial) -> None:
        plan = trial.start()
        result = trial.load(plan, trial.rows(1))
        trial.require("all staged rows are visible after commit")
        found = trial.destination.find_commit(plan)
        assert found is not None, "`find_commit` must find a load that was committed"
        assert (found.load_id, found.digest, found.rows) == (plan.load_id, plan.digest, plan.rows), (
            f"`find_commit` must tell what was committed, but tells {found}"
        )
        assert not result.replayed, "the first load of a set is no replay"

    def test_each_load_does_what_its_strategy_says(self, trial: Trial) -> None:
        for number in range(4):
            trial.load(trial.numbered(number), trial.rows(number))
            trial.require(f"set {number} is applied by {trial.strategy}")

    def test_counts_are_true(self, trial: Trial) -> None:
        plan = trial.start()
        staged = trial.rows(1)
        if trial.strategy is Strategy.UPSERT:  # new rows, newer ones, and some that are in the table already
            staged = [*staged, *trial.rows(0)[:5]]
            plan = trial.plan(staged, sequence=2)
        new, newer, unchanged = trial.model.counts(staged)
        before, result = len(trial.model.rows), trial.load(plan, staged)
        found = (result.inserted, result.updated, result.unchanged)
        wholesale = trial.strategy in {Strategy.OVERWRITE, Strategy.REPLACE_PARTITION}
        true = [(len(staged), 0, 0), *([] if not wholesale and newer else [(new, newer, unchanged)])]
        if trial.strategy is Strategy.UPSERT:
            true = [(new, newer, unchanged)]
        assert result.rows == len(staged), f"{len(staged)} rows were staged, but {result.rows} are counted"
        assert found in true, f"inserted, updated, unchanged must be one of {true}, but are {found}"
        if result.deleted:
            assert before + result.inserted - result.deleted == len(trial.model.rows), f"deleted is {result.deleted}"
        again = trial.replay(plan)
        assert (again.inserted, again.updated, again.unchanged) == found, "a replay must tell the counts of the load"

    def test_an_older_version_never_replaces_a_newer_one(self, trial: Trial) -> None:
        if trial.strategy is not Strategy.UPSERT:
            return
        newer, older = ([narrow_row(n, day=0, version=v) for n in range(5)] for v in (2, 1))
        trial.load(trial.plan(newer, sequence=1), newer)
        trial.load(trial.plan(older, sequence=2), older)
        trial.require("an older version of a row never replaces a newer one")

    def test_a_slice_is_counted_as_readers_see_it(self, trial: Trial) -> None:
        """Only of a destination that can count."""
        if not isinstance(trial.destination, SupportsCounting):
            return
        plan = trial.start()
        days = sorted({row["day"] for row in trial.model.rows})
        column = plan.contract.partition_by
        slices = [TouchedSlice(column, days[0], last) for last in (days[0], days[-1])] if column else []
        for touched in (None, *slices):
            inside = [r for r in trial.model.rows if touched is None or touched.first <= r["day"] <= touched.last]
            true = SliceCounts(len(inside), len({row["id"] for row in inside}))
            found = trial.destination.count(replace(plan, touched=touched))
            assert found == true, f"a slice must be counted as readers see it: {true}, but is {found}"

    def test_what_is_gone_leaves_with_the_set_that_shows_it(self, trial: Trial) -> None:
        """Only of an upsert that follows deletes."""
        if trial.strategy is not Strategy.UPSERT or not trial.destination.follows_deletes:
            return
        trial.start()
        held = sorted(trial.model.rows, key=lambda row: row["id"])
        day = held[0]["day"]
        older = [{**row, "updated_at": row["created_at"]} for row in held if row["day"] == day][1:]
        of_the_day = Covers("day", (day,))
        self._follow(trial, 2, older, of_the_day, [*(row for row in held if row["day"] != day), *older])
        self._follow(trial, 3, held[3:9], Covers(), held[3:9])

    def _follow(self, trial: Trial, sequence: int, staged: Sequence[Row], covers: Covers, left: Sequence[Row]) -> None:
        plan, before = replace(trial.plan(staged, sequence=sequence), covers=covers), len(trial.model.rows)
        result = trial.replay(plan)
        trial.model.rows, trial.ledger = list(left), [*trial.ledger, sequence]
        trial.require("what is gone from the source leaves with the set that shows it, and its rows are the newest")
        shown = before + result.inserted - result.deleted
        assert shown == len(left), (
            f"{before} rows and {result.inserted} inserted, but {result.deleted} are called deleted"
        )

    def test_an_empty_set_is_a_load_too(self, trial: Trial) -> None:
        empty = trial.plan([], sequence=1)
        result = trial.load(empty, [])
        assert result.rows == 0, f"an empty set has no rows, but {result.rows} are counted"
        trial.require_settled(empty, "an empty set makes the table and the marker")
        plan = trial.plan(trial.rows(0), sequence=2)
        trial.load(plan, trial.rows(0))
        trial.require("a load after an empty one")

    def test_a_failed_load_leaves_nothing(self, trial: Trial) -> None:
        plan = trial.start()
        last = Path(plan.parts[-1].uri)
        content = last.read_bytes()
        last.write_bytes(content[: len(content) // 2])
        with pytest.raises(OwnLensError):
            trial.replay(plan)
        trial.require("a load with a damaged part changes nothing")
        last.write_bytes(content)
        trial.load(plan, trial.rows(1))
        trial.require_settled(plan, "a load that failed can be run again")

    def test_an_aborted_attempt_leaves_nothing(self, trial: Trial) -> None:
        plan = trial.start()
        with trial.destination.open(plan) as session:
            trial.write(session, plan)
            session.abort()
        trial.require("an aborted attempt changes nothing")
        left = trial.look(trial.destination, plan).leftovers
        assert not left, f"an aborted attempt must leave nothing, but left {sorted(left)[:5]}"

    def test_a_set_that_lost_rows_is_refused(self, trial: Trial) -> None:
        plan = trial.start()
        with pytest.raises(Rejected):
            trial.replay(_with_more_rows(plan))
        trial.require("a set with fewer rows than its manifest says changes nothing")

    def test_lost_rows_are_noticed_inside_the_commit(self, trial: Trial) -> None:
        """The engine compares receipts with the manifest; the destination counts what it holds, once more."""
        plan = trial.start()
        lying = _with_more_rows(plan)
        with pytest.raises(OwnLensError):
            _commit_unseen(trial, lying)
        trial.require("a commit that would land fewer rows than were staged changes nothing")

    def test_rows_read_back_stay_the_same_after_close(self, trial: Trial) -> None:
        trial.start()
        trial.destination.close()
        require_rows(trial.landed(), trial.expected(), "a destination can be used again after `close`")


def _commit_unseen(trial: Trial, plan: LoadPlan) -> None:
    """Commit with receipts that count what the manifest says, whatever was written."""
    with trial.destination.open(plan) as session:
        rows = {part.part_id: part.rows for part in plan.parts}
        session.commit([replace(receipt, rows=rows[receipt.part_id]) for receipt in trial.write(session, plan)])


def _with_more_rows(plan: LoadPlan) -> LoadPlan:
    """Return the plan as if one more row had been staged than its file holds."""
    return replace(plan, parts=(*plan.parts[:-1], replace(plan.parts[-1], rows=plan.parts[-1].rows + 1)))
