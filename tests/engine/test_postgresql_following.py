"""What a refusal of the source advises is done, and the rows come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from ownlens_plugins.engine.sources import postgresql_snapshot
from ownlens_plugins.engine.sources.postgresql import PostgreSQLSource
from ownlens_plugins.errors import OwnLensError
from ownlens_plugins.settings import PostgreSQLSourceConfig, load_profile
from tests.postgresql_servers import (
    OWNER,
    PASSWORD,
    PostgreSQLServer,
    debian_programs,
    running_server,
    wheel_programs,
)

from ..conftest import Database
from .staging_rows import reads
from .test_postgresql_errors import READS, read

DENIED = "grant SELECT on it, USAGE on its schema, and, if it is a view, EXECUTE on its functions"


@pytest.fixture
def plain(database: Database) -> Iterator[Database]:
    """A database with one read, and the role `plain`, which may do nothing there."""
    database.execute(READS)
    database.execute("INSERT INTO reads VALUES (1, 't')")
    database.execute("CREATE ROLE plain LOGIN")
    yield database
    database.execute("DROP OWNED BY plain")
    database.execute("DROP ROLE plain")


def refusal(source: PostgreSQLSource, **contract: Any) -> str:
    with pytest.raises(OwnLensError) as caught:
        read(source, reads(**contract))
    assert "\n" not in str(caught.value)
    return str(caught.value)


FUNCTION = "CREATE FUNCTION one() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'"
VIEW = "SELECT one() AS read_id, title, created_at, updated_at FROM reads"
# What takes the right, and what the message says to grant; the table that is read.
DENIALS = {
    "SELECT": ("reads", [], ["GRANT SELECT ON reads TO plain"]),
    "USAGE": (
        "reads",
        ["GRANT SELECT ON reads TO plain", "REVOKE USAGE ON SCHEMA public FROM PUBLIC"],
        ["GRANT USAGE ON SCHEMA public TO plain"],
    ),
    "EXECUTE": (
        "shown",
        [
            FUNCTION,
            "REVOKE EXECUTE ON FUNCTION one FROM PUBLIC",
            f"CREATE VIEW shown AS {VIEW}",
            "GRANT SELECT ON shown TO plain",
        ],
        ["GRANT EXECUTE ON FUNCTION one TO plain"],
    ),
}


@pytest.mark.parametrize("right", DENIALS)
def test_grant_the_right_that_is_missing(plain: Database, right: str) -> None:
    table, before, grants = DENIALS[right]
    for statement in before:
        plain.execute(statement)
    assert DENIED in refusal(plain.source(user="plain"), table=table)
    for statement in grants:
        plain.execute(statement)
    assert read(plain.source(user="plain"), reads(table=table)) == 1


def test_grant_connect(plain: Database) -> None:
    plain.execute("GRANT SELECT ON reads TO plain")
    plain.execute(f"REVOKE CONNECT ON DATABASE {plain.name} FROM PUBLIC")
    assert "or grant CONNECT on it" in refusal(plain.source(user="plain"))
    plain.execute(f"GRANT CONNECT ON DATABASE {plain.name} TO plain")
    assert read(plain.source(user="plain"), reads()) == 1


@pytest.mark.parametrize("place", ["ROLE plain", "DATABASE {0}"])
def test_raise_the_connection_limit(plain: Database, place: str) -> None:
    """One connection is not enough: a second one reads in the snapshot of the first."""
    plain.execute("GRANT SELECT ON reads TO plain")
    change = f"ALTER {place.format(plain.name)} CONNECTION LIMIT"
    plain.execute(f"{change} {1 if 'ROLE' in place else 2}")  # the test itself is one more of the database
    message = refusal(plain.source(user="plain"))
    assert message.endswith("or raise max_connections, or the CONNECTION LIMIT of the role or the database")
    plain.execute(f"{change} 5")
    assert read(plain.source(user="plain"), reads()) == 1


def test_load_a_view_of_the_rows_that_the_role_may_see(plain: Database) -> None:
    plain.execute("GRANT SELECT ON reads TO plain")
    plain.execute("INSERT INTO reads VALUES (2, 'hidden')")
    plain.execute("ALTER TABLE reads ENABLE ROW LEVEL SECURITY")
    assert "or load a view of the rows that it may see" in refusal(plain.source(user="plain"))
    plain.execute("CREATE VIEW shown AS SELECT * FROM reads WHERE read_id = 1")
    plain.execute("GRANT SELECT ON shown TO plain")
    assert read(plain.source(user="plain"), reads(table="shown")) == 1


@pytest.mark.parametrize("way", ["create it", "add it there"])
def test_make_what_the_source_lacks(database: Database, way: str) -> None:
    if way == "add it there":
        database.execute(READS.replace("title text,", ""))
    assert way in refusal(database.source())
    database.execute("ALTER TABLE reads ADD title text" if way == "add it there" else READS)
    assert read(database.source(), reads()) == 0


def test_take_the_column_out_of_the_contract(database: Database) -> None:
    database.execute(READS.replace("title text,", ""))
    assert "or take it out of the contract" in refusal(database.source())
    columns = {"read_id": "int64", "created_at": "timestamptz", "updated_at": "timestamptz"}
    assert read(database.source(), reads(columns=columns)) == 0


def test_grant_pg_read_all_stats_and_the_session_has_a_name(
    plain: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postgresql_snapshot, "_MANY_TRANSACTIONS", -1)
    monkeypatch.setattr(postgresql_snapshot, "HELD_FOR", postgresql_snapshot.HELD_FOR * 0)
    with psycopg.connect(host=str(plain.folder), dbname=plain.name, user="postgres") as writer:
        writer.execute("INSERT INTO reads VALUES (2, 'early')")
        seen = []
        for _ in range(2):
            with plain.source(user="plain").snapshot() as snapshot:
                seen.append(snapshot.held)
            plain.execute("GRANT pg_read_all_stats TO plain")
    assert "(GRANT pg_read_all_stats)" in seen[0]
    assert " of postgres (without a name, idle in transaction) holds" in seen[1]


# --- over TCP


@pytest.fixture(scope="module")
def encrypted() -> Iterator[PostgreSQLServer]:
    with running_server(debian_programs(), tls=True) as server:
        server.sql(READS)
        yield server


@pytest.fixture(scope="module")
def unencrypted() -> Iterator[PostgreSQLServer]:
    with running_server(wheel_programs(), tls=False) as server:
        server.sql(READS)
        yield server


def over_tcp(server: PostgreSQLServer, **changes: Any) -> PostgreSQLSource:
    profile = {**server.address, "database": "postgres", "user": OWNER, "password": PASSWORD, **changes}
    return PostgreSQLSource(PostgreSQLSourceConfig.model_validate(profile))


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"sslmode": "disable"}, "or set sslmode to what the lines there ask for"),
        ({"sslrootcert": "system"}, "set sslrootcert"),
        ({"sslrootcert": None}, "set sslrootcert"),
    ],
)
def test_set_sslmode_or_sslrootcert(encrypted: PostgreSQLServer, changes: dict[str, Any], advice: str) -> None:
    assert advice in refusal(over_tcp(encrypted, **changes))
    assert read(over_tcp(encrypted), reads()) == 0  # with both as the server has them


def test_set_sslmode_to_what_the_server_offers(unencrypted: PostgreSQLServer) -> None:
    assert "set sslmode to what it offers" in refusal(over_tcp(unencrypted, sslmode="require"))
    assert read(over_tcp(unencrypted, sslmode="disable"), reads()) == 0


def test_set_the_variable_of_the_password(
    encrypted: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    message = refusal(over_tcp(encrypted, password="wrong"))
    source = {**encrypted.address, "database": "postgres", "user": OWNER}
    lines = [f"{name} = {value if isinstance(value, int) else repr(str(value))}" for name, value in source.items()]
    file = tmp_path / "ownlens.toml"
    file.write_text("\n".join(["[profiles.default.source]", *lines]))
    monkeypatch.setenv(message.rpartition("set ")[2], PASSWORD)
    config = load_profile(file=file).source
    assert isinstance(config, PostgreSQLSourceConfig)
    assert read(PostgreSQLSource(config), reads()) == 0
