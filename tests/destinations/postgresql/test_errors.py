"""What each failure becomes: the right class, one line, and neither secrets nor row values."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError

from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import CommitUnknown, OwnLensError, Rejected, Retryable
from ownlens_plugins.powers import SupportsCheck, SupportsSqlValidation
from ownlens_plugins.testing import sample_contract, sample_rows
from ownlens_postgresql.config import PostgreSQLConfig, PostgreSQLOptions
from ownlens_postgresql.destination import PostgreSQLDestination

from .conftest import Store

CANARY = "c4n@ry%/:'\"\\ pw"


def failure(work: Callable[[], Any], kind: type[OwnLensError]) -> str:
    """Run work that must fail, check the form of its error, and return the message."""
    with pytest.raises(OwnLensError) as caught:
        work()
    assert type(caught.value) is kind, caught.value
    message = str(caught.value)
    trace = "".join(traceback.format_exception(caught.value))
    assert "\n" not in message
    assert CANARY not in message
    assert not [line for line in trace.splitlines() if CANARY in line]
    assert "DETAIL" not in trace
    return message


@pytest.fixture
def guarded(store: Store) -> Iterator[str]:
    """A role that must give a password; yields its name."""
    role = f"role_{store.config.database}"
    rules = Path(store.sql("SHOW hba_file")[0][0])
    before = rules.read_text()
    with store.session() as connection:
        quoted = psycopg.sql.Literal(CANARY)
        connection.execute(
            psycopg.sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(psycopg.sql.Identifier(role), quoted)
        )
    rules.write_text(f"local all {role} scram-sha-256\n{before}")
    store.sql("SELECT pg_reload_conf()")
    store.wait_for(f"SELECT EXISTS (SELECT FROM pg_hba_file_rules WHERE '{role}' = ANY (user_name))")
    yield role
    rules.write_text(before)
    store.sql("SELECT pg_reload_conf()")
    store.sql(f"DROP OWNED BY {role}")
    store.sql(f"DROP ROLE {role}")


def reaching(store: Store, **settings: Any) -> PostgreSQLDestination:
    base = {"host": store.config.host, "database": store.config.database, "user": "postgres", "connect_timeout": 2}
    return PostgreSQLDestination(PostgreSQLConfig.model_validate({**base, **settings}))


def test_the_right_password_with_every_hostile_character(store: Store, guarded: str) -> None:
    store.sql(f"GRANT CREATE ON DATABASE {store.config.database} TO {guarded}")
    destination = reaching(store, user=guarded, password=CANARY, schema="theirs")
    destination.check()
    assert load(destination, store.plan(sample_rows(3))).inserted == 3


def test_a_wrong_or_missing_password(store: Store, guarded: str) -> None:
    wrong = failure(reaching(store, user=guarded, password=CANARY + "x").check, Rejected)
    assert f"the password of user '{guarded}' is refused; correct the profile's password" in wrong
    missing = failure(reaching(store, user=guarded).check, Rejected)
    assert "wants a password" in missing


def test_a_role_or_database_that_does_not_exist(store: Store) -> None:
    assert "user 'nobody' does not exist" in failure(reaching(store, user="nobody").check, Rejected)
    assert "database 'nowhere' does not exist" in failure(reaching(store, database="nowhere").check, Rejected)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_not_there(store: Store) -> None:
    plan = store.plan(sample_rows(1))
    for address in ({"host": "127.0.0.1", "port": free_port()}, {"host": "/nowhere"}, {"host": "no.such.host.invalid"}):
        destination = reaching(store, **address, password=CANARY, sslmode="prefer")
        message = failure(lambda destination=destination: load(destination, plan), Retryable)
        assert message.startswith("samples: postgresql at ")
        assert "not reachable; check that the server runs" in message


def test_a_server_that_accepts_and_never_answers(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        destination = reaching(store, host="127.0.0.1", port=silent.getsockname()[1])
        assert "not reachable" in failure(destination.check, Retryable)


def test_asynchronous_commit_is_refused(store: Store) -> None:
    store.sql(f"ALTER DATABASE {store.config.database} SET synchronous_commit = off")
    message = failure(lambda: store.load(sample_rows(1)), Rejected)
    assert "synchronous_commit is off" in message
    assert "ALTER ROLE" in message
    assert "synchronous_commit is off" in failure(store.destination.check, Rejected)


def test_a_read_only_server(store: Store) -> None:
    store.sql(f"ALTER DATABASE {store.config.database} SET default_transaction_read_only = on")
    assert "point the profile at the primary server" in failure(lambda: store.load(sample_rows(1)), Rejected)


def test_no_free_connection(store: Store, guarded: str) -> None:
    store.sql(f"ALTER ROLE {guarded} CONNECTION LIMIT 0")
    assert "no free connection" in failure(reaching(store, user=guarded, password=CANARY).check, Retryable)


def test_missing_rights(store: Store, guarded: str) -> None:
    store.load(sample_rows(1))
    message = failure(lambda: load(reaching(store, user=guarded, password=CANARY), store.plan([])), Rejected)
    assert f'user \'{guarded}\' lacks a right; run GRANT USAGE ON SCHEMA "ownlens" TO "{guarded}"; GRANT' in message


def test_a_loader_needs_no_right_to_create_what_is_there(store: Store, guarded: str) -> None:
    store.load(sample_rows(2))
    store.sql(f"GRANT USAGE ON SCHEMA public, ownlens TO {guarded}")
    store.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, ownlens TO {guarded}")
    destination = reaching(store, user=guarded, password=CANARY)
    assert load(destination, store.plan(sample_rows(3), sequence=2)).inserted == 1


def test_a_row_policy_is_refused_and_never_guessed_at(store: Store, guarded: str) -> None:
    store.load(sample_rows(2))
    store.sql(f"GRANT USAGE ON SCHEMA public, ownlens TO {guarded}")
    store.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, ownlens TO {guarded}")
    store.sql("ALTER TABLE samples ENABLE ROW LEVEL SECURITY")
    destination = reaching(store, user=guarded, password=CANARY)
    message = failure(lambda: load(destination, store.plan(sample_rows(3), sequence=2)), Rejected)
    assert "row-level security" in message


def test_a_table_that_someone_locks(make_store: Callable[..., Store]) -> None:
    store = make_store(lock_timeout=1)
    store.load(sample_rows(1))
    with store.session() as rival:
        rival.execute("BEGIN; SELECT FROM ownlens.tables FOR UPDATE")
        assert "lock timeout" in failure(lambda: store.load(sample_rows(1), sequence=2), Retryable)
    assert store.load(sample_rows(2), sequence=2).inserted == 1


def test_a_statement_that_takes_too_long(make_store: Callable[..., Store]) -> None:
    store = make_store(statement_timeout=1)
    store.load([])
    store.sql("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NEW; END'")
    store.sql("CREATE TRIGGER wait BEFORE INSERT ON samples FOR EACH ROW EXECUTE FUNCTION wait()")
    assert "statement timeout [57014]" in failure(lambda: store.load(sample_rows(1), sequence=2), Retryable)
    assert store.ledger() == [("samples", 1, 0, 0)]


@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_values_that_the_table_refuses_are_not_quoted(store: Store, strategy: str) -> None:
    contract = sample_contract(destinations={"postgresql": {"strategy": strategy, "on_conflict": "error"}})
    store.load([], contract=contract)
    row = {**sample_rows(1)[0], "status": "oddity", "title": "oddity"}
    message = failure(lambda: store.load([row], contract=contract, sequence=2), Rejected)
    assert "violates check constraint" in message
    assert "23514, constraint ownlens_labels_" in message
    assert "oddity" not in message
    nul = {**sample_rows(1)[0], "title": "odd\0ity"}
    message = failure(lambda: store.load([nul], contract=contract, sequence=2), Rejected)
    assert "ity" not in message.replace("identity", "").replace("Security", "")


def test_reading_a_table_that_is_not_there(store: Store) -> None:
    assert store.table().num_rows == 0
    assert store.table().schema == store.contract.arrow_schema


# --- backends that die


def slow_inserts(store: Store, when: str = "BEFORE INSERT") -> None:
    store.sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'"
    )
    deferred = "CONSTRAINT" if when == "AFTER INSERT" else ""
    timing = "DEFERRABLE INITIALLY DEFERRED" if deferred else ""
    store.sql(f"CREATE {deferred} TRIGGER wait {when} ON samples {timing} FOR EACH ROW EXECUTE FUNCTION wait()")


def terminated_while(store: Store, doing: str, sequence: int) -> Exception | None:
    """Load one row, terminate the backend once it sleeps inside `doing`, and return the load's error."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            store.load(sample_rows(1, first=sequence), sequence=sequence)
        except Exception as error:
            errors.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    asleep = (
        f"FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query ILIKE '%{doing}%' AND pid <> pg_backend_pid()"
    )
    store.wait_for(f"SELECT count(*) > 0 {asleep}")
    store.sql(f"SELECT pg_terminate_backend(pid) {asleep}")
    worker.join()
    return errors[0] if errors else None


