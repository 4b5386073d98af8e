"""How a validation treats its surroundings: connections, threads, lost stores, imports."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from ownlens_plugins import Rejected, Retryable
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.testing.samples import EVERY_TYPE, sample_contract, sample_rows
from ownlens_plugins.validation import validate

from .stores import HeldRows, LakeRows, PostgresqlRows, SqlRows

ROOT = Path(__file__).parents[2]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_importing_the_package_does_not_import_great_expectations() -> None:
    code = "import sys, ownlens_plugins.validation as v; print({'great_expectations', 'pandas'} & set(sys.modules))"
    assert python("-c", code).stdout == "set()\n"


SUITE = """
import os, sys, warnings
before = (warnings.showwarning, set(vars(sys.modules["__main__"])))
import ownlens_plugins.validation
from ownlens_plugins.testing.samples import sample_contract
assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
ownlens_plugins.validation.warm_up()
assert not {"great_expectations", "pandas"} & set(sys.modules), "a validation needs neither"
assert ownlens_plugins.validation.build_suite(sample_contract(), destination="s3", dialect=None)
assert "great_expectations" in sys.modules
assert warnings.showwarning is before[0]
assert not hasattr(sys.modules["__main__"], "__file__")
warnings.warn("seen")
print("warm")
"""


def test_a_suite_of_great_expectations_leaves_the_process_as_it_was() -> None:
    done = python("-c", SUITE)
    assert done.stdout == "warm\n"
    assert "UserWarning: seen" in done.stderr
    assert done.returncode == 0


def test_the_view_is_released_whatever_happens(
    sql_store: SqlRows, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    contract = sample_contract(columns={**EVERY_TYPE, "title": "int64?"})
    contract = replace(contract, checks=({"expect_column_sum_to_be_between": {"column": "title", "min_value": 1}},))
    sql_store.hold(sample_contract(), sample_rows(3))
    plan = sql_store.plan(sample_contract(), sample_rows(3), tmp_path)
    with pytest.raises(Rejected, match="cannot evaluate expect_column_sum_to_be_between on title"):
        validate(sql_store, replace(plan, contract=contract))
    assert sql_store.released == 1
    validate(sql_store, sql_store.plan(sample_contract(), sample_rows(3), tmp_path))
    assert sql_store.released == 2
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("statistics", [0, 1, 5])
def test_a_suite_is_one_statement(sql_store: SqlRows, tmp_path: Path, statistics: int) -> None:
    mean = {"expect_column_mean_to_be_between": {"column": "id", "min_value": 0}}
    plain = [
        {"expect_column_values_to_be_between": {"column": "day", "min_value": "2026-01-01"}},
        {"expect_column_values_to_be_unique": {"column": "token"}},
        {
            "expect_column_distinct_values_to_contain_set": {
                "column": "status",
                "value_set": ["draft"],
                "severity": "warning",
            }
        },
        {"expect_column_most_common_value_to_be_in_set": {"column": "id", "value_set": [1], "ties_okay": True}},
    ]
    contract = sample_contract(checks=plain + [mean] * statistics)
    sql_store.hold(contract, sample_rows(30))
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "count(*)" in statement:
            seen.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        result = validate(sql_store, sql_store.plan(contract, sample_rows(30), tmp_path))
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert result.expectations == 8 + statistics
    assert len(seen) == (2 if statistics else 1), "a statistic knows its values' extent before it asks for more"


def test_no_connection_stays_open(postgresql: PostgresqlRows, tmp_path: Path) -> None:
    contract = sample_contract()
    postgresql.hold(contract, sample_rows(3))
    validate(postgresql, postgresql.plan(contract, sample_rows(3), tmp_path))
    address = postgresql.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        count = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
        assert count.fetchone() == (1,)


RELEASED = """
import sys, tempfile
from pathlib import Path
import clickhouse_connect, sqlalchemy as sa
from tests.validation.stores import ClickHouseRows
from ownlens_plugins.testing.samples import sample_contract, sample_rows
from ownlens_plugins.validation import validate

