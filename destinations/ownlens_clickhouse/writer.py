"""Writes each staged part to a table of its own, so that no writer can disturb another or a commit."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, replace
from typing import cast

from ownlens_plugins import faults
from ownlens_plugins.api import LoadPlan, Receipt, StagedPart
from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Retryable

from . import attempts, covering, sql
from .attempts import Internal
from .client import Store
from .columns import UuidAs
from .config import ClickHouseConfig, ClickHouseOptions
from .definition import TableDefinition, define, keys_of
from .failures import reported
from .parts import prepared
from .staging import Blueprint, create_empty


@dataclass(frozen=True)
class ClickHouseWriter:
    """Picklable: holds the configuration, and takes a connection from the pool of the process it runs in."""

    config: ClickHouseConfig
    contract: TableContract
    blueprint: Blueprint
    uuid_as: UuidAs
    label: Internal
    keys: TableDefinition | None = None
    marker: str | None = None

    def write(self, part: StagedPart) -> Receipt:
        """Insert a part into a new table; the receipt names it.

        Raises:
            Retryable: it was not written, or the attempt is over. Rejected: ClickHouse refuses the rows.
        """
        if self._is_over():
            raise Retryable(f"{self.contract.table}: clickhouse: this attempt is over; load the staged set again")
        store = Store(self.config, statements=f"{self.label.statements}p{secrets.token_hex(4)}_")
        with reported(self.config, self.contract.table):
            table, sent = self.new_part(store), 0
            if part.rows:
                with prepared(part, self.contract, uuid_as=self.uuid_as) as ready:
                    store.insert_parquet(table, ready.columns, ready.file)
                    sent = ready.rows
            rows = int(store.rows(f"SELECT count() FROM {store.name(table)}")[0][0])
            self._require_marker(store, table)
        if rows != sent:
            # Too many when the insert was sent again, too few when a store says yes and keeps nothing.
            raise Retryable(
                f"{self.contract.table}: clickhouse took {rows} of the {sent} rows of a part; load the staged set again"
            )
        faults.reach("part_written")
        return Receipt(part.part_id, rows, {"table": table})

    def _require_marker(self, store: Store, table: str) -> None:
        """Take a part back whose attempt ended meanwhile. Last: whoever ends an attempt drops its marker first."""
        if self.marker is None or store.has_table(self.marker):
            return
        store.run(sql.drop(store.name(table), None if self.keys else self.blueprint.cluster))
        raise Retryable(f"{self.contract.table}: clickhouse: this attempt is over; load the staged set again")

    def new_part(self, store: Store) -> str:
        """Create an empty table for one part, and return its name."""
        if self.keys is None:
            return self.new_table(store)
        label = self._new_label()
        name = store.name(label.name)
        store.run(sql.create_stage(name, self.keys, sequence=label.sequence, becomes_target=False, label=label.name))
        return label.name

    def new_table(self, store: Store, *, checked: bool = True) -> str:
        """Create an empty table that can land, and return its name; its rows are checked by constraints, if asked."""
        return create_empty(store, self.blueprint, self._new_label(), checked=checked)

    def _new_label(self) -> Internal:
        return replace(self.label, role=f"p{secrets.token_hex(4)}")

    def _is_over(self) -> bool:
        # Only the process that opened the attempt knows; elsewhere the rows stay in a table that nobody commits. On
        # another machine, above all in a container, another process may have the same number.
        here = self.label.host == attempts.host_token() and self.label.pid == os.getpid()
        return here and not attempts.is_live(self.label.attempt)


def writer_for(plan: LoadPlan, config: ClickHouseConfig, blueprint: Blueprint, label: Internal) -> ClickHouseWriter:
    """Return the writer of one attempt, whose rows land as a table of this blueprint.

    Raises:
        Rejected: the options contradict the contract, or the strategy cannot take a set of keys.
    """
    contract, keys = plan.contract, None
    if covering.keys_only(plan):
        keys = keys_of(define(plan), contract)
        contract = replace(contract, columns=tuple(map(contract.column, contract.key)))
    return ClickHouseWriter(
        config=config,
        contract=contract,
        blueprint=blueprint,
        uuid_as=cast(ClickHouseOptions, plan.options).uuid_as,
        label=label,
        keys=keys,
    )
