"""One attempt to load one plan: parts into tables of their own, then one commit."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from ownlens_plugins import faults
from ownlens_plugins.api import LoadPlan, LoadResult, LoadSession, PartWriter, Receipt, StagedWriter
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import OwnLensError, Retryable

from . import attempts, covering, preparing, schema, settling, sql
from .attempts import Internal, parse
from .failures import reported, unknown_outcome
from .ledger import entry_for
from .lives import Look
from .preparing import Landing
from .redo import Redo
from .staging import Blueprint
from .target import Survey, Tally, Target
from .turns import take, turn
from .writer import writer_for


class ClickHouseSession(LoadSession):
    """Loads one plan. Until the redo record is written nothing is visible; from then on it can only be finished."""

    def __init__(self, target: Target, plan: LoadPlan, blueprint: Blueprint, label: Internal) -> None:
        self._target = target
        self._plan = plan
        self._label = label
        self._rooms: list[str] = []
        self._is_spread = False
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
        self._is_spread = True
        with reported(store.config, self._target.table):
            store.run(sql.create_token(store.name(marker), marker))
        return replace(self._writer, marker=marker)

    def commit(self, receipts: Sequence[Receipt]) -> LoadResult:
        target = self._target
        with reported(target.store.config, target.table):
            faults.reach("before_commit")
            staged = self._united(receipts)
            stage = self._stage_for(staged)
            with turn(target):
                taken, seen = take(target, stage)
                if result := seen.standing.outcome(self._plan):
                    self._clean()
                    return replace(result, replayed=True)
                landing = Landing(taken.name if stage == staged else staged.name, taken.name, stage.name)
                redo, tally = self._begin(landing, seen)
                with unknown_outcome(target.table):
                    done = settling.finish(replace(target, ttl=seen.survey.ttl), redo, taken.name, tally)
                faults.reach("cleanup")
                self._clean([taken.name, *self._rooms, *self._left(seen.survey, stage)])
                if self._is_spread:
                    self._clean()  # workers elsewhere may have made tables since the survey
        return done.result()

    def _left(self, survey: Survey, stage: Internal) -> list[str]:
        made = settling.made_by(self._label.attempt, survey)
        return [table for table in made if table != stage.name]

    def _united(self, receipts: Sequence[Receipt]) -> Internal:
        tables = [str(receipt.payload["table"]) for receipt in receipts]
        first, *others = tables or [self._writer.new_part(self._target.store)]
        for other in others:
            self._target.store.run(sql.attach_all(self._target.store.name(first), self._target.store.name(other)))
        return _named(first)

    def _stage_for(self, staged: Internal) -> Internal:
        """Return the table that is to land: that of the staged rows, or an empty one if only keys are staged."""
        if covering.keys_only(self._plan):
            return _named(self._room())
        return staged

    def _room(self) -> str:
        # Rows that stay may break a constraint that is younger than they are; staged ones were checked as parts.
        room = self._writer.new_table(self._target.store, checked=False)
        self._rooms.append(room)
        return room

    def _begin(self, landing: Landing, seen: Look) -> tuple[Redo, Tally | None]:
        target, plan, survey = replace(self._target, ttl=seen.survey.ttl), self._plan, seen.survey
        table, stage = survey.here, survey.tables.get(landing.former)
        tally = preparing.tally(target, plan, landing, table)
        rows, uuid = tally.rows, stage.uuid if stage else None
        if rows != plan.rows or uuid is None:
            raise Retryable(
                f"{plan.table}: {plan.destination} has {rows} of {plan.rows} staged rows; load the staged set again"
            )
        if table is None:
            raise Retryable(f"{plan.table}: {plan.destination}: somebody dropped the table; load the staged set again")
        if stage is not None and plan.strategy is not Strategy.OVERWRITE:
            # Rows are compared as bytes, so equal ones must have equal types; and what lands must be able to. One that
            # replaces the table owes it nothing.
            schema.align(target, landing.stage, (table, stage))
        prepared = preparing.prepare(target, plan, landing, tally, table, self._room)
        if not covering.exchanges(plan):
            # After the last look at the table: from the redo record on the rows must land.
            schema.require_alike(target, landing.stage)
        if prepared.restaged:
            uuid = target.require_uuid(landing.stage)
        if target.uuid_of(target.table) != table.uuid:
            # Right before the record: from it on the load counts for this table, and another one lacks older loads.
            raise Retryable(f"{plan.table}: {plan.destination}: somebody replaced the table; load the staged set again")
        entry = entry_for(plan, prepared.changes, uuid, life=seen.standing.life, target=table.uuid)
        redo = Redo(entry, covering.exchanges(plan), prepared.replaced)
        target.begin(redo, landing.stage, table.comment)
        return redo, None if prepared.restaged else tally

    def _clean(self, tables: Iterable[str] | None = None) -> None:
        # The load is settled; what cannot be dropped now is dropped by whoever opens the table next.
        target = self._target
        with suppress(OwnLensError), reported(target.store.config, target.table):
            if tables is None:
                settling.discard(target, self._label.attempt)
            for table in dict.fromkeys(tables or ()):
                target.drop(table)

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
