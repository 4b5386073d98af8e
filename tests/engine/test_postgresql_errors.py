"""What goes wrong at the source is one line with the fix, retried only if that can help, and never shows a secret."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, TableContract
from ownlens_plugins.engine.sources.opening import open_source
from ownlens_plugins.engine.sources.postgresql import PostgreSQLSnapshot, PostgreSQLSource
from ownlens_plugins.engine.sources.source import Selection
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import OwnLensError, Retryable, SettingsInvalid, SourceInvalid
from ownlens_plugins.settings import Profile

from ..conftest import Database
from .conforming_rows import contract_of
from .staging_rows import WINDOW, reads

READS = """
CREATE TABLE reads (read_id bigint PRIMARY KEY, title text, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now())
"""
PASSWORD = "p@ss%w/o:r'd\""
WHOLE = Selection(Extraction.WHOLE, Window(None, None))


def read(source: PostgreSQLSource, contract: TableContract) -> int:
    with source.snapshot() as snapshot, snapshot.read(contract, WHOLE) as extracted:
        return sum(batch.num_rows for batch in extracted.reader)


def line(error: OwnLensError) -> str:
    """Return an error's only line, and see that neither it nor its causes print the password."""
    text = str(error)
    assert "\n" not in text
    for secret in (PASSWORD, "p%40ss", "w/o", "r'd"):
        assert secret not in text
        assert secret not in repr(error.__cause__)
    return text


@pytest.fixture(scope="module")
def guarded(postgresql_folder: Path) -> Iterator[None]:
    """Let the role `reader` in by password only, and keep `stranger` out."""
    rules = postgresql_folder / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all reader scram-sha-256\nlocal all stranger reject\n" + before)
    with psycopg.connect(host=str(postgresql_folder), user="postgres", dbname="postgres", autocommit=True) as admin:
        quoted = PASSWORD.replace("'", "''")
        admin.execute(f"CREATE ROLE reader LOGIN PASSWORD '{quoted}'".encode())
        admin.execute("CREATE ROLE stranger LOGIN")
        admin.execute("CREATE ROLE nologin NOLOGIN")
        admin.execute("SELECT pg_reload_conf()")
    yield
    rules.write_text(before)


@pytest.mark.usefixtures("guarded")
def test_a_password_of_odd_characters_opens_both_connections(database: Database) -> None:
    database.execute(READS)
    database.execute("INSERT INTO reads VALUES (1, 't')")
    database.execute("GRANT SELECT ON reads TO reader")
    assert read(database.source(user="reader", password=PASSWORD), reads()) == 1


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": "reader", "password": PASSWORD + "x"}, "the password of 'reader' is refused; set OWNLENS_SOURCE__"),
        ({"user": "reader"}, "the password of 'reader' is refused; set OWNLENS_SOURCE__PASSWORD"),
        ({"user": "nobody", "password": PASSWORD}, "role 'nobody' does not exist or may not log in; check"),
        ({"user": "nologin"}, "role 'nologin' does not exist or may not log in; check the profile's user"),
        ({"user": "stranger", "password": PASSWORD}, "pg_hba.conf refuses this connection for 'stranger'"),
        ({"database": "nowhere"}, "database 'nowhere' does not exist or may not be entered; check the profile's"),
    ],
)
def test_a_refused_connection_is_final_and_says_what_to_set(
    database: Database, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(SourceInvalid) as caught, database.source(**changes).snapshot():
        pass
    assert line(caught.value).startswith(f"source postgresql at {database.folder}:5432: ")
    assert message in str(caught.value)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "database-role.password.invalid", "/nowhere/at/all"])
def test_an_unreachable_server_may_be_tried_again(database: Database, host: str) -> None:
    port = closed_port()
    source = database.source(host=host, port=port, password=PASSWORD, connect_timeout=3)
    with pytest.raises(Retryable) as caught, source.snapshot():
        pass
    place = f"source postgresql at {host}:{port}"
    fix = "check that the server runs and that host and port are right"
    assert line(caught.value) == f"{place}: not reachable; {fix}"


def test_a_missing_table_names_the_fix(database: Database) -> None:
    with pytest.raises(SourceInvalid) as caught:
        read(database.source(), reads())
    assert line(caught.value) == (
        "reads: the source has no table public.reads; create it, grant SELECT on it, "
        "or leave the table out with --tables"
    )