def test_a_backend_that_dies_in_the_middle(store: Store) -> None:
    store.load([])
    slow_inserts(store)
    error = terminated_while(store, "INSERT INTO", sequence=2)
    assert isinstance(error, Retryable), error
    store.sql("DROP TRIGGER wait ON samples")
    assert store.ledger() == [("samples", 1, 0, 0)]
    assert store.load(sample_rows(1, first=2), sequence=2).inserted == 1


def test_a_backend_that_dies_while_it_commits(store: Store) -> None:
    """The engine asks: nothing is there, and says that it can be run again."""
    store.load([])
    slow_inserts(store, "AFTER INSERT")
    plan = store.plan(sample_rows(1, first=2), sequence=2)
    error = terminated_while(store, "COMMIT", sequence=2)
    assert type(error) is Retryable
    assert isinstance(error.__cause__, CommitUnknown)
    assert "gave no answer to COMMIT" in str(error.__cause__)
    store.sql("DROP TRIGGER wait ON samples")
    assert load(store.destination, plan).inserted == 1


def test_a_refusal_of_commit_is_certain(store: Store) -> None:
    store.load([])
    store.sql("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE check_violation; END'")
    store.sql(
        "CREATE CONSTRAINT TRIGGER no AFTER INSERT ON samples DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION no()"
    )
    assert "23514" in failure(lambda: store.load(sample_rows(1), sequence=2), Rejected)


