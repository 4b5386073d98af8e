"""A network that swallows, drops or resets: the engine ends with the truth, within its timeouts."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import CommitUnknown, Retryable
from ownlens_plugins.testing import sample_rows
from ownlens_postgresql import connection
from ownlens_postgresql.destination import PostgreSQLDestination
from tests.proxy import Proxy, Trouble, socket_proxy

from .conftest import Store

# What the server applies although no answer tells of it.
APPLIED = {Trouble.SWALLOW, Trouble.CUT}


@pytest.fixture
def network(server: str) -> Iterator[tuple[Proxy, str]]:
    with socket_proxy(server, ".s.PGSQL.5432") as running:
        yield running


@pytest.fixture
def proxy(network: tuple[Proxy, str]) -> Proxy:
    return network[0]


@pytest.fixture
def distant(store: Store, network: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch) -> PostgreSQLDestination:
    """The same database through the proxy, without much patience; the table is made and known."""
    monkeypatch.setattr(connection, "GRACE_SECONDS", 1)
    update = {"host": network[1], "answer_timeout": 2, "statement_timeout": 2, "lock_timeout": 1, "connect_timeout": 2}
    destination = PostgreSQLDestination(store.config.model_copy(update=update))
    destination.open(store.plan([]))
    return destination


@pytest.mark.parametrize("trouble", Trouble)
def test_the_answer_to_commit_is_lost(
    store: Store, proxy: Proxy, distant: PostgreSQLDestination, trouble: Trouble
) -> None:
    store.load(sample_rows(5))
    plan = store.plan(sample_rows(5, first=5), sequence=2)
    proxy.strike(rb"COMMIT\0", trouble)
    started = time.monotonic()
    if trouble is Trouble.DELAY:
        assert not load(distant, plan).replayed
    elif trouble in APPLIED:
        assert load(distant, plan).replayed
    else:
        with pytest.raises(Retryable) as caught:
            load(distant, plan)
        assert isinstance(caught.value.__cause__, CommitUnknown)
    assert time.monotonic() - started < 20
    assert proxy.struck
    proxy.close()  # what hangs ends, as it would when the network gives up
    store.wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'ownlens'")
    assert load(store.destination, plan).replayed is (trouble in {*APPLIED, Trouble.DELAY})
    assert store.landed() == store.staged(sample_rows(10))
    assert store.ledger() == [("samples", 1, 5, 0), ("samples", 2, 5, 0)]


@pytest.mark.parametrize("trouble", [Trouble.SWALLOW, Trouble.BLACK_HOLE, Trouble.RESET])
@pytest.mark.parametrize("trigger", [b"BEGIN", b"synchronous_commit", b"FOR UPDATE", b"INSERT INTO", b"COPY pg_temp"])
def test_another_answer_is_lost(
    store: Store, proxy: Proxy, distant: PostgreSQLDestination, trigger: bytes, trouble: Trouble
) -> None:
    store.load(sample_rows(5))
    plan = store.plan(sample_rows(5, first=5), sequence=2)
    proxy.strike(trigger, trouble)
    started = time.monotonic()
    with pytest.raises(Retryable, match="run it again"):
        load(distant, plan)
    assert time.monotonic() - started < 20
    assert proxy.struck
    proxy.close()
    store.wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'ownlens'")
    assert store.landed() == store.staged(sample_rows(5))
    assert load(store.destination, plan).inserted == 5
