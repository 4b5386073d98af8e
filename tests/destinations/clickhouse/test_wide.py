"""Tables of 1,700 columns: statements of 150,000 characters, and no step whose work grows faster than the columns."""

from __future__ import annotations

import time
from datetime import timedelta

from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.testing import sample_rows

from .loads import NARROW, Loads, contract_for

_KINDS = ("int64?", "text?", "float64?", "decimal(10,2)?", "array<int32>?")


def _contract(columns: int) -> TableContract:
    more = {f"column_{number}_of_a_wide_table_with_a_long_name": _KINDS[number % 5] for number in range(columns)}
    return contract_for(Strategy.UPSERT, columns={**NARROW, **more}, table=f"wide_{columns}")


def _seconds(loads: Loads, contract: TableContract) -> float:
    """Return the processor time of an upsert of three rows that are there."""
    rows = [{name: row.get(name) for name in contract.column_names} for row in sample_rows(3)]
    loads.load(contract, rows)
    newer = [{**row, "updated_at": row["updated_at"] + timedelta(hours=1)} for row in rows]
    plan = loads.plan(contract, newer, sequence=2)
    started = time.process_time()
    assert loads.again(plan).updated == 3
    return time.process_time() - started


def test_ten_times_the_columns_take_ten_times_as_long_at_most(loads: Loads) -> None:
    narrow, wide = (_seconds(loads, _contract(columns)) for columns in (170, 1700))
    assert wide <= 10 * narrow + 1
