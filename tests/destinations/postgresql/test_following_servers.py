"""What a refusal advises about the role, the server and the profile is done, and the load passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import OwnLensError, Rejected
from tests.postgresql_servers import LOADER, PostgreSQLServer

from .conftest import Store
from .test_following import advised, again, refusal
from .test_network import reaching
from .test_other_peoples_tables import contract, words
from .test_refreshing import run

SETTINGS = ["DATABASE {0}", "ROLE loader", "ROLE loader IN DATABASE {0}"]


@pytest.fixture
def unset(lesser: Store) -> Iterator[Store]:
    """A database whose loader has its own settings again afterwards."""
    yield lesser
    lesser.sql("ALTER ROLE loader SET synchronous_commit = on")


@pytest.mark.parametrize("place", SETTINGS)
def test_run_alter_role_for_synchronous_commit(unset: Store, place: str) -> None:
    """Wherever it is switched off."""
    unset.sql("ALTER ROLE loader RESET synchronous_commit")
    unset.sql(f"ALTER {place.format(unset.config.database)} SET synchronous_commit = off")
    unset.sql(advised(refusal(unset, contract(), words(1)), "ALTER ROLE"))
    assert again(unset, contract(), words(1)).inserted == 1


def test_set_default_transaction_read_only_to_off(lesser: Store) -> None:
    lesser.sql(f"ALTER DATABASE {lesser.config.database} SET default_transaction_read_only = on")
    message = refusal(lesser, contract(), words(1))
    assert "set default_transaction_read_only to off for the profile's user" in message
    setting = f"IN DATABASE {lesser.config.database} SET default_transaction_read_only = off"
    with lesser.connect("postgres") as admin:
        admin.execute(f"ALTER ROLE loader {setting}".encode())
    assert again(lesser, contract(), words(1)).inserted == 1


def test_run_grant_connect(lesser: Store) -> None:
    lesser.sql(f"REVOKE CONNECT ON DATABASE {lesser.config.database} FROM loader, PUBLIC")
    lesser.sql(advised(refusal(lesser, contract(), words(1)), "GRANT CONNECT"))
    assert again(lesser, contract(), words(1)).inserted == 1


@pytest.mark.parametrize(("owner", "forced"), [("postgres", False), ("postgres", True), ("loader", True)])
@pytest.mark.parametrize("way", ["ALTER ROLE", "the other way"])
def test_a_policy_is_lifted_as_it_says(lesser: Store, owner: str, forced: bool, way: str) -> None:
    again(lesser, contract(), words(1))
    policy = "ALTER TABLE words ENABLE ROW LEVEL SECURITY" + "|ALTER TABLE words FORCE ROW LEVEL SECURITY" * forced
    run(lesser, f"ALTER TABLE words OWNER TO {owner}|GRANT SELECT, INSERT, UPDATE ON words TO loader|{policy}")
    message = refusal(lesser, contract(), words(2), 2)
    assert ("load as the table's owner" in message, "NO FORCE" in message) == (owner != LOADER, forced)
    if way == "ALTER ROLE":
        lesser.sql(advised(message, "ALTER ROLE"))
    else:
        run(lesser, advised(message, "ALTER TABLE").partition(" and ")[0] if forced else "SELECT 1")
        lesser.sql("ALTER TABLE words OWNER TO loader")  # to load as its owner
    try:
        assert again(lesser, contract(), words(2), 2).inserted == 1
    finally:
        lesser.sql("ALTER ROLE loader NOBYPASSRLS")


def test_set_sslmode_to_disable(emptied18: Store) -> None:
    """The wheel's server is built without TLS."""
    plan = emptied18.plan(words(1), contract=contract())
    with pytest.raises(Rejected, match="offers no TLS; switch TLS on there, or set sslmode: disable"):
        load(reaching(emptied18, sslmode="require"), plan)
    assert load(reaching(emptied18, sslmode="disable"), plan).inserted == 1


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"password": "wrong"}, "correct the profile's password"),
        ({"password": None}, "set the profile's password"),
        ({"database": "nowhere"}, "create it or correct the profile"),
        ({"sslmode": "disable"}, "or change the profile's sslmode"),
        ({"host": "127.0.0.1"}, "host to the name it was issued for"),
        ({"sslrootcert": "system"}, "set sslrootcert"),
        ({"port": 1}, "check that the server runs and that host and port are right"),
    ],
)
def test_correct_the_profile(emptied: Store, changes: dict[str, Any], advice: str) -> None:
    plan = emptied.plan(words(1), contract=contract())
    with pytest.raises(OwnLensError) as caught:
        load(reaching(emptied, **changes), plan)
    assert advice in str(caught.value)
    assert load(reaching(emptied), plan).inserted == 1