def test_a_missing_column_names_the_nearest(database: Database) -> None:
    database.execute(READS.replace("title", "titel"))
    with pytest.raises(SourceInvalid) as caught:
        read(database.source(), reads())
    assert line(caught.value) == (
        "reads: the source table public.reads lacks 'title' (unknown column 'title'; did you mean 'titel'?); "
        "add it there, or take it out of the contract"
    )


def test_dropped_columns_and_tables_of_other_schemas_do_not_count(database: Database) -> None:
    database.execute(READS)
    database.execute("ALTER TABLE reads DROP title")
    with pytest.raises(SourceInvalid, match="lacks 'title'"):
        read(database.source(), reads())
    database.execute('CREATE SCHEMA "odd ""schema"""')
    database.execute(READS.replace("reads", '"odd ""schema""".reads'))
    assert read(database.source(schema='odd "schema"'), reads()) == 0
    with pytest.raises(SourceInvalid, match=r"the source has no table nowhere\.reads"):
        read(database.source(schema="nowhere"), reads())


@pytest.mark.parametrize("table", ['a "b" c', "select", "Reads", "naïve 🚀", "a.b", "a'b; DROP TABLE x", "%s"])
def test_odd_names_are_quoted(database: Database, table: str) -> None:
    quoted = '"' + table.replace('"', '""') + '"'
    database.execute(READS.replace("reads", quoted).replace("title", quoted))
    database.execute(f"INSERT INTO {quoted} VALUES (1, 't')")
    columns = {"read_id": "int64", table: "text?", "created_at": "timestamptz", "updated_at": "timestamptz"}
    assert read(database.source(), reads(table=table, columns=columns)) == 1


@pytest.mark.usefixtures("guarded")
def test_a_table_that_may_not_be_read_is_final(database: Database) -> None:
    database.execute(READS)
    with pytest.raises(SourceInvalid) as caught:
        read(database.source(user="reader", password=PASSWORD), reads())
    assert line(caught.value) == (
        "reads: the source role may not read this table; grant SELECT on it, USAGE on its schema, and, if it is a "
        "view, EXECUTE on its functions"
    )


def create_view(database: Database, read_id: str, title: str = "'x'::text") -> None:
    moments = "now() AS created_at, now() AS updated_at"
    database.execute(f"CREATE VIEW reads AS SELECT {read_id} AS read_id, {title} AS title, {moments} FROM "
                     "generate_series(1, 100000) g")  # fmt: skip


def test_an_error_of_a_row_is_final_and_keeps_the_words_of_the_source_for_the_log(database: Database) -> None:
    create_view(database, "1 / (g - 90000)::bigint")
    with pytest.raises(SourceInvalid) as caught:
        read(database.source(), reads())
    assert line(caught.value) == (
        "reads: the source raised an error while it computed the rows; repair the view, generated column or foreign "
        "table that raises it: the log has the source's words"
    )
    assert "division by zero" in str(caught.value.__cause__)
    database.execute("DROP VIEW reads")  # as it says
    create_view(database, "g::bigint")
    assert read(database.source(), reads()) == 100_000


@pytest.mark.parametrize("rows", [1, 100_000], ids=["before the first row", "while rows flow"])
def test_a_timeout_names_the_setting(database: Database, rows: int) -> None:
    slow = f"CASE WHEN g = {rows} THEN pg_sleep(2)::text ELSE 'x' END"
    create_view(database, "g::bigint", slow)
    with pytest.raises(Retryable) as caught:
        read(database.source(statement_timeout=1), reads())
    assert line(caught.value) == (
        "reads: the source's statement_timeout ended the extraction; raise statement_timeout in the profile's source, "
        "or add an index on the cursor"
    )
    assert read(database.source(statement_timeout=30), reads()) == 100_000


def test_a_materialized_view_without_rows_says_what_to_run(database: Database) -> None:
    moments = "now() AS created_at, now() AS updated_at"
    database.execute(f"CREATE MATERIALIZED VIEW reads AS SELECT 1::bigint AS read_id, 'x'::text AS title, {moments} "
                     "WITH NO DATA")  # fmt: skip
    with pytest.raises(SourceInvalid, match="was never filled; run REFRESH MATERIALIZED VIEW on it at the source"):
        read(database.source(), reads())
    database.execute("REFRESH MATERIALIZED VIEW reads")
    assert read(database.source(), reads()) == 1


