"""The source over TCP and TLS, and schemas and policies that would make it read something else than the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ownlens_plugins.engine.sources.postgresql import PostgreSQLSource
from ownlens_plugins.errors import OwnLensError, Retryable, SourceInvalid
from ownlens_plugins.settings import PostgreSQLSourceConfig
from tests.certificates import certify
from tests.postgresql_servers import PASSWORD, PostgreSQLServer, debian_programs, running_server

from .staging_rows import reads
from .test_postgresql_errors import READS, read

TENANTS = """
ALTER TABLE {schema}.reads ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON {schema}.reads USING (read_id = 1);
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQLServer]:
    with running_server(debian_programs(), tls=True) as server:
        hashed = PASSWORD.replace("'", "''").replace("\\", "\\\\")
        server.sql(f"CREATE ROLE reader LOGIN PASSWORD E'{hashed}'")
        yield server


def source(server: PostgreSQLServer, **changes: object) -> PostgreSQLSource:
    login = {"database": "postgres", "user": "reader", "password": PASSWORD}
    return PostgreSQLSource(PostgreSQLSourceConfig.model_validate({**server.address, **login, **changes}))


@pytest.fixture(params=["news", 'old "news\\ of'])
def schema(server: PostgreSQLServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """A schema with two reads that the role `reader` may see."""
    quoted = '"' + request.param.replace('"', '""') + '"'
    server.sql(f"CREATE SCHEMA {quoted}")
    server.sql(READS.replace("reads", f"{quoted}.reads"))
    server.sql(f"INSERT INTO {quoted}.reads VALUES (1, 'a'), (2, 'b')")
    server.sql(f"GRANT USAGE ON SCHEMA {quoted} TO reader")
    server.sql(f"GRANT SELECT ON {quoted}.reads TO reader")
    yield request.param
    server.sql(f"DROP SCHEMA {quoted} CASCADE")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def test_rows_come_over_verified_tls(server: PostgreSQLServer, schema: str) -> None:
    assert read(source(server, schema=schema), reads()) == 2


def test_a_stranger_is_not_trusted(server: PostgreSQLServer, schema: str, tmp_path: Path) -> None:
    stranger = replace(server, certificates=certify(tmp_path, hosts=("localhost",)))
    with pytest.raises(OwnLensError, match="the server's certificate is not trusted; set sslrootcert") as refused:
        read(source(stranger, schema=schema), reads())
    assert PASSWORD not in str(refused.value)


def test_a_server_that_is_not_there_may_come_back(server: PostgreSQLServer) -> None:
    with pytest.raises(Retryable, match="not reachable"):
        read(source(server, port=1), reads())


def test_rows_that_a_policy_hides_are_not_left_out_in_silence(server: PostgreSQLServer, schema: str) -> None:
    server.sql(TENANTS.format(schema=quoted(schema)))
    with pytest.raises(SourceInvalid, match="row-level security hides rows of this table from the source role"):
        read(source(server, schema=schema), reads())
    server.sql("ALTER ROLE reader BYPASSRLS")
    try:
        assert read(source(server, schema=schema), reads()) == 2
    finally:
        server.sql("ALTER ROLE reader NOBYPASSRLS")


def test_a_hostile_schema_first_in_the_path_changes_nothing(server: PostgreSQLServer, schema: str) -> None:
    server.sql("CREATE SCHEMA hostile")
    server.sql("CREATE TABLE hostile.pg_class (relname name)")
    server.sql(
        "CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '-infinity'::timestamptz $$"
    )
    server.sql("CREATE FUNCTION hostile.pg_export_snapshot() RETURNS text LANGUAGE sql AS $$ SELECT 'stolen' $$")
    server.sql("GRANT USAGE ON SCHEMA hostile TO reader")
    server.sql("ALTER ROLE reader SET search_path = hostile, pg_catalog")
    try:
        assert read(source(server, schema=schema), reads()) == 2
        with source(server, schema=schema).snapshot() as snapshot:
            assert snapshot.closes_at.year > 2000
    finally:
        server.sql("ALTER ROLE reader RESET search_path")
        server.sql("DROP SCHEMA hostile CASCADE")
