"""Each expectation that a contract implies: it holds for good rows and fails for the fault it is there for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins import LoadPlan, LoadResult, TableContract
from ownlens_plugins.api import TouchedSlice, Window
from ownlens_plugins.contracts import Reference, Strategy, contract_from
from ownlens_plugins.errors import ValidationFailed
from ownlens_plugins.testing.samples import EVERY_TYPE, sample_contract, sample_rows
from ownlens_plugins.validation import ValidationResult, validate

from .stores import HeldRows, LakeRows, SqlRows

BETWEEN = "expect_column_values_to_be_between"
START = datetime(2026, 3, 1, tzinfo=UTC)


def validated(
    store: HeldRows,
    folder: Path,
    held: list[dict[str, Any]],
    *,
    staged: list[dict[str, Any]] | None = None,
    contract: TableContract | None = None,
    **how: Any,
) -> ValidationResult:
    contract = contract or sample_contract()
    store.hold(contract, held)
    return validate(store, store.plan(contract, held if staged is None else staged, folder, **how))


def test_good_rows_pass(store: HeldRows, tmp_path: Path) -> None:
    result = validated(store, tmp_path, sample_rows(30))
    assert result.success, result.failed
    assert (result.table, result.destination, result.rows) == ("samples", store.name, 30)
    assert result.expectations == 4
    assert result.failed == result.warnings == ()
    result.raise_if_failed()


def broken(rows: list[dict[str, Any]], index: int, **values: Any) -> list[dict[str, Any]]:
    return [{**row, **values} if number == index else row for number, row in enumerate(rows)]


def test_a_required_column_without_a_value_fails(store: HeldRows, tmp_path: Path) -> None:
    rows = broken(broken(sample_rows(30), 4, updated_at=None), 5, updated_at=None, created_at=None)
    result = validated(store, tmp_path, rows, staged=sample_rows(30))
    assert not result.success
    (failed,) = result.failed
    assert failed.name == "expect_required_columns_to_have_values"
    assert failed.message == "no value in created_at (1 rows), updated_at (2 rows)"
    assert failed.severity == "critical"


def test_a_key_without_a_value_fails(store: HeldRows, tmp_path: Path) -> None:
    result = validated(store, tmp_path, broken(sample_rows(30), 4, id=None), staged=sample_rows(30))
    assert [failed.message for failed in result.failed] == ["no value in id (1 rows)"]


def test_a_repeated_key_fails(store: HeldRows, tmp_path: Path) -> None:
    result = validated(store, tmp_path, broken(sample_rows(30), 4, id=9))
    assert [str(failed) for failed in result.failed] == [
        "expect_column_values_to_be_unique(id): 2 of 30 rows do not comply"
    ]


def test_a_repeated_composite_key_fails(store: HeldRows, tmp_path: Path) -> None:
    contract = sample_contract(key=["day", "id"])
    rows = sample_rows(30)
    assert validated(store, tmp_path, broken(rows, 4, id=9), contract=contract).success
    result = validate(store, store.plan(contract, broken(rows, 4, id=9), tmp_path / "again"))
    assert result.success
    doubled = sample_contract(key=["day", "id"], table="doubled")
    result = validated(store, tmp_path, broken(rows, 4, id=7), contract=doubled)
    assert [(failed.name, failed.column) for failed in result.failed] == [
        ("expect_compound_columns_to_be_unique", "day, id")
    ]


def test_an_unknown_label_fails(store: HeldRows, tmp_path: Path) -> None:
    result = validated(store, tmp_path, broken(sample_rows(30), 4, status="secret-canary"))
    (failed,) = result.failed
    assert (failed.name, failed.column) == ("expect_column_values_to_be_in_set", "status")
    assert failed.message.startswith("1 of 30 rows do not comply")
    assert "canary" not in str(result)


def test_missing_rows_fail(store: HeldRows, tmp_path: Path) -> None:
    result = validated(store, tmp_path, sample_rows(29), staged=sample_rows(30))
    assert [str(failed) for failed in result.failed] == [
        "expect_table_row_count_to_be_between(): 29 rows (expected min_value=30)"
    ]
    with pytest.raises(ValidationFailed) as caught:
        result.raise_if_failed()
    assert str(caught.value) == (
        f"samples: {store.name} has rows that break expect_table_row_count_to_be_between(): 29 rows "
        "(expected min_value=30); mend them in the source and load again, or change the check in the contract"
    )


def test_more_rows_than_staged_fail_where_the_load_replaces_them(store: HeldRows, tmp_path: Path) -> None:
    contract, rows = sample_contract(extraction="whole"), sample_rows(30)
    result = validated(store, tmp_path, rows, staged=rows[:28], contract=contract, strategy=Strategy.OVERWRITE)
    assert [failed.message for failed in result.failed] == ["30 rows (expected value=28)"]
    assert validate(store, store.plan(contract, rows[:28], tmp_path / "b", strategy=Strategy.APPEND)).success


def test_an_overwritten_table_is_looked_at_as_a_whole(store: HeldRows, tmp_path: Path) -> None:
    contract, rows = sample_contract(extraction="whole"), sample_rows(30)
    staged = [row for row in rows if row["day"].day == 2]
    result = validated(store, tmp_path, rows, staged=staged, contract=contract, strategy=Strategy.OVERWRITE)
    assert [failed.message for failed in result.failed] == ["30 rows (expected value=10)"]


def test_replaced_days_hold_the_staged_rows_and_no_others(store: HeldRows, tmp_path: Path) -> None:
    contract, rows = sample_contract("daily"), sample_rows(30)
    store.hold(contract, rows)
    replace = {"contract": contract, "strategy": Strategy.REPLACE_PARTITION}
    first_day, third_day = ([row for row in rows if row["day"].day == day] for day in (1, 3))

    def failures(staged: list[dict[str, Any]], folder: str) -> list[str]:
        plan = store.plan(contract, staged, tmp_path / folder, strategy=replace["strategy"])
        return [failed.message for failed in validate(store, plan).failed]

    assert failures(first_day, "one") == []
    assert failures(first_day[1:], "too many") == ["10 rows (expected value=9)"]
    assert failures([*first_day, *third_day], "around a day that was left alone") == []
    assert failures(rows[:-1], "too many in three days") == ["30 rows (expected value=29)"]


def test_rows_outside_of_the_touched_slice_are_left_alone(store: HeldRows, tmp_path: Path) -> None:
    rows = sample_rows(30)
    spoilt = [{**row, "status": "bad"} if row["day"].day == 1 else row for row in rows]
    contract = sample_contract()
    result = validated(store, tmp_path, spoilt, staged=[row for row in rows if row["day"].day == 2], contract=contract)
    assert result.success
    assert result.rows == 10
    assert not validate(store, store.plan(contract, rows, tmp_path / "all")).success


@pytest.mark.parametrize("column", ["day", "local_at", "created_at"])
def test_the_slice_ends_with_its_last_day(store: HeldRows, tmp_path: Path, column: str) -> None:
    contract = sample_contract(partition_by=column, columns={**EVERY_TYPE, "local_at": "timestamp"})
    times = [datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1970, 1, 1, tzinfo=UTC)]
    times += [datetime(1970, 1, 1, 23, 59, 59, 999_999, UTC), datetime(1970, 1, 2, tzinfo=UTC)]
    rows = [
        {**row, "day": at.date(), "local_at": at.replace(tzinfo=None), "created_at": at}
        for row, at in zip(sample_rows(4), times, strict=True)
    ]
    assert validated(store, tmp_path, rows, staged=rows[1:3], contract=contract).rows == 2


def test_history_keeps_every_version_of_a_key(store: HeldRows, tmp_path: Path) -> None:
    contract = sample_contract()
    history = [*sample_rows(10), *sample_rows(10, version=1)]
    result = validated(store, tmp_path, history, contract=contract, strategy=Strategy.APPEND)
    assert result.success, result.failed
    result = validate(store, store.plan(contract, history, tmp_path / "upsert", strategy=Strategy.UPSERT))
    assert [failed.column for failed in result.failed] == ["id"]


def test_history_does_not_keep_a_version_twice(store: HeldRows, tmp_path: Path) -> None:
    result = validated(store, tmp_path, [*sample_rows(10), *sample_rows(3)], strategy=Strategy.APPEND)
    assert [failed.column for failed in result.failed] == ["id, updated_at"]


def test_events_have_no_versions(store: HeldRows, tmp_path: Path) -> None:
    rows = [*sample_rows(10), *sample_rows(3)]
    result = validated(store, tmp_path, rows, contract=sample_contract("events"), strategy=Strategy.APPEND)
    assert [failed.column for failed in result.failed] == ["id"]


def test_an_empty_staged_set_touches_nothing(store: HeldRows, tmp_path: Path) -> None:
    result = validated(store, tmp_path, broken(sample_rows(3), 1, status="bad"), staged=[])
    assert (result.success, result.expectations, result.rows) == (True, 0, 0)


def test_an_empty_staged_set_may_stand_for_older_ones(store: HeldRows, tmp_path: Path) -> None:
    contract, rows = sample_contract("daily"), sample_rows(30)
    store.hold(contract, broken(rows, 0, status="bad"))
    for strategy in (Strategy.APPEND, Strategy.UPSERT, Strategy.REPLACE_PARTITION):
        plan = store.plan(contract, [], tmp_path, strategy=strategy)
        touched = TouchedSlice("day", rows[0]["day"], rows[0]["day"])
        result = validate(store, replace(plan, touched=touched))
        assert [failed.column for failed in result.failed] == ["status"]
        assert result.rows == 10


def test_an_empty_staged_set_that_overwrites_leaves_no_rows(store: HeldRows, tmp_path: Path) -> None:
    contract = sample_contract("reference", checks=[{"expect_column_mean_to_be_between": {"column": "id"}}])
    result = validated(store, tmp_path, [], contract=contract, strategy=Strategy.OVERWRITE)
    assert (result.success, result.expectations) == (True, 1)
    other = sample_contract("reference", table="others")
    result = validated(store, tmp_path, sample_rows(2), staged=[], contract=other, strategy=Strategy.OVERWRITE)
    assert [failed.message for failed in result.failed] == ["2 rows (expected value=0)"]


def test_staged_rows_that_were_kept_aside_are_not_missed(store: HeldRows, tmp_path: Path) -> None:
    contract, rows = sample_contract(), sample_rows(30)
    store.hold(contract, rows[:28])
    plan = store.plan(contract, rows, tmp_path)
    kept = LoadResult(plan.load_id, plan.digest, rows=28, inserted=28, rejected=2)
    assert validate(store, plan, result=kept).success
    assert not validate(store, plan, result=replace(kept, rows=30, rejected=1)).success


def test_a_load_that_was_overtaken_is_not_missed(store: HeldRows, tmp_path: Path) -> None:
    contract, rows = sample_contract("reference"), sample_rows(30)
    store.hold(contract, rows)
    plan = store.plan(contract, rows[:20], tmp_path, strategy=Strategy.OVERWRITE)
    assert not validate(store, plan).success
    assert validate(store, plan, result=LoadResult(plan.load_id, plan.digest, rows=0, inserted=0)).success
    replayed = LoadResult(plan.load_id, plan.digest, rows=20, inserted=20, replayed=True)
    assert validate(store, plan, result=replayed).success


@pytest.mark.parametrize(
    ("cursor", "step"),
    [
        ("updated_at", timedelta(microseconds=1)),
        ("local_at", timedelta(microseconds=1)),
        ("day", timedelta(days=1)),
    ],
)
def test_rows_older_than_the_window_are_a_warning(
    store: HeldRows, tmp_path: Path, cursor: str, step: timedelta
) -> None:
    rows = [{**row, "local_at": row["created_at"].replace(tzinfo=None)} for row in sample_rows(30)]
    contract = sample_contract(cursor=cursor, columns={**EVERY_TYPE, "local_at": "timestamp"})
    store.hold(contract, rows)
    newest = max(_as_time(row[cursor]) for row in rows)
    plan = replace(store.plan(contract, rows, tmp_path), window=Window(newest, None))
    assert validate(store, plan).warnings == ()
    late = validate(store, replace(plan, window=Window(newest + step, None)))
    assert late.success
    assert [(warning.name, warning.column) for warning in late.warnings] == [
        ("expect_column_max_to_be_between", cursor)
    ]


def _as_time(value: date) -> datetime:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    return moment.replace(tzinfo=UTC)


def test_an_orphan_is_a_warning(sql_store: SqlRows, tmp_path: Path) -> None:
    parent = sample_contract("reference", table="parents", key=["token"], columns={**EVERY_TYPE, "token": "uuid"})
    child = sample_contract(references={"token": "parents.token", "title": "absent.title"})
    rows = sample_rows(30)
    assert sum(row["token"] is None for row in rows) > 0
    sql_store.hold(parent, [row for row in rows if row["token"] and row["id"] not in (3, 5)])
    result = validated(sql_store, tmp_path, rows, contract=child)
    assert result.success
    assert result.expectations == 5
    assert [str(warning) for warning in result.warnings] == [
        "expect_references_to_exist(token): no row of parents for 2 rows"
    ]


def test_a_parent_that_clickhouse_has_yet_to_load_makes_no_orphans(clickhouse: SqlRows, tmp_path: Path) -> None:
    parent = sample_contract("reference", table="parents", key=["token"], columns={**EVERY_TYPE, "token": "uuid"})
    clickhouse.hold(parent, [])
    child = sample_contract(references={"token": "parents.token"})
    result = validated(clickhouse, tmp_path, sample_rows(5), contract=child)
    assert (result.warnings, result.expectations) == ((), 4)


def test_a_reference_to_its_own_table(sql_store: SqlRows, tmp_path: Path) -> None:
    contract = sample_contract(references={"medium": "samples.id"}, columns={**EVERY_TYPE, "medium": "int64?"})
    rows = [{**row, "medium": row["id"] - 1 if row["id"] else None} for row in sample_rows(30)]
    assert validated(sql_store, tmp_path, rows, contract=contract).warnings == ()


ODD_NAMES = ["a'b", "a`b", "a\\b", "a:b", "a{b}", "a%b", "a%(b)s", "Größe", "select", "a b", "A"]


def test_odd_names(store: HeldRows, tmp_path: Path) -> None:
    contract = contract_from(
        {
            "table": "odd " + "".join(ODD_NAMES),
            "domain": "tests",
            "preset": "reference",
            "key": ODD_NAMES,
            "path": "tests/odd",
            "columns": {**dict.fromkeys(ODD_NAMES, "text"), "label%:": "enum(x, 'y')", "updated_at": "timestamptz"},
            "checks": [
                {"expect_column_value_lengths_to_be_between": {"column": name, "min_value": 1}} for name in ODD_NAMES
            ],
        }
    )
    itself = tuple(Reference(name, contract.table, name) for name in ODD_NAMES)
    contract = replace(contract, references=itself)
    rows = [{**dict.fromkeys(ODD_NAMES, str(i)), "label%:": "'y'", "updated_at": START} for i in range(4)]
    result = validated(store, tmp_path, rows, contract=contract, strategy=Strategy.UPSERT)
    assert (result.failed, result.warnings) == ((), ())
    assert result.expectations >= len(ODD_NAMES) + 4
    spoilt = [*rows, {**rows[3], "label%:": "y", "updated_at": None}]
    table = replace(contract, table="spoilt")
    result = validated(store, tmp_path, spoilt, contract=table, staged=rows, strategy=Strategy.UPSERT)
    assert sorted(failed.column for failed in result.failed) == sorted(["updated_at", ", ".join(ODD_NAMES), "label%:"])


@pytest.mark.parametrize("number", [1, 2])
def test_names_that_differ_in_case_or_hold_quotes(store: HeldRows, tmp_path: Path, number: int) -> None:
    columns = {'a"b': "int64", "z": "enum(x)", "Z": "enum(y)", "w": "enum(x)", "updated_at": "timestamptz"}
    document = {"table": "odd", "domain": "tests", "preset": "reference", "key": ['a"b'], "path": "tests/odd"}
    checks = [{BETWEEN: {"column": 'a"b', "max_value": number}}]
    contract = contract_from({**document, "columns": columns, "checks": checks})
    good = [{'a"b': place, "z": "x", "Z": "y", "w": "x", "updated_at": START} for place in (0, 1)]
    result = validated(store, tmp_path, good, contract=contract, strategy=Strategy.UPSERT)
    assert (result.failed, result.warnings) == ((), ())
    bad = broken(good, 1, updated_at=None, z="y", **{'a"b': 9})
    spoilt = replace(contract, table="spoilt")
    result = validated(store, tmp_path, bad, staged=good, contract=spoilt, strategy=Strategy.UPSERT)
    assert [failed.column for failed in result.failed] == ["updated_at", "z", 'a"b']


def test_two_tables_of_one_process_may_differ_in_the_case_of_a_column(store: HeldRows, tmp_path: Path) -> None:
    for table, name in (("first", "Id"), ("second", "id")):
        document = {"table": table, "domain": "tests", "preset": "reference", "key": [name], "path": f"tests/{table}"}
        check = {BETWEEN: {"column": name, "min_value": 0}}
        contract = contract_from(
            {**document, "columns": {name: "int64", "updated_at": "timestamptz"}, "checks": [check]}
        )
        rows = [{name: place, "updated_at": START} for place in range(3)]
        result = validated(store, tmp_path / table, rows, contract=contract, strategy=Strategy.UPSERT)
        assert (result.failed, result.rows) == ((), 3)


def test_a_destination_may_read_only_what_is_asked_for(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    class SliceReading(LakeRows):
        def read(self, plan: LoadPlan) -> pa.RecordBatchReader:
            raise AssertionError("the whole table is not needed")

        def read_slice(self, plan: LoadPlan, columns: Sequence[str]) -> pa.RecordBatchReader:
            asked.append(list(columns))
            table = super().read(plan).read_all().select(list(columns))
            return pa.RecordBatchReader.from_batches(table.schema, table.to_batches())

    columns = {"id": "int64", "status": "enum(a)?", "title": "text?", "day": "date", "updated_at": "timestamptz"}
    contract = sample_contract(columns=columns, partition_by="day")
    rows = [{"id": i, "status": "a", "day": START.date(), "updated_at": START} for i in range(3)]
    result = validated(SliceReading(tmp_path), tmp_path, rows, contract=contract)
    assert (result.failed, result.rows) == ((), 3)
    assert [sorted(names) for names in asked] == [["day", "id", "status", "updated_at"]]
