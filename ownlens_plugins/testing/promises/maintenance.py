"""Maintenance between loads and during them; only of a destination that offers it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from typing import ClassVar

from ...api import LoadPlan, LoadResult
from ...contracts import Strategy
from ...errors import OwnLensError, Retryable
from ...powers import Chore, SupportsMaintenance
from ..comparing import row_texts
from ..model import Row, narrow_row
from ..processes import race, until_done
from ..trial import Trial
from .subject import Subject

# Rows are old by the day that maintenance is told, and not by the clock of a store that removes them by itself. The
# oldest day that stays begins a year: stores that keep whole months or years of rows remove the same.
_OLDEST_KEPT, _TODAY, _KEPT_DAYS = date(2100, 1, 1), date(2100, 1, 2), 2
_AGES = (-40, -1, 0, 1)
_FIRST_DAY = date(2026, 1, 1)
# Chores whose numbers do not depend on what a store does by itself meanwhile.
_TOLD = frozenset({"retention", "ledger", "quarantine"})
_RACING_SETS, _ROUNDS = 5, 2
_MOMENT_SECONDS = 0.2


class Maintenance(Subject):
    """Maintenance keeps a table small, and every promise."""

    # Points of `faults.reach` that a maintenance comes by which removes old rows and forgets loads.
    upkeep_points: ClassVar[Sequence[str]] = ()

    def test_maintenance_loses_no_row_and_no_load(self, trial: Trial) -> None:
        if not isinstance(trial.destination, SupportsMaintenance):
            return
        assert not trial.maintain(trial.upkeep()), "a table that no load has made has nothing to maintain"
        plans = []
        for number in range(3):
            plans.append(trial.numbered(number))
            trial.load(plans[-1], trial.rows(number))
            trial.maintain(trial.upkeep())
            trial.require_settled(plans[-1], f"maintained after set {number}")
        self._forget(trial, settled=2)
        for plan in plans:
            assert trial.replay(plan).replayed, f"{plan.load_id} was applied again after the ledger had forgotten it"
        plans.append(trial.numbered(3))
        trial.load(plans[-1], trial.rows(3))
        self._forget(trial, settled=4)
        trial.require_settled(plans[-1], "maintained when no set is staged any more")

    def _forget(self, trial: Trial, *, settled: int) -> None:
        """Let the ledger forget, and check what is said of it."""
        look = trial.plan([], sequence=999_998)
        before = len(trial.look(trial.destination, look).ledger)
        told = _numbers(trial.maintain(trial.upkeep(settled=settled))).get("ledger", 0)
        left = len(set(trial.look(trial.destination, look).ledger))
        # A store may keep an entry of its own that answers for those that are gone.
        assert told - 1 <= before - left <= told, f"the ledger forgot {before - left} loads, but {told} are told"
        again = _numbers(trial.maintain(trial.upkeep(settled=settled)))
        assert "ledger" not in again, f"the ledger forgot loads twice: {again}"

    def test_retention_removes_only_what_is_older(self, trial: Trial) -> None:
        if not self._age(trial):
            return
        first = self._load(trial, 0)
        planned = _numbers(trial.maintain(trial.upkeep(today=_TODAY, dry_run=True)))
        trial.require_settled(first, "a dry run changes nothing")
        done = _numbers(trial.maintain(trial.upkeep(today=_TODAY)))
        loaded = len(trial.model.rows)
        old = loaded - len(self._keep(trial))
        trial.require_settled(first, "maintenance removes the rows that are older, and no other")
        assert done == {"retention": old}, f"maintenance must tell of {old} old rows, but tells {done}"
        assert planned == done, f"a dry run must tell what maintenance does: {done}, but tells {planned}"
        second = self._load(trial, 1)
        self._keep(trial)
        trial.maintain(trial.upkeep(today=_TODAY))
        trial.require_settled(second, "maintained once more, after a load that brought old rows too")
        again = _numbers(trial.maintain(trial.upkeep(today=_TODAY)))
        assert not again, f"maintenance that has nothing to remove must tell so, but tells {again}"

    def _age(self, trial: Trial) -> bool:
        """Give the trial a contract that keeps rows for some days; tell whether it can be maintained so."""
        if trial.strategy is Strategy.OVERWRITE or not isinstance(trial.destination, SupportsMaintenance):
            return False  # an overwrite replaces all rows
        trial.contract = self.contract(trial.strategy, retention_days=_KEPT_DAYS)
        return True

    def _keep(self, trial: Trial) -> list[Row]:
        """Expect no old row any more, where the contract says so; return those that stay."""
        if trial.contract.retention_days is not None:
            trial.model.rows = [row for row in trial.model.rows if row["day"] >= _OLDEST_KEPT]
        return trial.model.rows

    def test_an_attempt_outlives_maintenance(self, trial: Trial) -> None:
        if not isinstance(trial.destination, SupportsMaintenance):
            return
        plan, newer = trial.start(), trial.numbered(2)
        with trial.destination.open(plan) as session:
            receipts = trial.write(session, plan)
            trial.maintain(trial.upkeep(settled=1))
            with suppress(Retryable):
                session.commit(receipts)
        until_done(trial.destination, plan)
        trial.expect(plan, trial.rows(1))
        trial.require_settled(plan, "maintenance leaves a running attempt alone")
        result = self._overtaken(trial, plan, newer)
        assert result is None or result.replayed, "a load that the ledger has forgotten may not be applied again"
        trial.require_settled(newer, "an attempt at a load that is in, and that the ledger has forgotten")

    def _overtaken(self, trial: Trial, plan: LoadPlan, newer: LoadPlan) -> LoadResult | None:
        """Commit a load once more, behind a newer one and a maintenance that lets the ledger forget it."""
        with trial.destination.open(plan) as session:
            receipts = trial.write(session, plan)
            until_done(trial.destination, newer)
            trial.expect(newer, trial.rows(2))
            trial.maintain(trial.upkeep(settled=2))
            with suppress(OwnLensError):
                return session.commit(receipts)
        return None

    def test_a_killed_maintenance_is_finished_by_the_next(self, trial: Trial) -> None:
        if not isinstance(trial.destination, SupportsMaintenance):
            return
        self._age(trial)
        plans = [self._load(trial, number) for number in range(3)]
        old = row_texts(trial.landed())
        self._keep(trial)
        for point in (*(() if trial.contract.retention_days is None else self.upkeep_points), ""):
            self._kill(trial, point)
            landed = row_texts(trial.landed())
            whole = not Counter(landed) - Counter(old) and not Counter(row_texts(trial.expected())) - Counter(landed)
            assert whole, f"killed at {point!r}: readers see {len(landed)} rows, and not those of before or after"
            assert all(trial.replay(plan).replayed for plan in plans), f"killed at {point!r}: a load was applied again"
        trial.maintain(trial.upkeep(settled=2, today=_TODAY))
        trial.require_settled(plans[-1], "a killed maintenance, and another one")
        last = self._load(trial, 3)
        self._keep(trial)
        trial.maintain(trial.upkeep(settled=2, today=_TODAY))
        trial.require_settled(last, "a load after a killed maintenance")

    def _load(self, trial: Trial, number: int) -> LoadPlan:
        rows = self._rows(trial, number)
        plan = trial.plan(rows, sequence=number + 1)
        trial.load(plan, rows)
        return plan

    def _rows(self, trial: Trial, number: int) -> list[Row]:
        return [*trial.rows(number)] if trial.contract.retention_days is None else _aged(trial.strategy, number)

    def _kill(self, trial: Trial, point: str) -> None:
        """Kill a maintenance at a point, or at some moment."""
        upkeep = trial.upkeep(settled=2, today=_TODAY)
        trial.settled = upkeep.settled
        process = trial.in_process(fault=point, waits=True, upkeeps=[upkeep])
        process.wait_until_ready()
        process.go()
        if point:
            assert process.killed(), f"no maintenance came by {point!r}"
        else:
            time.sleep(random.uniform(0, _MOMENT_SECONDS))
            process.kill()

    def test_loads_and_maintenance_at_once(self, trial: Trial) -> None:
        if not isinstance(trial.destination, SupportsMaintenance):
            return
        self._age(trial)
        self._load(trial, 0)
        sets = [self._rows(trial, number) for number in range(1, _RACING_SETS)]
        plans = [trial.plan(rows, sequence=number) for number, rows in enumerate(sets, start=2)]
        upkeep = trial.upkeep(settled=1, today=_TODAY)
        results = race([trial.in_process(*plans, waits=True), trial.in_process(waits=True, upkeeps=[upkeep] * _ROUNDS)])
        assert [result.rows for result in results] == [plan.rows for plan in plans], "a load beside a maintenance"
        for plan, rows in zip(plans, sets, strict=True):
            trial.expect(plan, rows)
        self._keep(trial)
        trial.maintain(upkeep)
        trial.require_settled(plans[-1], "loads and a maintenance at once")


def _aged(strategy: Strategy, number: int) -> list[Row]:
    """Return the rows of a set, some older than the contract keeps; sets of an upsert share half of their keys."""
    step = len(_AGES) * (1 if strategy is Strategy.UPSERT else 2)
    offsets = [(_OLDEST_KEPT - _FIRST_DAY).days + age for age in _AGES]
    ids = range(number * step, number * step + 2 * len(_AGES))
    return [narrow_row(n, day=offsets[n % len(_AGES)], version=number) for n in ids]


def _numbers(chores: Sequence[Chore]) -> dict[str, int]:
    """Return the numbers of chores that a store does not change by itself meanwhile."""
    return {chore.name: chore.rows or chore.files for chore in chores if chore.name in _TOLD}
