"""One attempt to load one plan: parts into tables of their own, then one commit."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from ownlens_plugins import faults
from ownlens_plugins.api import LoadPlan, LoadResult, LoadSession, PartWriter, Receipt, StagedWriter
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import OwnLensError, Retryable

from . import attempts, covering, preparing, schema, settling, sql
from .attempts import Internal, parse
from .failures import reported, unknown_outcome
from .ledger import Standing, entry_for
from .redo import Redo
from .staging import Blueprint
from .target import Target
from .turns import take, turn
from .writer import writer_for


class ClickHouseSession(LoadSession):
    """Loads one plan. Until the redo record is written nothing is visible; from then on it can only be finished."""

    def __init__(self, target: Target, plan: LoadPlan, blueprint: Blueprint, label: Internal) -> None:
        self._target = target
        self._plan = plan
        self._label = label
        self._writer = writer_for(plan, target.store.config, blueprint, label)
        # A session that nobody closes must not look alive for as long as the process lives.
        weakref.finalize(self, attempts.end, label.attempt)

    @property
    def writer(self) -> PartWriter:
        return self._writer

    def spread(self) -> PartWriter:
        """Return the writer for workers of other processes, which see by a marker whether the attempt is over.

        Raises:
            Retryable: not reachable now. Rejected: ClickHouse refuses.
        """
        store, marker = self._target.store, replace(self._label, role=attempts.MARKER).name
        with reported(store.config, self._target.table):
            store.run(sql.create_marker(store.name(marker), marker))
        return replace(self._writer, marker=marker)

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        target = self._target
        with reported(target.store.config, target.table):
            faults.reach("before_commit")
            staged = self._united(receipts)
            stage = self._room_for(staged)
            with turn(target):
                taken, standing = take(target, stage)
                if result := standing.outcome(self._plan):
                    self._clean()
                    return replace(result, replayed=True)
                redo = self._begin(taken.name if stage == staged else staged.name, taken.name, standing)
                with unknown_outcome(target.table):
                    done = settling.finish(target, redo, taken.name)
                faults.reach("cleanup")
                self._clean()
        return done.result()

    def _united(self, receipts: Sequence[Receipt]) -> Internal:
        tables = [str(receipt.payload["table"]) for receipt in receipts]
        first, *others = tables or [self._writer.new_part(self._target.store)]
        for other in others:
            self._target.store.run(sql.attach_all(self._target.store.name(first), self._target.store.name(other)))
        return _named(first)

    def _room_for(self, staged: Internal) -> Internal:
        """Return the table that is to land: that of the staged rows, or of a merge one that is empty yet."""
        if self._plan.strategy is not Strategy.UPSERT or covering.exchanges(self._plan):
            return staged
        # Rows that stay may break a constraint that is younger than they are; staged ones were checked as parts.
        return _named(self._writer.new_table(self._target.store, checked=False))

    def _begin(self, staged: str, stage: str, standing: Standing) -> Redo:
        target, plan = self._target, self._plan
        rows, uuid, here = target.count(staged), target.uuid_of(stage), target.uuid_of(target.table)
        if rows != plan.rows or uuid is None:
            raise Retryable(
                f"{plan.table}: {plan.destination} has {rows} of {plan.rows} staged rows; load the staged set again"
            )
        if here is None:
            raise Retryable(f"{plan.table}: {plan.destination}: somebody dropped the table; load the staged set again")
        self._align(staged, stage)
        prepared = preparing.prepare(target, plan, staged, stage)
        if not covering.exchanges(plan):
            # After the last look at the table: from the redo record on the rows must land.
            schema.require_alike(target, stage)
        entry = entry_for(plan, prepared.changes, uuid, life=standing.life, target=here)
        redo = Redo(entry, covering.exchanges(plan), prepared.replaced)
        target.begin(redo, stage)
        return redo

    def _align(self, staged: str, stage: str) -> None:
        # Rows are compared as bytes, so equal ones must have equal types. The table that is to land comes last: it must
        # be able to take what is staged. One that replaces the table owes it nothing.
        if self._plan.strategy is Strategy.OVERWRITE:
            return
        rows = [] if covering.keys_only(self._plan) else [staged]
        for table in dict.fromkeys([*rows, stage]):
            schema.align(self._target, table)

    def _clean(self) -> None:
        # The load is settled; what cannot be dropped now is dropped by whoever opens the table next.
        with suppress(OwnLensError), reported(self._target.store.config, self._target.table):
            settling.discard(self._target, self._label.attempt)

    def abort(self) -> None:
        faults.reach("abort")
        self._clean()

    def close(self) -> None:
        attempts.end(self._label.attempt)


def _named(table: str) -> Internal:
    label = parse(table)
    assert label is not None  # our own writer named it
    return label


class ReplaySession(LoadSession):
    """The attempt that found its load applied by `open` itself, which finished what a crashed attempt had begun."""

    def __init__(self, result: LoadResult) -> None:
        self._result = result

    @property
    def writer(self) -> PartWriter:
        return StagedWriter()

    def commit(self, _: Sequence[Receipt]) -> LoadResult:
        return replace(self._result, replayed=True)

    def abort(self) -> None:
        """Nothing is staged."""
