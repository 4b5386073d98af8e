"""Several attempts at one load: replays, zombies, rivals, stale ones."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from ...api import LoadPlan, LoadResult
from ...contracts import Strategy
from ...errors import OwnLensError, Rejected, StagedSetChanged
from ..model import narrow_row
from ..processes import until_done
from ..trial import Trial

_MEETING_SECONDS = 2
_PICKLED_BYTES = 100_000


class Attempts:
    """A load is applied once, whoever tries and however often."""

    def test_the_same_load_again_changes_nothing(self, trial: Trial) -> None:
        plan = trial.start()
        trial.load(plan, trial.rows(1))
        trial.require_settled(plan, "the same load again changes nothing")

    def test_a_commit_of_a_committed_load_changes_nothing(self, trial: Trial) -> None:
        """The engine asks `find_commit` first, but between its question and the commit others can be quicker."""
        plan = trial.start()
        trial.load(plan, trial.rows(1))
        with trial.destination.open(plan) as session, suppress(OwnLensError):
            result = session.commit(trial.write(session, plan))
            assert result.replayed, "a commit of a load that is committed already must say that it is a replay"
        trial.require_settled(plan, "a second commit of a load changes nothing")

    @pytest.mark.parametrize("kept", ["first", "second"])
    def test_a_part_written_twice_counts_once(self, trial: Trial, kept: str) -> None:
        plan = trial.start()
        with trial.destination.open(plan) as session:
            first, second = trial.write(session, plan), trial.write(session, plan)
            session.commit(first if kept == "first" else second)
        trial.expect(plan, trial.rows(1))
        trial.require_settled(plan, f"a part written twice counts once when the {kept} receipt is kept")

    @pytest.mark.parametrize("end", ["commit", "abort"])
    def test_a_zombie_writer_changes_nothing(self, trial: Trial, end: str) -> None:
        plan = trial.start()
        with trial.destination.open(plan) as session:
            receipts = trial.write(session, plan)
            writer = session.writer
            if end == "commit":
                session.commit(receipts)
                trial.expect(plan, trial.rows(1))
            else:
                session.abort()
        with suppress(OwnLensError):
            writer.write(plan.parts[0])
        trial.require(f"a writer that goes on after {end} changes nothing")
        if end == "abort":
            trial.load(plan, trial.rows(1))
        trial.require_settled(plan, f"a load after a zombie's {end}")

    def test_a_writer_can_be_sent_to_another_process(self, trial: Trial) -> None:
        plan = trial.start()
        with trial.destination.open(plan) as session:
            try:
                sent = pickle.dumps(session.writer)
            except Exception as error:
                raise AssertionError(f"a writer must be picklable, without open connections: {error}") from error
            assert len(sent) < _PICKLED_BYTES, f"a pickled writer must be small, but has {len(sent)} bytes"
            copy = pickle.loads(sent)
            session.commit([copy.write(part) for part in plan.parts])
        trial.expect(plan, trial.rows(1))
        trial.require_settled(plan, "a copy of the writer writes parts as well")

    def test_an_abandoned_attempt_is_cleared(self, trial: Trial) -> None:
        plan = trial.start()
        with trial.destination.open(plan) as session:  # closed without commit or abort
            trial.write(session, plan)
        trial.require("an abandoned attempt changes nothing")
        trial.load(plan, trial.rows(1))
        trial.require_settled(plan, "`open` clears what an abandoned attempt left")

    def test_another_attempt_is_left_alone(self, trial: Trial) -> None:
        plan = trial.start()
        with trial.destination.open(plan) as first:
            receipts = trial.write(first, plan)
            with trial.destination.open(plan) as second:
                second.abort()
            result = first.commit(receipts)
        assert not result.replayed, "an attempt that another one did not disturb must commit"
        trial.expect(plan, trial.rows(1))
        trial.require_settled(plan, "an attempt that opens and aborts leaves others alone")

    def test_the_same_id_with_another_digest_is_refused(self, trial: Trial) -> None:
        plan = trial.start()
        trial.load(plan, trial.rows(1))
        other = trial.plan([*trial.rows(1)[:-1], narrow_row(9_999, day=2)], sequence=plan.sequence)
        with pytest.raises(StagedSetChanged) as refusal:
            trial.destination.find_commit(other)
        self._names(refusal.value, plan)
        with pytest.raises(OwnLensError), trial.destination.open(other) as session:
            session.commit(trial.write(session, other))
        trial.require("a set with the number of another one changes nothing")

    def _names(self, error: BaseException, plan: LoadPlan) -> None:
        text = str(error)
        assert plan.table in text, f"an error must name the table {plan.table!r}: {text}"
        assert plan.destination in text, f"an error must name the destination {plan.destination!r}: {text}"
        assert "\n" not in text, f"an error must be one line: {text!r}"

    def test_a_strategy_that_is_not_claimed_is_refused(self, trial: Trial) -> None:
        plan = trial.start()
        for strategy in sorted(set(Strategy) - trial.destination.strategies):
            with pytest.raises(Rejected) as refusal, trial.destination.open(replace(plan, strategy=strategy)):
                pass
            self._names(refusal.value, plan)

    def test_two_attempts_at_once(self, trial: Trial) -> None:
        plan = trial.start()
        meeting = threading.Barrier(2)
        outcomes = _in_threads(2, lambda _: _attempt(trial, plan, meeting))
        applied = [each for each in outcomes if isinstance(each, LoadResult) and not each.replayed]
        assert len(applied) <= 1, "two attempts at one load may not both apply it"
        wrong = [each for each in outcomes if not isinstance(each, LoadResult | OwnLensError)]
        assert not wrong, f"the attempt that comes second must replay or raise an OwnLens error, but raised {wrong}"
        until_done(trial.destination, plan)
        trial.expect(plan, trial.rows(1))
        trial.require_settled(plan, "two attempts at once apply a load once")

    def test_a_stale_attempt_after_a_newer_load(self, trial: Trial) -> None:
        older, newer = trial.start(), trial.numbered(2)
        result: LoadResult | None = None
        with trial.destination.open(older) as session:
            receipts = trial.write(session, older)
            until_done(trial.destination, newer)
            with suppress(OwnLensError):
                result = session.commit(receipts)
        # An older set may still be applied, as if it had come first, or be skipped whole: the result says which.
        done = result or until_done(trial.destination, older)
        if done.rows:
            trial.expect(older, trial.rows(1))
        trial.expect(newer, trial.rows(2))
        trial.require_settled(newer, f"a stale attempt that counted {done.rows} rows after a newer load")
        trial.require_settled(older, "a stale load again")

    def test_loads_of_two_tables_at_once(self, trial: Trial) -> None:
        others = [
            replace(trial, contract=replace(trial.contract, table=f"side_{n}", path=f"tests/side_{n}"), ledger=[])
            for n in range(4)
        ]
        for number, other in enumerate(others):
            other.folder = trial.folder / str(number)
        sets = [[narrow_row(n * 1_000 + m, day=0) for m in range(50)] for n in range(len(others))]
        plans = [other.plan(rows, sequence=1) for other, rows in zip(others, sets, strict=True)]
        meeting = threading.Barrier(len(others))
        outcomes = _in_threads(len(others), lambda n: _attempt(others[n], plans[n], meeting))
        for other, plan, rows, outcome in zip(others, plans, sets, outcomes, strict=True):
            if not isinstance(outcome, LoadResult):
                assert isinstance(outcome, OwnLensError), f"loads of several tables at once: {outcome!r}"
                until_done(other.destination, plan)
            other.expect(plan, rows)
            other.require_settled(plan, "loads of several tables at once")


def _attempt(trial: Trial, plan: LoadPlan, meeting: threading.Barrier) -> LoadResult:
    with trial.destination.open(plan) as session:
        receipts = trial.write(session, plan)
        with suppress(threading.BrokenBarrierError):  # one may have to wait in `open` until the other is done
            meeting.wait(_MEETING_SECONDS)
        return session.commit(receipts)


def _in_threads(count: int, work: Any) -> Sequence[Any]:
    outcomes: list[Any] = [None] * count

    def catch(number: int) -> None:
        try:
            outcomes[number] = work(number)
        except BaseException as error:
            outcomes[number] = error

    threads = [threading.Thread(target=catch, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
