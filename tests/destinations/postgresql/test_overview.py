"""An overview of tables in two statements, and that it is only sure where each load would be found."""

from __future__ import annotations

import pytest

from ownlens_plugins.contracts import TableContract
from tests.destinations.overviews import looked_at, require_told

from .conftest import Store
from .test_identity import CONTRACTS, LOSSES, SWAP, UPSERTED, change, in_a_new_process, three_loads


def test_before_any_load_there_is_nothing(store: Store) -> None:
    assert looked_at(store.destination, [store.plan([])]).position == 0


@CONTRACTS
def test_the_newest_load_is_told(store: Store, contract: TableContract) -> None:
    plans = three_loads(store, contract)
    require_told(looked_at(store.destination, plans), plans[-1])


@CONTRACTS
@pytest.mark.parametrize("loss", LOSSES)
def test_of_a_table_that_is_lost_it_is_not_sure(store: Store, contract: TableContract, loss: str) -> None:
    plans = three_loads(store, contract)
    change(store, LOSSES[loss])
    assert not looked_at(in_a_new_process(store).destination, plans).is_sure


@CONTRACTS
def test_of_another_table_it_is_not_sure(store: Store, contract: TableContract) -> None:
    plans = three_loads(store, contract)
    change(store, SWAP.format(rows="SELECT * FROM samples LIMIT 7"))
    assert not looked_at(in_a_new_process(store).destination, plans).is_sure


def test_the_bytes_of_a_partitioned_table_are_those_of_its_partitions(store: Store) -> None:
    change(
        store,
        "CREATE TABLE samples (id bigint PRIMARY KEY, day date, title text, updated_at timestamptz NOT NULL) "
        "PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF samples DEFAULT",
    )
    plans = three_loads(store, UPSERTED)
    require_told(looked_at(store.destination, plans), plans[-1])
