"""PostgreSQL 15 over TCP and TLS when something goes wrong: what may pass is retryable, the rest fails at once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.testing import sample_contract, sample_rows
from ownlens_plugins.testing.processes import Running, Work, race, until_done
from ownlens_postgresql import connection
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination
from tests.certificates import certify
from tests.full_disk import full_disk
from tests.postgresql_servers import LOADER, PASSWORD, PostgreSQLServer, hot_standby
from tests.proxy import Proxy, Trouble, tcp_proxy

from .conftest import Store
from .test_errors import failure, free_port

HASTY = {"answer_timeout": 2, "statement_timeout": 2, "lock_timeout": 1, "connect_timeout": 2}


def reaching(store: Store, **changes: Any) -> PostgreSQLDestination:
    profile = {**store.config.model_dump(by_alias=True), "password": PASSWORD, **changes}
    return PostgreSQLDestination(PostgreSQLConfig.model_validate(profile))


def test_the_connection_is_encrypted_and_the_role_is_the_loader(emptied: Store) -> None:
    emptied.load([])
    emptied.sql("CREATE TABLE seen (encrypted bool, role text); GRANT INSERT ON seen TO loader")
    emptied.sql(
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen "
        "SELECT ssl, current_user FROM pg_stat_ssl WHERE pid = pg_backend_pid(); RETURN NEW; END $$"
    )
    emptied.sql("CREATE TRIGGER look AFTER INSERT ON samples EXECUTE FUNCTION look()")
    emptied.load(sample_rows(1), sequence=2)
    assert emptied.sql("SELECT DISTINCT encrypted, role FROM seen") == [(True, LOADER)]


# --- what stays wrong until someone corrects it

# Seconds: less than the shortest time limit of a profile, which is not waited for.
AT_ONCE = 9


def refused(store: Store, *fragments: str, **changes: Any) -> None:
    """Check that a load with a changed profile fails at once, with a message that has no secret and leaves nothing."""
    plan = store.plan(sample_rows(3))
    destination = reaching(store, **changes)
    started = time.monotonic()
    message = failure(lambda: load(destination, plan), Rejected)
    assert time.monotonic() - started < AT_ONCE
    assert message.startswith("samples: postgresql at ")
    assert PASSWORD not in message
    for fragment in fragments:
        assert fragment in message
    assert store.sql("SELECT to_regclass('samples') IS NULL, to_regclass('ownlens.loads') IS NULL") == [(True, True)]


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"password": PASSWORD + "x"}, "the password of user 'loader' is refused; correct the profile's password"),
        ({"password": None}, "the server wants a password for user 'loader'; set the profile's password"),
        ({"user": "nobody"}, "the password of user 'nobody' is refused"),
        ({"database": "nowhere"}, "database 'nowhere' does not exist"),
        ({"sslmode": "disable"}, "pg_hba.conf admits no such connection for user 'loader' with sslmode disable"),
        ({"host": "127.0.0.1"}, "set sslrootcert, and host to the name it was issued for"),
        ({"sslrootcert": "system"}, "the server's certificate is not trusted"),
        ({"sslrootcert": "/no/such/file.pem"}, "set sslrootcert"),
    ],
)
def test_a_profile_that_the_server_refuses(emptied: Store, changes: dict[str, Any], fragment: str) -> None:
    refused(emptied, fragment, **changes)


def test_another_authority_is_not_trusted(emptied: Store, tmp_path: Path) -> None:
    refused(emptied, "the server's certificate is not trusted", sslrootcert=str(certify(tmp_path).authority))


@pytest.mark.parametrize(
    ("break_", "mend", "fragment"),
    [
        ("ALTER ROLE loader VALID UNTIL 'yesterday'", "ALTER ROLE loader VALID UNTIL 'infinity'", "if it has expired"),
        ("ALTER ROLE loader NOLOGIN", "ALTER ROLE loader LOGIN", "does not exist or may not log in"),
        (
            "REVOKE CONNECT ON DATABASE {0} FROM loader, PUBLIC",
            "GRANT CONNECT ON DATABASE {0} TO loader",
            "run GRANT CONNECT ON DATABASE",
        ),
        (
            "ALTER DATABASE {0} SET default_transaction_read_only = on",
            "ALTER DATABASE {0} RESET default_transaction_read_only",
            "point the profile at the primary server",
        ),
    ],
)
def test_a_server_that_refuses_until_it_is_mended(emptied: Store, break_: str, mend: str, fragment: str) -> None:
    database = emptied.config.database
    emptied.sql(break_.format(database))
    plan = emptied.plan(sample_rows(3))
    started = time.monotonic()
    try:
        message = failure(lambda: load(emptied.destination, plan), Rejected)
    finally:
        with emptied.connect("postgres") as admin:
            admin.execute("SET transaction_read_only = off")
            admin.execute(mend.format(database).encode())
    assert time.monotonic() - started < AT_ONCE
    assert fragment in message
    assert PASSWORD not in message
    assert load(emptied.destination, plan).inserted == 3


def test_a_hot_standby_can_be_asked_but_not_loaded(emptied: Store, server15: PostgreSQLServer) -> None:
    emptied.load(sample_rows(3))
    plan = emptied.plan(sample_rows(5), sequence=2)
    with hot_standby(server15) as standby:
        distant = reaching(emptied, port=standby.port)
        assert distant.find_commit(emptied.plan(sample_rows(3))) is not None
        assert "point the profile at the primary server" in failure(lambda: load(distant, plan), Rejected)
    assert load(emptied.destination, plan).inserted == 2


# --- what passes

Fault = Callable[[Store, PostgreSQLServer], Any]


@contextmanager
def no_connection_for_the_role(store: Store, server: PostgreSQLServer) -> Iterator[None]:
    store.sql("ALTER ROLE loader CONNECTION LIMIT 0")
    yield
    store.sql("ALTER ROLE loader CONNECTION LIMIT -1")


@contextmanager
def no_connection_for_the_database(store: Store, server: PostgreSQLServer) -> Iterator[None]:
    store.sql(f"ALTER DATABASE {store.config.database} CONNECTION LIMIT 0")
    yield
    store.sql(f"ALTER DATABASE {store.config.database} CONNECTION LIMIT -1")


@contextmanager
def no_connection_at_all(store: Store, server: PostgreSQLServer) -> Iterator[None]:
    with ExitStack() as crowd:
        with suppress(psycopg.OperationalError):
            while True:
                crowd.enter_context(server.connect(user=LOADER))
        yield


@contextmanager
def a_full_disk(store: Store, server: PostgreSQLServer) -> Iterator[None]:
    """Let the system tell the server's processes that nothing more fits behind the table's rows."""
    file = server.folder / "data" / store.sql("SELECT pg_relation_filepath('samples')")[0][0]
    postmaster = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    with full_disk(postmaster, "pwrite64,pwritev,fallocate", file=file):
        yield


FAULTS: list[tuple[Fault, str]] = [
    (no_connection_for_the_role, "the server has no free connection; run it again"),
    (no_connection_for_the_database, "the server has no free connection; run it again"),
    (no_connection_at_all, "the server has no free connection; run it again"),
    (a_full_disk, r"could not extend file .* No space left on device \[53100\]; run it again"),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
def test_a_load_succeeds_when_the_fault_is_over(
    emptied: Store, server15: PostgreSQLServer, fault: Fault, reason: str
) -> None:
    emptied.load([], strategy=Strategy.APPEND)
    plan = emptied.plan(sample_rows(2_000), sequence=2, strategy=Strategy.APPEND)
    with fault(emptied, server15):
        message = failure(lambda: load(emptied.destination, plan), Retryable)
    assert message.startswith("samples: postgresql")
    assert re.search(reason, message), message
    assert PASSWORD not in message
    assert emptied.sql("SELECT (SELECT count(*) FROM samples), (SELECT count(*) FROM ownlens.loads)") == [(0, 1)]
    assert emptied.sql("SELECT count(*) FROM pg_class WHERE relpersistence = 't'") == [(0,)]
    assert until_done(emptied.destination, plan).inserted == 2_000
    assert emptied.landed() == emptied.staged(sample_rows(2_000))


# --- the network between

GREETING = rb"\x04\xd2\x16\x2f"  # the client asks for TLS
ROWS = rb"\x17\x03\x03\x40"  # a full record of TLS: only rows are sent in such


@pytest.fixture
def network(server15: PostgreSQLServer) -> Iterator[Proxy]:
    with tcp_proxy("127.0.0.1", server15.port) as proxy:
        yield proxy


@pytest.mark.parametrize("trouble", [Trouble.RESET, Trouble.BLACK_HOLE, Trouble.SWALLOW, Trouble.CUT])
@pytest.mark.parametrize(
    ("trigger", "reason"), [(GREETING, "not reachable; check that"), (ROWS, "the connection was lost; run it again")]
)
def test_a_network_that_fails_for_a_while(
    emptied: Store, network: Proxy, monkeypatch: pytest.MonkeyPatch, trouble: Trouble, trigger: bytes, reason: str
) -> None:
    monkeypatch.setattr(connection, "GRACE_SECONDS", 1)
    emptied.load(sample_rows(5))
    distant = reaching(emptied, port=network.port, **HASTY)
    plan = emptied.plan(sample_rows(3_000, first=5), sequence=2)
    network.strike(trigger, trouble)
    started = time.monotonic()
    message = failure(lambda: load(distant, plan), Retryable)
    assert time.monotonic() - started < 30
    assert reason in message
    assert network.struck
    assert emptied.landed() == emptied.staged(sample_rows(5))
    assert emptied.ledger() == [("samples", 1, 5, 0)]
    network.close()  # what hangs ends, as it would when the network gives up
    assert until_done(emptied.destination, plan).inserted == 3_000
    assert emptied.landed() == emptied.staged(sample_rows(3_005))
    assert emptied.sql("SELECT count(*) FROM pg_class WHERE relpersistence = 't'") == [(0,)]


def test_a_server_gives_up_a_client_that_is_silent(emptied: Store) -> None:
    """In the middle of COPY no other timeout of the server counts: it would hold the table's lock for hours."""
    destination = emptied.destination
    with destination._database.transaction(destination._database.context(None)) as open_connection:
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
        found = open_connection.run(f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}")
    assert found == [("30", "10", "3")]