def test_create_the_database(lesser: Store) -> None:
    there, away = lesser.config.database, f"{lesser.config.database}_copy"
    plan = lesser.plan(words(1), contract=contract())
    with pytest.raises(Rejected, match="create it or correct the profile"):
        load(reaching(lesser, database=away), plan)
    lesser.remember()
    with lesser.connect(there) as admin:
        admin.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {away} TO loader".encode())
    assert load(reaching(lesser, database=away), plan).inserted == 1


@pytest.mark.parametrize("place", ["ROLE loader", "DATABASE {0}"])
def test_raise_the_connection_limit(lesser: Store, place: str) -> None:
    change = f"ALTER {place.format(lesser.config.database)} CONNECTION LIMIT"
    lesser.sql(f"{change} 0")
    message = refusal(lesser, contract(), words(1))
    with lesser.connect("postgres") as admin:
        admin.execute(f"{change} -1".encode())
    assert message.endswith("or raise its max_connections, or the CONNECTION LIMIT of the role or the database")
    assert again(lesser, contract(), words(1)).inserted == 1


def test_grant_the_right_that_went_during_the_load(lesser: Store) -> None:
    lesser.load(words(1), contract=contract())
    lesser.sql("REVOKE INSERT ON words FROM loader")
    plan = lesser.plan(words(2), contract=contract(), sequence=2)
    with pytest.raises(Rejected, match="grant the right to the profile's user"):
        load(lesser.destination, plan)
    lesser.sql("GRANT INSERT ON words TO loader")
    assert load(lesser.destination, plan).inserted == 1


@pytest.mark.parametrize("way", ["ALTER ROLE", "ALTER TABLE"])
def test_a_policy_that_came_after_the_load_was_opened(lesser: Store, way: str) -> None:
    """The rights are not looked at again: the database says it."""
    lesser.load(words(1), contract=contract())
    run(lesser, "ALTER TABLE words ENABLE ROW LEVEL SECURITY|ALTER TABLE words FORCE ROW LEVEL SECURITY")
    plan = lesser.plan(words(2), contract=contract(), sequence=2)
    with pytest.raises(Rejected, match=r"row-level security .* or load as the table's owner, and") as caught:
        load(lesser.destination, plan)
    lesser.sql(advised(str(caught.value), way).replace("...", "loader" if way == "ALTER ROLE" else "words"))
    try:
        assert load(lesser.destination, plan).inserted == 1
    finally:
        lesser.sql("ALTER ROLE loader NOBYPASSRLS")


def test_add_a_line_to_pg_hba_conf(lesser: Store, server15: PostgreSQLServer) -> None:
    plan = lesser.plan(words(1), contract=contract())
    with pytest.raises(Rejected, match="add a line for it, or change"):
        load(reaching(lesser, sslmode="disable"), plan)
    rules = server15.folder / "data" / "pg_hba.conf"
    before, ((read,),) = rules.read_text(), lesser.sql("SELECT pg_conf_load_time()")
    try:
        rules.write_text(f"hostnossl {lesser.config.database} loader 127.0.0.1/32 scram-sha-256\n{before}")
        lesser.sql("SELECT pg_reload_conf()")
        lesser.wait_for(f"SELECT pg_conf_load_time() > '{read}'")  # which a new session has from the server
        assert load(reaching(lesser, sslmode="disable"), plan).inserted == 1
    finally:
        rules.write_text(before)
        lesser.sql("SELECT pg_reload_conf()")
