"""A filled newsroom is complete, consistent, believable and the same each time."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from datetime import date

import psycopg
import pytest

from ownlens_plugins.contracts import Kind, TableContract
from ownlens_sandbox.newsroom import create_schema, fill
from ownlens_sandbox.newsroom.recipes import recipe_for
from ownlens_sandbox.newsroom.rows import changing_columns

from .conftest import ROWS, TODAY, OpenDatabase
from .questions import ask, count_rows, digest


def test_every_table_has_rows_and_the_total_is_as_asked(
    newsroom: psycopg.Connection, contracts: list[TableContract]
) -> None:
    counts = count_rows(newsroom, contracts)
    assert len(counts) == 79
    assert not [table for table, rows in counts.items() if rows == 0]
    assert sum(counts.values()) == pytest.approx(ROWS, rel=0.05)


@pytest.mark.parametrize("rows", [500, 2000, 20_000])
def test_other_sizes_are_filled_too(open_database: OpenDatabase, contracts: list[TableContract], rows: int) -> None:
    with closing(open_database()) as connection:
        create_schema(connection, contracts)
        heard: dict[str, int] = {}
        written = fill(connection, contracts, rows=rows, today=TODAY, progress=heard.__setitem__)
        assert heard == written == count_rows(connection, contracts)
        assert min(written.values()) > 0
        if rows >= 2000:
            assert sum(written.values()) == pytest.approx(rows, rel=0.1)


def test_equal_seeds_give_equal_tables_and_others_do_not(
    newsroom: psycopg.Connection, open_database: OpenDatabase, contracts: list[TableContract]
) -> None:
    expected = digest(newsroom, contracts)
    for seed, is_equal in [(7, True), (6, False)]:
        with closing(open_database()) as connection:
            create_schema(connection, contracts)
            fill(connection, contracts, rows=ROWS, seed=seed, today=TODAY)
            assert (digest(connection, contracts) == expected) is is_equal


def test_no_row_is_from_the_future(newsroom: psycopg.Connection, contracts: list[TableContract]) -> None:
    for contract in contracts:
        for column in {"created_at", "updated_at", contract.partition_by} & set(contract.column_names):
            latest = ask(newsroom, "SELECT max({}::timestamptz AT TIME ZONE 'UTC') FROM {}", column, contract.table)
            assert latest.date() <= TODAY, (contract.table, column)


def test_history_is_as_long_as_a_lake_can_bear(newsroom: psycopg.Connection, contracts: list[TableContract]) -> None:
    for contract in contracts:
        if contract.partition_by and contract.table != "editorial_articles":
            query = "SELECT count(DISTINCT {}::timestamptz::date) FROM {}"
            days = ask(newsroom, query, contract.partition_by, contract.table)
            assert 1 < days <= 61, contract.table


def test_daily_tables_have_each_key_once_a_day_up_to_yesterday(newsroom: psycopg.Connection) -> None:
    days = newsroom.execute("SELECT date, count(*) FROM company_communications_analytics GROUP BY 1").fetchall()
    assert len({rows for _, rows in days}) == 1
    assert max(day for day, _ in days) == date(2026, 3, 9)


def test_popularity_is_skewed(newsroom: psycopg.Connection) -> None:
    query = "SELECT count(*) FROM editorial_content_events GROUP BY article_id ORDER BY 1 DESC"
    reads = [rows for (rows,) in newsroom.execute(query)]
    assert sum(reads[: max(1, len(reads) // 5)]) > 0.35 * sum(reads)


def test_rows_make_sense_across_columns_and_tables(newsroom: psycopg.Connection) -> None:
    nonsense = [
        "customer_events AS e JOIN customer_sessions AS s USING (session_id)"
        " WHERE e.user_id IS DISTINCT FROM s.user_id OR e.event_timestamp < s.session_start",
        "customer_events WHERE event_date <> (event_timestamp AT TIME ZONE 'UTC')::date",
        "customer_sessions WHERE session_end < session_start",
        "users AS u JOIN cities AS c USING (city_id) WHERE u.country_id <> c.country_id",
        "categories WHERE parent_category_id >= category_id",
        "company_employees WHERE manager_id >= employee_id",
        "editorial_articles WHERE (published_at IS NULL) <> (status IN ('draft', 'review'))",
        "data_quality_checks WHERE rows_failed > rows_checked",
        "ml_model_training_runs WHERE (finished_at IS NULL) <> (status = 'running')",
    ]
    wrong = [text for text in nonsense if newsroom.execute(f"SELECT count(*) FROM {text}".encode()).fetchone() != (0,)]
    assert wrong == []


def test_unique_and_bounded_columns_keep_to_their_checks(
    newsroom: psycopg.Connection, contracts: list[TableContract]
) -> None:
    tried = 0
    for contract in contracts:
        for name, options in (item for check in contract.checks for item in check.items()):
            broken = _breaking(newsroom, contract.table, name, options)
            assert not broken, (contract.table, name, options)
            tried += broken is not None
    assert tried > 60


def _breaking(connection: psycopg.Connection, table: str, name: str, options: dict) -> int | None:
    if name == "expect_column_values_to_be_between":
        low, high = options.get("min_value", "-Infinity"), options.get("max_value", "Infinity")
        query = f"SELECT count(*) FROM {{}} WHERE {{}} NOT BETWEEN '{low}'::float8 AND '{high}'::float8"
        return ask(connection, query, table, options["column"])
    if name == "expect_column_values_to_be_unique":
        return ask(connection, "SELECT count(*) - count(DISTINCT {}) FROM {}", options["column"], table)
    if name == "expect_compound_columns_to_be_unique":
        query = "SELECT count(*) - count(DISTINCT ({}, {})) FROM {}"
        return ask(connection, query, *options["column_list"], table)
    return None


def test_values_exercise_the_stores(newsroom: psycopg.Connection, contracts: list[TableContract]) -> None:
    """Nulls, empty arrays, non-ASCII text and keys beyond 32 bits are what a lossy hop would damage."""
    assert ask(newsroom, "SELECT count(*) FROM users WHERE interests = '{{}}'")
    assert ask(newsroom, "SELECT max(event_id) FROM customer_events") > 2**32
    assert ask(newsroom, "SELECT count(*) FROM customer_sessions WHERE referrer = ''")
    assert ask(newsroom, "SELECT count(*) FROM editorial_articles WHERE headline ~ '[^[:ascii:]]'")
    events = next(contract for contract in contracts if contract.table == "customer_events")
    for column in events.columns:
        nulls = ask(newsroom, "SELECT count(*) FROM customer_events WHERE {} IS NULL", column.name)
        assert (nulls > 0) is column.nullable, column.name


def test_recipes_name_only_what_the_contracts_have(contracts: list[TableContract]) -> None:
    for contract in contracts:
        recipe = recipe_for(contract)
        assert set(recipe.columns) | set(recipe.changing) <= set(contract.column_names), contract.table
        assert set(recipe.picks) | {recipe.joined} - {None} <= {ref.column for ref in contract.references}
        assert not set(changing_columns(contract)) & {*contract.key, contract.partition_by}, contract.table


def test_a_table_without_a_recipe_is_filled_by_rules(
    open_database: OpenDatabase, contracts: list[TableContract]
) -> None:
    stranger = next(replace(contract, table="strangers") for contract in contracts if contract.table == "users")
    kept = [contract for contract in contracts if contract.table in {"countries", "cities"}]
    assert {column.type.kind for column in stranger.columns} >= {Kind.UUID, Kind.BYTES, Kind.ENUM, Kind.ARRAY}
    with closing(open_database()) as connection:
        create_schema(connection, [stranger, *kept])
        assert fill(connection, [stranger, *kept], rows=400, today=TODAY)["strangers"] >= 3


def test_filling_takes_seconds(open_database: OpenDatabase, contracts: list[TableContract]) -> None:
    with closing(open_database()) as connection:
        create_schema(connection, contracts)
        start = time.monotonic()
        fill(connection, contracts, rows=100_000, today=TODAY)
        # A quarter of a second per thousand rows would mean that a row is written at a time.
        assert time.monotonic() - start < 25


def test_a_table_that_is_not_empty_leaves_all_as_it_was(
    newsroom: psycopg.Connection, contracts: list[TableContract]
) -> None:
    before = count_rows(newsroom, contracts)
    with pytest.raises(psycopg.errors.UniqueViolation):
        fill(newsroom, contracts, rows=ROWS, today=TODAY)
    assert count_rows(newsroom, contracts) == before