def test_a_slow_network_is_only_slow(emptied: Store, network: Proxy) -> None:
    network.strike(b"", Trouble.DELAY, times=2)
    assert load(reaching(emptied, port=network.port), emptied.plan(sample_rows(5))).inserted == 5
    assert network.struck


def test_a_server_that_is_not_up_yet(emptied: Store) -> None:
    plan = emptied.plan(sample_rows(3))
    failure(lambda: load(reaching(emptied, port=free_port()), plan), Retryable)
    assert until_done(emptied.destination, plan).inserted == 3


# --- several at once


@pytest.mark.parametrize("strategy", [Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE])
def test_three_runs_load_the_same_tables_at_once(emptied18: Store, strategy: Strategy) -> None:
    """Each run brings two tables up to date, set by set; the suite races on PostgreSQL 15."""
    contracts = [sample_contract(table=table, extraction="whole") for table in ("samples", "others")]
    plans = [
        emptied18.plan(sample_rows(300, first=300 * number), contract=contract, sequence=number, strategy=strategy)
        for number in range(1, 4)
        for contract in contracts
    ]
    config = emptied18.config
    runs = [Running(Work(PostgreSQLDestination, config, plans, waits=True)) for _ in range(3)]
    race(runs)
    present = [3] if strategy is Strategy.OVERWRITE else [1, 2, 3]
    expected = [row for number in present for row in sample_rows(300, first=300 * number)]
    for contract in contracts:
        assert emptied18.landed(contract) == emptied18.staged(expected, contract)
    assert emptied18.ledger() == [(table, number, 300, 0) for table in ("others", "samples") for number in (1, 2, 3)]
    assert emptied18.sql("SELECT count(*) FROM pg_class WHERE relpersistence = 't'") == [(0,)]
