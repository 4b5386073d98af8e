"""Ask staging and every destination where all tables stand: each store once for all tables, at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ..api import Destination
from ..contracts import TableContract
from ..powers import SupportsCheck, SupportsKeptRows, SupportsOverview, TableState
from .connecting import Stores
from .last_loads import LastLoads
from .newest_first import Log
from .quarantining import open_rows
from .standing import Asking, Staged, Standing
from .verdicts import Verdicts

# Staging answers with small objects, which wait for nothing but the store. Stores that cannot tell all at once are
# asked table by table.
_STAGING_THREADS, _ASKING_THREADS = 8, 4
_NO_SETS = Log.of(())
Tables = Sequence[TableContract]


@dataclass(frozen=True)
class _Store:
    """What a destination says of all tables; `reason` says why it cannot be asked, `states` is None if it cannot."""

    states: Mapping[str, TableState] | None = None
    aside: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reason: str = ""


def survey(asking: Asking, stores: Stores, contracts: Tables) -> list[Standing]:
    """Return where each table stands in each destination. What cannot be asked is told for each of its tables."""
    with ThreadPoolExecutor(len(stores) + _STAGING_THREADS, thread_name_prefix="ownlens-status") as pool:
        asked = {name: pool.submit(_asked, asking, store, contracts) for name, store in stores.items()}
        staged = _staged(asking, stores, contracts, pool)
        found = {name: answer.result() for name, answer in asked.items()}
    places = [(contract, store) for contract in contracts for store in stores.values()]

    def one(place: tuple[TableContract, Destination[Any, Any]]) -> Standing:
        contract, store = place
        return _standing(asking, contract, store, staged[contract.table], found[store.name])

    with ThreadPoolExecutor(_ASKING_THREADS, thread_name_prefix="ownlens-status") as pool:
        return list(pool.map(one, places))


def _standing(
    asking: Asking, contract: TableContract, store: Destination[Any, Any], staged: Staged, found: _Store
) -> Standing:
    if found.reason:
        newest = staged.log[-1].sequence if staged.log else 0
        return Standing(contract.table, store.name, newest, reason=found.reason, staged_bytes=staged.size)
    # One that knows no load of a table has none.
    state = None if found.states is None else found.states.get(contract.table, TableState(is_sure=True))
    aside = sum(found.aside.get(contract.table, {}).values())
    return asking.standing(store, contract, staged, state, aside)


def _asked(asking: Asking, store: Destination[Any, Any], contracts: Tables) -> _Store:
    try:
        if isinstance(store, SupportsCheck):
            store.check()
        states = store.overview(contracts) if isinstance(store, SupportsOverview) else None
        aside = store.kept_counts() if isinstance(store, SupportsKeptRows) else {}
    except Exception as error:
        # Told at once, so that not each of its tables waits for it.
        return _Store(reason=asking.scrubber.line(error))
    return _Store(states, aside)


def _staged(asking: Asking, stores: Stores, contracts: Tables, pool: ThreadPoolExecutor) -> dict[str, Staged]:
    try:
        asking.area.check()
    except Exception as error:
        away = Staged(_NO_SETS, reason=asking.scrubber.line(error))
        return {contract.table: away for contract in contracts}
    answers = pool.map(lambda contract: _of_staging(asking, stores, contract), contracts)
    return dict(zip([contract.table for contract in contracts], answers, strict=True))


def _of_staging(asking: Asking, stores: Stores, contract: TableContract) -> Staged:
    table, area, last_loads = contract.table, asking.area, LastLoads(asking.area)
    try:
        log = area.log(table)
        return Staged(
            log,
            area.noted(table),
            sum(map(len, open_rows(log).values())),
            area.staged_bytes(table, log[-1] if log else None),
            Verdicts(area).read_all(table, stores),
            {name: last_loads.read(table, name) for name in stores},
        )
    except Exception as error:
        return Staged(_NO_SETS, reason=asking.scrubber.line(error))
