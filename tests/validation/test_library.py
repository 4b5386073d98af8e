"""Great Expectations is what users see: names, keywords, suites, results; and where it is right, it says the same."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ownlens_plugins.contracts import Kind, contract_from
from ownlens_plugins.validation import build_suite, suite_result, validate
from ownlens_plugins.validation.catalogue import OFFERS, OTHERS, PORTABLE
from ownlens_plugins.validation.checks import checks_of
from ownlens_plugins.validation.library import expectations_of, suite

from .grid import KINDS, cases_of, contract_of
from .stores import LakeRows
from .test_checks import CASES, ROWS, readings


def test_the_names_are_those_of_great_expectations() -> None:
    import great_expectations.expectations.core  # noqa: F401
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    theirs = {name for name in list_registered_expectation_implementations() if "required_columns" not in name}
    assert theirs - {"expect_references_to_exist"} == PORTABLE | OTHERS
    for name, offer in OFFERS.items():
        fields = get_expectation_impl(name).__fields__
        assert offer.readers.keys() <= fields.keys()
        assert (offer.ignored is not None) == ("ignore_row_if" in fields)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_accepted_check_is_one_of_its_expectations(kind: Kind) -> None:
    contract = contract_of(kind, cases_of(kind))
    checks, _ = checks_of(contract)
    for dialect in (None, "postgresql", "clickhouse"):
        assert len(expectations_of(contract, checks, dialect=dialect)) == len(checks)


# In a frame of pandas, Great Expectations raises on decimals beside floats.
_NOT_BY_PANDAS = {"score"}


@pytest.mark.parametrize("part", ["holds", "breaks"])
def test_great_expectations_agrees_where_it_is_right(part: str, tmp_path: Path) -> None:
    import great_expectations as gx

    cases = [case for case in CASES if case["holds"].get("column") not in _NOT_BY_PANDAS]
    keywords = [{**case["holds"], **(case["breaks"] if part == "breaks" else {})} for case in cases]
    contract = readings(*({f"expect_{case['expect']}": k} for case, k in zip(cases, keywords, strict=True)))
    store = LakeRows(tmp_path)
    store.hold(contract, ROWS)
    ours = validate(store, store.plan(contract, ROWS, tmp_path / "plan")).evaluated[-len(cases) :]
    expectations = build_suite(contract, destination="s3", dialect=None)[-len(cases) :]
    context = gx.get_context(mode="ephemeral")
    batch = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
    found = batch.get_batch({"dataframe": _frame()}).validate(suite("s", expectations))
    theirs = {_key(one.expectation_config.type, one.expectation_config.kwargs): one.success for one in found.results}
    assert len(found.results) == len(cases)
    for one, expectation in zip(ours, expectations, strict=True):
        key = _key(one.name, expectation.configuration.kwargs)
        assert theirs[key] == one.success, (one.name, one.keywords)


def _key(name: str, keywords: dict[str, Any]) -> str:
    return name + str(sorted((key, str(value)) for key, value in keywords.items() if key != "batch_id"))


def _frame() -> pd.DataFrame:
    frame = pd.DataFrame(ROWS)
    frame["empty"] = None
    return frame.assign(day=pd.to_datetime(frame["day"]), ratio=frame["ratio"].astype("float64"))


def test_a_suite_runs_in_its_own_sql_too(tmp_path: Path) -> None:
    import great_expectations as gx

    file = tmp_path / "rows.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE parents (id INTEGER)")
        connection.execute("CREATE TABLE children (id INTEGER, parent INTEGER, at TEXT, created_at TEXT)")
        connection.executemany("INSERT INTO parents VALUES (?)", [(1,), (2,)])
        connection.executemany("INSERT INTO children VALUES (?, ?, ?, 0)", [(1, 1, "x"), (2, 3, None), (3, None, "x")])
    document = {"table": "children", "domain": "tests", "preset": "events", "key": ["id"], "path": "tests/children"}
    columns = {"id": "int64", "parent": "int64?", "at": "text", "created_at": "timestamptz"}
    contract = contract_from({**document, "columns": columns, "references": {"parent": "parents.id"}})
    context = gx.get_context(mode="ephemeral")
    source = context.data_sources.add_sqlite("s", connection_string=f"sqlite:///{file}")
    batch = source.add_table_asset("a", table_name="children").add_batch_definition_whole_table("b").get_batch()
    suite_ = suite("s", build_suite(contract, destination="s3", dialect=None, parents=["parents"]))
    found = {one.expectation_config.type: one for one in batch.validate(suite_).results}
    assert found["expect_required_columns_to_have_values"].result["observed_value"] == {"at": 1}
    assert found["expect_references_to_exist"].result["observed_value"] == {"parent": 1}
    assert found["expect_column_values_to_be_unique"].success


def test_a_validation_can_be_had_as_its_result(tmp_path: Path) -> None:
    between = {"expect_column_values_to_be_between": {"column": "rank", "max_value": 5, "severity": "warning"}}
    contract = readings(between)
    store = LakeRows(tmp_path)
    store.hold(contract, ROWS)
    result = validate(store, store.plan(contract, ROWS, tmp_path / "plan"))
    found = suite_result(result)
    assert not found.success
    assert found.statistics["evaluated_expectations"] == len(result.evaluated) == len(found.results)
    (broken,) = (one for one in found.results if not one.success)
    assert broken.expectation_config.severity == "warning"
    assert broken.expectation_config.kwargs == {"column": "rank", "max_value": 5}
    assert (broken.result["unexpected_count"], broken.result["element_count"]) == (4, 10)
    assert found.to_json_dict()["results"]
