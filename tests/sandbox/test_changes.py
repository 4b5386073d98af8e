"""A day of changes touches what it says, and can be had again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from ownlens_plugins.contracts import TableContract
from ownlens_sandbox.newsroom import apply_day_of_changes

from .conftest import ROWS, TODAY
from .questions import ask, count_rows, digest


@pytest.fixture
def before(newsroom: psycopg.Connection, contracts: list[TableContract]) -> dict[str, int]:
    return count_rows(newsroom, contracts)


def _stamped(connection: psycopg.Connection, contract: TableContract, since: datetime) -> int:
    stamp = "updated_at" if "updated_at" in contract.column_names else "created_at"
    query = f"SELECT count(*) FROM {{}} WHERE {{}} >= '{since.isoformat()}'"
    return ask(connection, query, contract.table, stamp)


def test_changes_are_what_they_say(
    newsroom: psycopg.Connection, contracts: list[TableContract], before: dict[str, int]
) -> None:
    since = ask(newsroom, "SELECT clock_timestamp()")
    changes = apply_day_of_changes(newsroom, contracts, day=TODAY)
    after = count_rows(newsroom, contracts)
    for contract in contracts:
        inserted, updated = changes[contract.table]
        assert after[contract.table] == before[contract.table] + inserted, contract.table
        assert _stamped(newsroom, contract, since) == inserted + updated, contract.table
        assert inserted > 0, contract.table
        assert (updated > 0) is (contract.preset != "events"), contract.table
    assert sum(a + b for a, b in changes.values()) < 0.1 * ROWS


def test_updates_change_more_than_the_stamp(newsroom: psycopg.Connection, contracts: list[TableContract]) -> None:
    query = "SELECT prediction_date, user_id, churn_probability FROM customer_churn_predictions"
    old = set(newsroom.execute(query))
    _, updated = apply_day_of_changes(newsroom, contracts, day=TODAY)["customer_churn_predictions"]
    assert len(old - set(newsroom.execute(query))) == updated > 0


def test_two_calls_correct_different_rows(newsroom: psycopg.Connection, contracts: list[TableContract]) -> None:
    query = "SELECT recommendation_id, updated_at FROM customer_recommendations WHERE created_at < updated_at"
    corrected = []
    for _ in range(2):
        before = set(newsroom.execute(query))
        apply_day_of_changes(newsroom, contracts, day=TODAY)
        corrected.append({key for key, _ in set(newsroom.execute(query)) - before})
    assert all(corrected)
    assert corrected[0] != corrected[1]


def test_corrections_reach_earlier_days_of_daily_tables_and_the_day_is_new(
    newsroom: psycopg.Connection, contracts: list[TableContract]
) -> None:
    since = ask(newsroom, "SELECT clock_timestamp()")
    inserted, updated = apply_day_of_changes(newsroom, contracts, day=TODAY)["editorial_article_performance"]
    query = f"SELECT date FROM editorial_article_performance WHERE updated_at >= '{since.isoformat()}'"
    days = [day for (day,) in newsroom.execute(query.encode())]
    assert days.count(TODAY) == inserted
    assert len([day for day in days if day < TODAY]) == updated > 0


def test_some_events_are_late_but_none_is_stamped_late(
    newsroom: psycopg.Connection, contracts: list[TableContract]
) -> None:
    since = ask(newsroom, "SELECT clock_timestamp()")
    for _ in range(6):
        apply_day_of_changes(newsroom, contracts, day=TODAY)
    query = f"SELECT event_date FROM editorial_content_events WHERE created_at >= '{since.isoformat()}'"
    days = [day for (day,) in newsroom.execute(query.encode())]
    assert TODAY - timedelta(days=5) <= min(days) < TODAY == max(days)
    assert days.count(TODAY) > len(days) / 2


def test_again_and_again(newsroom: psycopg.Connection, contracts: list[TableContract]) -> None:
    for offset in range(4):
        changes = apply_day_of_changes(newsroom, contracts, day=TODAY + timedelta(days=offset // 2))
        assert changes["customer_events"][0] > 0
        # A second call on one day finds that day's daily rows in place.
        assert (changes["company_department_performance"][0] > 0) is (offset % 2 == 0)
    for contract in contracts:
        for name, options in (item for check in contract.checks for item in check.items()):
            if name == "expect_compound_columns_to_be_unique":
                query = "SELECT count(*) - count(DISTINCT ({}, {})) FROM {}"
                assert ask(newsroom, query, *options["column_list"], contract.table) == 0


def test_today_holds_no_moment_that_is_yet_to_come(
    newsroom: psycopg.Connection, contracts: list[TableContract]
) -> None:
    apply_day_of_changes(newsroom, contracts)
    for contract in contracts:
        for column in {"created_at", "updated_at", "event_timestamp", "session_end", "check_timestamp"}:
            if column in contract.column_names:
                ahead = ask(newsroom, "SELECT count(*) FROM {} WHERE {} > now()", contract.table, column)
                assert ahead == 0, (contract.table, column)


def test_a_day_that_has_not_begun_is_refused(newsroom: psycopg.Connection, contracts: list[TableContract]) -> None:
    before = digest(newsroom, contracts)
    with pytest.raises(ValueError, match="has not begun"):
        apply_day_of_changes(newsroom, contracts, day=datetime.now(UTC).date() + timedelta(days=1))
    assert digest(newsroom, contracts) == before


def test_word_lists_run_out_without_harm(newsroom: psycopg.Connection, contracts: list[TableContract]) -> None:
    for _ in range(4):
        apply_day_of_changes(newsroom, contracts, day=date(2026, 3, 11))
    assert ask(newsroom, "SELECT count(*) FROM countries") == 60
    assert ask(newsroom, "SELECT count(*) FROM countries WHERE length(iso3) <> 3") == 0