path, folder = tempfile.mkdtemp(), Path(tempfile.mkdtemp())
url = sa.URL.create("clickhousedb", database="default", query={"interface": "chdb", "path": path})
store, contract = ClickHouseRows(url, "default"), sample_contract()
store.hold(contract, sample_rows(5))
assert validate(store, store.plan(contract, sample_rows(5), folder)).success
other = clickhouse_connect.get_client(interface="chdb", path=tempfile.mkdtemp())
print(other.command("SELECT 'free'"))
"""


def test_the_embedded_clickhouse_is_let_go(tmp_path: Path) -> None:
    script = tmp_path / "released.py"
    script.write_text(RELEASED)
    done = python(str(script))
    assert done.stdout == "free\n", done.stderr[-2000:]


def test_a_validation_cannot_write(postgresql: PostgresqlRows, tmp_path: Path) -> None:
    from ownlens_plugins.validation.sql import sql_rows

    contract = sample_contract()
    postgresql.hold(contract, [])
    target = postgresql.validation_target(postgresql.plan(contract, [], tmp_path))
    with (
        sql_rows(target) as rows,
        rows.engine.connect() as connection,
        pytest.raises(sa.exc.DBAPIError, match="read-only"),
    ):
        connection.execute(sa.text(f"DELETE FROM {postgresql.named(contract.table)}"))


def test_a_store_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    class Gone(PostgresqlRows):
        def run(self, statement: str, rows: object = ()) -> None:
            pass

    url = sa.URL.create("postgresql+psycopg", "user", "pass@word%", "127.0.0.1", 1, "nowhere")
    store, contract = Gone(url, "public"), sample_contract()
    with pytest.raises(Retryable) as caught:
        validate(store, store.plan(contract, sample_rows(3), tmp_path))
    assert str(caught.value) == (
        "samples: postgresql did not answer while its rows were validated (OperationalError); "
        "see that it is up, and validate again"
    )
    assert store.released == 1


def test_a_connection_lost_in_the_middle_is_retryable(postgresql: PostgresqlRows, tmp_path: Path) -> None:
    contract = sample_contract()
    postgresql.hold(contract, sample_rows(3))
    plan = postgresql.plan(contract, sample_rows(3), tmp_path)
    ended = 0

    def end(_connection: object, cursor: psycopg.Cursor[object], statement: str, *_: object) -> None:
        nonlocal ended
        if "SELECT count(*)" in statement:
            ended += 1
            pid = cursor.connection.info.backend_pid
            address = postgresql.url.set(drivername="postgresql").render_as_string(hide_password=False)
            with psycopg.connect(address, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (pid,))

    sa.event.listen(sa.Engine, "before_cursor_execute", end)
    try:
        with pytest.raises(Retryable, match="did not answer"):
            validate(postgresql, plan)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", end)
    assert ended


def test_a_missing_relation_is_not_taken_for_missing_rows(postgresql: PostgresqlRows, tmp_path: Path) -> None:
    contract = sample_contract("reference")

    class Lost(PostgresqlRows):
        def run(self, statement: str, rows: object = ()) -> None:
            pass

    store = Lost(postgresql.url, postgresql.schema)
    with pytest.raises(Rejected, match="samples: postgresql refused the validation's query") as caught:
        validate(store, store.plan(contract, sample_rows(3), tmp_path, strategy=Strategy.UPSERT))
    assert "\n" not in str(caught.value)


def test_eight_at_once(lake: LakeRows, postgresql: SqlRows, clickhouse: SqlRows, tmp_path: Path) -> None:
    good, bad = sample_rows(50), [{**row, "status": "bad"} for row in sample_rows(50)]
    barrier = threading.Barrier(8)

    def one(number: int) -> tuple[bool, int, list[str]]:
        store: HeldRows = (lake, postgresql, clickhouse)[number % 3]
        contract = sample_contract(table=f"samples_{number}")
        copy = store.alone(number)
        copy.hold(contract, bad if number % 2 else good)
        plan = copy.plan(contract, good, tmp_path / str(number))
        if number < 8:
            barrier.wait()
        result = validate(copy, plan)
        return result.success, result.rows, [failed.column for failed in result.failed]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(24)))
    assert results == [(not n % 2, 50, ["status"] if n % 2 else []) for n in range(24)]
