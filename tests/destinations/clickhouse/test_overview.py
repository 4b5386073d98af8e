"""An overview of tables in two statements, and that it is only sure where each load would be found."""

from __future__ import annotations

from contextlib import closing

import pytest

from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.contracts import Strategy
from tests.destinations.overviews import looked_at, require_told

from .loads import Loads, narrow
from .test_lives import apply, drop, make_again, staged, table


@pytest.mark.parametrize("strategy", [Strategy.APPEND, Strategy.OVERWRITE])
def test_the_newest_load_is_told_and_a_lost_table_is_no_sure_thing(loads: Loads, strategy: Strategy) -> None:
    plans = staged(loads, narrow(strategy))
    assert looked_at(loads.destination, plans).position == 0
    apply(loads, plans)
    require_told(looked_at(loads.destination, plans), plans[-1])
    for lose in (lambda loads: loads.run(f"TRUNCATE TABLE {table(loads)}"), make_again, drop):
        lose(loads)
        with closing(ClickHouseDestination(loads.config)) as destination:
            assert not looked_at(destination, plans).is_sure