def test_a_reader_whose_backend_dies(store: Store) -> None:
    contract = sample_contract(preset="reference", columns={"id": "int64", "updated_at": "timestamptz"})
    store.load([], contract=contract)
    # More than the driver fetches ahead.
    store.sql("INSERT INTO samples SELECT id, now() FROM generate_series(1, 1000000) AS id")
    reader = store.destination.read(store.plan([], contract=contract, sequence=2))
    store.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ownlens'")
    with pytest.raises(Retryable, match="connection was lost"):
        reader.read_all()


# --- configuration


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hots": "x"}, "hots"),
        ({"schema": "ownlens"}, "schema and ledger_schema must differ"),
        ({"schema": ""}, "empty"),
        ({"schema": "x" * 64}, "longer than 63 bytes"),
        ({"lock_timeout": 0}, "lock_timeout"),
    ],
)
def test_a_wrong_profile(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        PostgreSQLConfig.model_validate({"database": "d", "user": "u", "password": CANARY, **settings})
    assert CANARY not in str(caught.value)


def test_the_page_names_every_setting_with_its_default() -> None:
    page = (Path(__file__).parents[3] / "docs" / "postgresql.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    for name, field in PostgreSQLConfig.model_fields.items():
        row = next((line for line in lines if f"`{field.alias or name}`" in line.split("|")[1]), "")
        shown = row.split("|")[2].strip().removesuffix(" s") if row else "missing"
        if isinstance(field.default, int | str) and shown:
            assert shown == str(field.default), name
        assert row, name


def test_replace_partition_is_no_strategy() -> None:
    with pytest.raises(ValidationError, match="cannot replace partitions; use strategy: upsert or overwrite"):
        PostgreSQLOptions.model_validate({"strategy": "replace_partition"})


@pytest.mark.parametrize(
    ("host", "sslmode", "expected"),
    [
        ("/run/postgresql", None, "prefer"),
        ("localhost", None, "prefer"),
        ("127.0.0.1", None, "prefer"),
        ("::1", None, "prefer"),
        ("db.example.org", None, "verify-full"),
        ("10.0.0.1", None, "verify-full"),
        ("db.example.org", "require", "require"),
    ],
)
def test_plaintext_needs_a_word_unless_the_server_is_here(host: str, sslmode: str | None, expected: str) -> None:
    config = PostgreSQLConfig.model_validate({"host": host, "database": "d", "user": "u", "sslmode": sslmode})
    assert config.tls == expected
    assert ("sslrootcert" in config.connection_parameters) == (expected == "verify-full")


def test_a_destination_is_cheap_and_has_its_powers() -> None:
    config = PostgreSQLConfig(host="/nowhere", database="d", user="u", password=CANARY)
    destination = PostgreSQLDestination(config)
    assert isinstance(destination, SupportsCheck)
    assert isinstance(destination, SupportsSqlValidation)
    assert CANARY not in repr(config)
