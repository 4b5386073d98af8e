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

from .conftest import Store
from .proxy import Proxy, Trouble, proxy_before


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    with proxy_before(server) as running:
        yield running


@pytest.fixture
def distant(store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> PostgreSQLDestination:
    """The same database through the proxy, without much patience; the table is made and known."""
    monkeypatch.setattr(connection, "GRACE_SECONDS", 1)
    update = {"host": proxy.host, "answer_timeout": 2, "statement_timeout": 2, "lock_timeout": 1, "connect_timeout": 2}
    destination = PostgreSQLDestination(store.config.model_copy(update=update))
    destination.open(store.plan([]))
    return destination


@pytest.mark.parametrize("trouble", Trouble)
def test_the_answer_to_commit_is_lost(
    store: Store, proxy: Proxy, distant: PostgreSQLDestination, trouble: Trouble
) -> None:
    store.load(sample_rows(5))
    plan = store.plan(sample_rows(5, first=5), sequence=2)
    proxy.strike(b"COMMIT\0", trouble)
    started = time.monotonic()
    if trouble is Trouble.SWALLOW:
        assert load(distant, plan).replayed
    else:
        with pytest.raises(Retryable) as caught:
            load(distant, plan)
        assert isinstance(caught.value.__cause__, CommitUnknown)
    assert time.monotonic() - started < 20
    assert proxy.struck.is_set()
    proxy.close()  # what hangs ends, as it would when the network gives up
    store.wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'ownlens'")
    assert load(store.destination, plan).replayed is (trouble is Trouble.SWALLOW)
    assert store.landed() == store.staged(sample_rows(10))
    assert store.ledger() == [("samples", 1, 5, 0), ("samples", 2, 5, 0)]


@pytest.mark.parametrize("trouble", Trouble)
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
    assert proxy.struck.is_set()
    proxy.close()
    store.wait_for("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'ownlens'")
    assert store.landed() == store.staged(sample_rows(5))
    assert load(store.destination, plan).inserted == 5
