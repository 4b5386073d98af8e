"""Presets fill in what a contract leaves out, and equal contracts have equal fingerprints."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from ownlens_plugins.contracts import PRESETS, Extraction, Strategy, TableContract, contract_from


def contract(preset: str, **changes: Any) -> TableContract:
    document = {
        "table": "reads",
        "domain": "news",
        "preset": preset,
        "key": ["read_id"],
        "partition_by": "day",
        "path": "news/reads",
        "columns": {
            "read_id": "int64",
            "day": "date",
            "title": "text?",
            "created_at": "timestamptz",
            "updated_at": "timestamptz",
        },
    }
    return contract_from({**document, **changes})


@pytest.mark.parametrize(
    ("preset", "extraction", "version_by", "cursor", "strategies"),
    [
        ("reference", "whole", "updated_at", None, ("overwrite", "upsert", "overwrite", "overwrite")),
        ("events", "window", None, "created_at", ("append", "append", "append", "append")),
        ("entity", "window", "updated_at", "updated_at", ("upsert", "upsert", "upsert", "upsert")),
        ("daily", "days", "updated_at", "updated_at", ("upsert", "upsert", "replace_partition", "upsert")),
    ],
)
def test_preset_decides_what_is_absent(
    preset: str, extraction: str, version_by: str | None, cursor: str | None, strategies: tuple[str, ...]
) -> None:
    resolved = contract(preset)
    assert (resolved.extraction, resolved.version_by) == (extraction, version_by)
    assert resolved.cursor == (() if cursor is None else (cursor,))
    destinations = ("s3", "postgresql", "clickhouse", "duckdb")
    assert tuple(resolved.options_for(name)["strategy"] for name in destinations) == strategies


def test_contract_wins_over_the_preset_option_by_option() -> None:
    resolved = contract("events", cursor="updated_at", destinations={"s3": {"partition": "month"}, "duckdb": {"x": 1}})
    assert resolved.cursor == ("updated_at",)
    assert resolved.options_for("s3") == {"strategy": "append", "format": "delta", "partition": "month"}
    assert resolved.options_for("duckdb") == {"strategy": "append", "x": 1}
    assert resolved.options_for("postgresql") == {"strategy": "append", "on_conflict": "error"}


def test_options_are_a_copy() -> None:
    contract("events").options_for("s3")["strategy"] = "upsert"
    assert contract("events").options_for("s3")["strategy"] == "append"
    with pytest.raises(TypeError):
        PRESETS["events"].destinations["s3"] = {}  # type: ignore[index]


def test_presets_use_every_extraction_and_the_strategies_of_the_model() -> None:
    assert {preset.extraction for preset in PRESETS.values()} == set(Extraction)
    used = {preset.options(name)["strategy"] for preset in PRESETS.values() for name in preset.destinations}
    assert used == {strategy.value for strategy in Strategy}


@pytest.mark.parametrize(
    "change",
    [
        {"description": "One read."},
        {"key": ["read_id", "day"]},
        {"on_bad_value": "fail"},
        {"schema_policy": "freeze"},
        {"destinations": {"s3": {"partition": "month"}}},
        {"checks": [{"expect_table_row_count_to_be_between": {"min_value": 1}}]},
        {"path": "news/other"},
    ],
)
def test_any_change_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert contract("events").fingerprint == contract("events").fingerprint
    assert contract("events", **change).fingerprint != contract("events").fingerprint


def test_the_order_of_columns_is_kept() -> None:
    columns = {"updated_at": "timestamptz", "read_id": "int64", "created_at": "timestamptz", "day": "date"}
    assert contract("events", columns=columns).column_names == tuple(columns)


def test_description_holds_plain_values_and_names_every_destination() -> None:
    described = contract("daily", references={}, destinations={"duckdb": {"x": 1}}).describe()
    assert list(described["destinations"]) == ["clickhouse", "duckdb", "postgresql", "s3"]
    assert described["columns"]["title"] == "text?"
    assert described["extraction"] == "days"


def test_contract_travels_to_workers_by_pickle() -> None:
    resolved = contract("daily", references={})
    assert pickle.loads(pickle.dumps(resolved)).describe() == resolved.describe()


def test_arrow_schema_says_which_columns_may_be_null() -> None:
    schema = contract("events").arrow_schema
    assert [field.nullable for field in schema] == [False, False, True, False, False]
    with pytest.raises(KeyError):
        contract("events").column("nope")
