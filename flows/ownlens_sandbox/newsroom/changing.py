"""A day in the newsroom: new rows, late rows, corrected rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from math import ceil

import psycopg

from ownlens_plugins.contracts import TableContract, parents_first

from .filling import prepare
from .recipes import recipe_for
from .rows import Batch, insert_statement, update_statement
from .scene import Clock, Population, Scene, daily_column, word_lists
from .schema import quoted, run

# Shares of a table's rows that one day adds and corrects, by preset.
_NEW_SHARE = {"reference": 0.002, "events": 0.014, "entity": 0.01}
_CORRECTED_SHARE = {"reference": 0.003, "events": 0.0, "entity": 0.01, "daily": 0.02}


def apply_day_of_changes(
    connection: psycopg.Connection,
    contracts: Sequence[TableContract],
    *,
    seed: int = 8,
    day: date | None = None,
) -> dict[str, tuple[int, int]]:
    """Add a day's rows and correct older ones in one transaction; call it again for another day's worth.

    New rows happened on `day` (UTC; default today), a tenth of them up to four days earlier; all of them, and all
    corrections, are stamped with the transaction's own time. Daily tables get the rows of `day` that they do not
    have yet. The tables must have been filled by `fill` and have lost no rows since.

    Returns:
        Rows inserted and rows updated, by table.

    Raises:
        ValueError: `day` has not begun.
    """
    today = datetime.now(UTC).date()
    if day is not None and day > today:
        raise ValueError(f"day {day} has not begun; give today ({today}, UTC) or an earlier day")
    with connection.transaction():
        prepare(connection)
        before = {contract.table: _count(connection, contract.table) for contract in contracts}
        scene = _scene(contracts, before, seed=seed, day=day or today)
        ordered = parents_first(contracts)
        inserted = {contract.table: _insert(connection, contract, scene) for contract in ordered}
        updated = {contract.table: _update(connection, contract, scene) for contract in ordered}
    return {table: (inserted[table], updated[table]) for table in inserted}


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {quoted(table)}".encode()).fetchone()
    return int(row[0]) if row else 0


def _scene(contracts: Sequence[TableContract], before: dict[str, int], *, seed: int, day: date) -> Scene:
    fresh = {contract.table: _new_rows(contract, before[contract.table]) for contract in contracts}
    return Scene(
        contracts={contract.table: contract for contract in contracts},
        populations={table: Population(before[table] + fresh[table], fresh[table]) for table in before},
        clock=Clock(day, is_change=True),
        # The row count tells one day's draws from the next one's.
        seed=f"{seed}/{sum(before.values())}",
        words=word_lists(contracts),
    )


def _new_rows(contract: TableContract, rows: int) -> int:
    if daily_column(contract):
        return 0
    capacity = recipe_for(contract).capacity
    wanted = ceil(rows * _NEW_SHARE[contract.preset])
    return wanted if capacity is None else max(0, min(wanted, capacity - rows))


def _insert(connection: psycopg.Connection, contract: TableContract, scene: Scene) -> int:
    population = scene.populations[contract.table]
    keys = _latest_keys(connection, contract) if daily_column(contract) else population.fresh
    if not keys:
        return 0
    batch = Batch(population.old + 1, keys, 1, scene.clock.day)
    return run(connection, insert_statement(contract, scene, batch))


def _latest_keys(connection: psycopg.Connection, contract: TableContract) -> int:
    """Rows of the fullest day so far: a daily table has as many keys today as it ever had."""
    day = quoted(daily_column(contract) or "")
    query = f"SELECT count(*) FROM {quoted(contract.table)} GROUP BY {day} ORDER BY 1 DESC LIMIT 1"
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _update(connection: psycopg.Connection, contract: TableContract, scene: Scene) -> int:
    rows = ceil(scene.populations[contract.table].old * _CORRECTED_SHARE[contract.preset])
    return run(connection, update_statement(contract, scene, rows)) if rows else 0
