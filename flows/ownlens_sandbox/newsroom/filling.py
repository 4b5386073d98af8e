"""Fills the empty newsroom with history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import psycopg

from ownlens_plugins.contracts import TableContract, parents_first

from .rows import Batch, insert_statement
from .scene import Clock, Population, Scene, word_lists
from .schema import add_foreign_keys, drop_foreign_keys, run
from .sizes import Size, plan_sizes

Progress = Callable[[str, int], None]


def fill(
    connection: psycopg.Connection,
    contracts: Sequence[TableContract],
    *,
    rows: int = 500_000,
    seed: int = 7,
    today: date | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Fill the empty tables with about `rows` rows in one transaction.

    The history ends at midnight (UTC) before `today`. Equal `rows`, `seed` and `today` give equal tables.
    `progress` is called with each table's name and rows once they are written.

    Returns:
        Rows by table.

    Raises:
        psycopg.errors.UniqueViolation: a table is not empty.
    """
    sizes = plan_sizes(contracts, rows)
    scene = Scene(
        contracts={contract.table: contract for contract in contracts},
        populations={table: Population(size.rows) for table, size in sizes.items()},
        clock=Clock(today or datetime.now(UTC).date(), is_change=False),
        seed=str(seed),
        words=word_lists(contracts),
    )
    with connection.transaction():
        prepare(connection)
        # One check of all rows at the end is cheaper than a look-up for each row.
        drop_foreign_keys(connection, contracts)
        written = _insert_all(connection, scene, sizes, progress)
        add_foreign_keys(connection, contracts)
        connection.execute("ANALYZE")
    return written


def prepare(connection: psycopg.Connection) -> None:
    """Set the running transaction up: tables lie in `public`, dates are those of UTC, and nothing is compiled."""
    for setting in (
        "search_path = public",
        "timezone = 'UTC'",
        "jit = off",
        "work_mem = '64MB'",
        "maintenance_work_mem = '128MB'",
    ):
        run(connection, f"SET LOCAL {setting}")


def _insert_all(
    connection: psycopg.Connection, scene: Scene, sizes: dict[str, Size], progress: Progress | None
) -> dict[str, int]:
    written = {}
    for contract in parents_first(scene.contracts.values()):
        size = sizes[contract.table]
        batch = Batch(1, size.keys, size.days, scene.clock.day - timedelta(days=size.days))
        written[contract.table] = run(connection, insert_statement(contract, scene, batch))
        if progress:
            progress(contract.table, written[contract.table])
    return written
