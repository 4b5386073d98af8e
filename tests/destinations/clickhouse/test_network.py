"""A network that loses answers, hangs, breaks or refuses at each statement of a load: it ends with the truth, in time.

Over TLS the statements cannot be seen on their way: with OWNLENS_TEST_CLICKHOUSE_URL, give an http address.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Retryable
from ownlens_plugins.testing.processes import until_done
from tests.proxy import Proxy, Trouble, tcp_proxy

from .histories import History
from .loads import Loads

STORES = ("http",)
# What each statement looks like on its way to the server; a part is sent in chunks, of which this is the last.
PART = rb"(\A|\r\n)0\r\n\r\n\Z"
CLAIM = rb"RENAME TABLE .* TO .*_at\d"
REDO = rb"MODIFY COMMENT"
LEDGER = rb"INSERT INTO .*_ownlens_ledger"
VISIBLE = {
    Strategy.APPEND: rb"ATTACH PARTITION ID",
    Strategy.UPSERT: rb"ATTACH PARTITION ID",
    Strategy.REPLACE_PARTITION: rb"REPLACE PARTITION ID",
    Strategy.OVERWRITE: rb"EXCHANGE TABLES",
}
MOMENTS = [(Strategy.APPEND, PART), *VISIBLE.items()]
CASES = [
    *((*moment, tuple(Trouble)) for moment in MOMENTS),
    *((Strategy.APPEND, trigger, (Trouble.SWALLOW, Trouble.RESET)) for trigger in (CLAIM, REDO, LEDGER)),
]
# What the server never sees.
NOT_CARRIED = {Trouble.RESET, Trouble.BLACK_HOLE}
BEFORE = {PART, CLAIM, REDO}


@pytest.fixture
def proxy(server: dict[str, Any]) -> Iterator[Proxy]:
    with tcp_proxy(server["host"], server["port"]) as running:
        yield running


@pytest.fixture
def distant(loads: Loads, proxy: Proxy) -> Iterator[ClickHouseDestination]:
    """The same database through the proxy, without much patience."""
    update = {"host": "127.0.0.1", "port": proxy.port, "answer_timeout": 2, "connect_timeout": 1, "turn_timeout": 3}
    destination = ClickHouseDestination(loads.config.model_copy(update=update))
    yield destination
    destination.close()


@pytest.mark.parametrize(("strategy", "trigger", "troubles"), CASES)
def test_a_statement_or_its_answer_is_lost(
    loads: Loads,
    proxy: Proxy,
    distant: ClickHouseDestination,
    strategy: Strategy,
    trigger: bytes,
    troubles: tuple[Trouble, ...],
) -> None:
    """Each load follows one that had trouble: that nothing of it was lost or stayed is seen after the next one too."""
    history = History(loads, strategy)
    history.load()
    for trouble in troubles:
        plan = history.plan()
        proxy.strike(trigger, trouble)
        started = time.monotonic()
        error = _first_try(distant, plan)
        assert proxy.struck
        assert error is None or (str(error).startswith("samples: clickhouse") and "\n" not in str(error))
        # The engine looks after an error; it finds a load whose ledger row is there.
        assert (error is None) == (trouble is Trouble.DELAY or (trigger, trouble) == (LEDGER, Trouble.SWALLOW)), trouble
        if error is not None and (trigger in BEFORE or (trouble in NOT_CARRIED and trigger != LEDGER)):
            history.require()  # nothing is visible
        assert until_done(distant, plan).rows == plan.rows
        assert time.monotonic() - started < 60
        history.applied()
        history.require_settled(plan)


def _first_try(destination: ClickHouseDestination, plan: LoadPlan) -> Retryable | None:
    try:
        load(destination, plan)
    except Retryable as error:
        return error
    return None


@pytest.mark.parametrize(("strategy", "trigger"), MOMENTS)
def test_the_server_refuses_connections_from_a_statement_on(
    loads: Loads, proxy: Proxy, distant: ClickHouseDestination, strategy: Strategy, trigger: bytes
) -> None:
    history = History(loads, strategy)
    history.load()
    plan = history.plan()
    proxy.strike(trigger, Trouble.BLACK_HOLE)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, distant, plan)
        while not proxy.struck:
            time.sleep(0.02)
        proxy.close()
        error = loading.exception(30)

    place = distant.config.place
    assert isinstance(error, Retryable)
    assert str(error) == (
        f"samples: clickhouse at {place} cannot be reached (OperationalError); "
        "check that the server runs, its host and its port"
    )
    history.require()
    until_done(loads.destination, plan)
    history.applied()
    history.require_settled(plan)


@pytest.mark.parametrize("trouble", [Trouble.RESET, Trouble.CUT])
def test_a_network_that_stays_broken_is_given_up_in_time(
    loads: Loads, proxy: Proxy, distant: ClickHouseDestination, trouble: Trouble
) -> None:
    """Every part from then on fails: the driver may not go on trying, and no part may land twice."""
    history = History(loads, Strategy.APPEND)
    history.load()
    plan = history.plan()
    proxy.strike(PART, trouble, times=1_000)
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(Retryable, match=r"^samples: clickhouse at .* cannot be reached"):
            load(distant, plan)
    assert time.monotonic() - started < 30
    history.require()
    proxy.strike(b"(?!)", trouble, times=0)
    until_done(distant, plan)
    history.applied()
    history.require_settled(plan)