@pytest.mark.parametrize(
    "title", ["f(g)", "(SELECT t::text::regtype::text FROM (VALUES ('nothing'), (g::text)) AS v (t) LIMIT 1)"]
)
def test_what_fails_every_time_is_not_called_a_lost_snapshot(database: Database, title: str) -> None:
    body = "BEGIN RAISE EXCEPTION USING ERRCODE = 'P0001', MESSAGE = 'secret ' || i; END"
    database.execute(f"CREATE FUNCTION f(i int) RETURNS text LANGUAGE plpgsql AS $$ {body} $$")
    create_view(database, "g::bigint", title)
    with pytest.raises(SourceInvalid) as caught:
        read(database.source(), reads())
    assert "secret" not in line(caught.value)


def test_a_source_without_a_free_connection_may_be_tried_again(database: Database) -> None:
    database.execute("CREATE ROLE busy LOGIN CONNECTION LIMIT 0")
    with pytest.raises(Retryable, match="no connection is free; run it again, or raise max_connections"):
        read(database.source(user="busy"), reads())
    database.execute("DROP ROLE busy")


def test_more_arrays_than_postgresql_can_select_are_told(database: Database) -> None:
    names = [f"a{number}" for number in range(900)]
    database.execute(f"CREATE TABLE things (id bigint, {', '.join(f'{name} int[]' for name in names)})")
    database.execute("INSERT INTO things (id) VALUES (1)")
    with pytest.raises(SourceInvalid, match="take two of PostgreSQL's 1,664 columns; give some the type text"):
        read(database.source(), contract_of(**dict.fromkeys(names, "array<int32>?")))
    fewer = dict.fromkeys(names[:700], "array<int32>?") | dict.fromkeys(names[700:], "text?")
    assert read(database.source(), contract_of(**fewer)) == 1


def test_all_columns_that_differ_are_named_and_the_message_can_be_followed(database: Database) -> None:
    database.execute("CREATE TABLE things (id bigint, a money, b timestamptz, c bytea[], d int)")
    with pytest.raises(SourceInvalid) as caught:
        read(
            database.source(), contract_of(a="decimal(10,2)", b="date", c="array<text>", d="text", e="int64", f="text")
        )
    assert line(caught.value) == (
        "things: the source table public.things lacks 'e', 'f' (unknown column 'e'; known: a, b, c, d, id); add it "
        "there, or take it out of the contract; column 'a' is money in the source, which decimal(10,2) cannot take "
        "without changing values (use text), column 'b' is timestamp with time zone in the source, which date cannot "
        "take without changing values (use timestamptz or text), column 'c' is bytea[] in the source, which "
        "array<text> cannot take without changing values (use text); correct the contract's types"
    )
    assert read(database.source(), contract_of(a="text", b="timestamptz", c="text", d="text")) == 0


def test_a_connection_that_dies_between_rows_stages_nothing(database: Database, area: StagingArea) -> None:
    database.execute(READS)
    database.execute("INSERT INTO reads SELECT g, repeat('x', 1000) FROM generate_series(1, 100000) g")
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ownlens'"

    def stage_while_it_dies(snapshot: PostgreSQLSnapshot) -> None:
        with snapshot.read(reads(), WHOLE) as extracted:
            assert next(extracted.reader).num_rows > 0
            database.execute(kill)
            area.stage(reads(), extracted, WINDOW)

    with database.source().snapshot() as snapshot:
        with pytest.raises(Retryable) as caught:
            stage_while_it_dies(snapshot)
        assert line(caught.value).startswith("reads: reading from the source broke off")
        with pytest.raises(Retryable, match="reads: the snapshot of this run has ended at the source; run it again"):
            stage_while_it_dies(snapshot)
    assert area.manifests("reads") == []
    assert read(database.source(), reads()) == 100_000


def test_a_profile_without_source_says_what_to_add() -> None:
    with pytest.raises(SettingsInvalid, match=r"add \[profiles.NAME.source\] with host, database and user"):
        open_source(Profile())
