"""Processes that die, and processes that race."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ...api import LoadPlan, LoadResult
from ...contracts import Strategy
from ..comparing import row_texts
from ..processes import race, until_done
from ..trial import Trial

RACERS = 6
# Moments at which the commit may be under way; before them nothing may be visible, whatever the store.
_INSIDE = frozenset({"commit_sent", "after_commit", "before_ledger", "cleanup", "committed"})


class Crashes:
    """A process that is killed anywhere leaves a table that one normal run brings to its end, exactly."""

    # Strategies whose commit readers can see in several steps.
    visible_steps: ClassVar[frozenset[Strategy]] = frozenset()

    def test_a_killed_load_is_repaired_by_the_next_run(self, trial: Trial, kill_point: str) -> None:
        plan = trial.start()
        repair = _damage(plan) if kill_point in {"abort", "aborting"} else None
        assert trial.in_process(plan, fault=kill_point).killed(), f"no load came by {kill_point!r}"
        self._require_whole(trial, kill_point)
        if repair is not None:
            Path(plan.parts[-1].uri).write_bytes(repair)
        result = until_done(trial.destination, plan)
        assert result.rows == plan.rows, f"the run after a kill must count {plan.rows} rows, not {result.rows}"
        trial.expect(plan, trial.rows(1))
        trial.require_settled(plan, f"killed at {kill_point!r} and run again")

    def _require_whole(self, trial: Trial, kill_point: str) -> None:
        """Check that readers see the rows of before or those of after, and nothing between."""
        if trial.strategy in self.visible_steps and kill_point in _INSIDE:
            return
        landed = row_texts(trial.landed())
        old, new = row_texts(trial.expected()), row_texts(trial.expected(trial.rows(1)))
        assert landed in ([old, new] if kill_point in _INSIDE else [old]), (
            f"killed at {kill_point!r}: readers see {len(landed)} rows, neither the {len(old)} of before "
            f"nor the {len(new)} of after"
        )

    def test_a_newer_load_follows_a_killed_one(self, trial: Trial) -> None:
        """Half a load must not stay because nobody runs it again."""
        plan = trial.start()
        assert trial.in_process(plan, fault="committing").killed()
        newer = trial.numbered(2)
        until_done(trial.destination, newer)
        done = until_done(trial.destination, plan)
        if done.rows:
            trial.expect(plan, trial.rows(1))
        trial.expect(newer, trial.rows(2))
        trial.require_settled(newer, "a newer load after a killed one")

    def test_processes_race_with_one_set(self, trial: Trial) -> None:
        plan = trial.start()
        results = self._race(trial, [plan] * RACERS)
        applied = sum(not result.replayed for result in results)
        assert applied <= 1, f"{applied} of {RACERS} processes say that they applied the load"
        assert {result.rows for result in results} == {plan.rows}, "every process must tell the rows of the load"
        trial.expect(plan, trial.rows(1))
        until_done(trial.destination, plan)
        trial.require_settled(plan, f"{RACERS} processes that load one set")

    def test_processes_race_with_sets_of_one_table(self, trial: Trial) -> None:
        trial.start()
        plans = [trial.numbered(number) for number in range(1, RACERS + 1)]
        results = self._race(trial, plans)
        for number, (plan, result) in enumerate(zip(plans, results, strict=True), start=1):
            if result.rows:  # a set that a newer one overtook may be skipped, whole, and says so
                trial.expect(plan, trial.rows(number))
        assert results[-1].rows, "the newest set can not have been overtaken"
        until_done(trial.destination, plans[-1])
        trial.require_settled(plans[-1], f"{RACERS} processes with a set of the table each")

    def _race(self, trial: Trial, plans: list[LoadPlan]) -> list[LoadResult]:
        return race([trial.in_process(plan, waits=True) for plan in plans])


def _damage(plan: LoadPlan) -> bytes:
    """Cut the last part's file short, so that the engine aborts; return what it held."""
    last = Path(plan.parts[-1].uri)
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    return content
