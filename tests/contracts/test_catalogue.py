"""The 79 contracts beside tables.csv, their golden files and their schema."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from ownlens_plugins.contracts import Kind, TableContract, read_contracts
from ownlens_plugins.registry import Registry

from .. import generated

ROOT = Path(__file__).parents[2]
TABLES = {row["table"]: row for row in csv.DictReader((Path(__file__).parent / "tables.csv").open())}
CONTRACTS = read_contracts(ROOT / "table_configs")


def test_there_is_one_contract_for_each_of_the_79_tables() -> None:
    assert len(TABLES) == 79
    assert set(CONTRACTS) == set(TABLES)
    assert len({contract.domain for contract in CONTRACTS.values()}) == 10


@pytest.mark.parametrize("table", TABLES)
def test_contract_says_what_tables_csv_says(table: str) -> None:
    assert _as_row(CONTRACTS[table]) == {name: value for name, value in TABLES[table].items() if name != "note"}


def _as_row(contract: TableContract) -> dict[str, str]:
    lake, postgresql, clickhouse = (contract.options_for(name) for name in ("s3", "postgresql", "clickhouse"))
    partition_by = contract.partition_by or ""
    return {
        "domain": contract.domain,
        "table": contract.table,
        "preset": contract.preset,
        "key": " ".join(contract.key),
        "partition_by": partition_by,
        "lake_path": contract.path,
        "lake_format": lake["format"],
        "lake_strategy": lake["strategy"],
        "lake_partition_day": {"day": partition_by, "none": ""}[lake["partition"]],
        "postgresql_strategy": postgresql["strategy"],
        "postgresql_on_conflict": postgresql["on_conflict"],
        "clickhouse_engine": clickhouse["engine"],
        "clickhouse_strategy": clickhouse["strategy"],
        "clickhouse_partition": {"day": partition_by, "month": f"toYYYYMM({partition_by})", "none": ""}[
            clickhouse["partition"]
        ],
    }


@pytest.mark.parametrize("destination", ["s3", "postgresql", "clickhouse"])
def test_every_destination_accepts_its_options_in_every_contract(destination: str) -> None:
    registry = Registry()
    for contract in CONTRACTS.values():
        assert registry.options(destination, contract).strategy.value == contract.options_for(destination)["strategy"]


def test_tables_whose_rows_change_say_which_version_is_newest() -> None:
    changing = [contract for contract in CONTRACTS.values() if contract.preset != "events"]
    assert len(changing) == 59
    assert {contract.version_by for contract in changing} == {"updated_at"}


def test_columns_use_every_kind_of_type() -> None:
    columns = [column for contract in CONTRACTS.values() for column in contract.columns]
    used = {column.type.kind for column in columns}
    assert used >= {Kind.UUID, Kind.JSON, Kind.DECIMAL, Kind.ENUM, Kind.ARRAY, Kind.TIMESTAMPTZ, Kind.DATE, Kind.BYTES}
    assert {column.nullable for column in columns} == {True, False}


def test_foreign_keys_join_the_domains() -> None:
    references = [(contract, ref) for contract in CONTRACTS.values() for ref in contract.references]
    assert len(references) > 79
    assert any(CONTRACTS[ref.table].domain != contract.domain for contract, ref in references)


def test_generated_files_are_up_to_date() -> None:
    assert [str(file) for file in generated.stale_files()] == []


def test_a_changed_and_a_foreign_generated_file_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ROOT", "RESOLVED"):
        monkeypatch.setattr(generated, name, tmp_path)
    monkeypatch.setattr(generated, "generated_files", lambda: iter([(tmp_path / "users.json", "new\n")]))
    (tmp_path / "users.json").write_text("old\n")
    (tmp_path / "gone.json").write_text("{}\n")
    assert generated.main(["--check"]) == 1
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["users.json", "gone.json"]
    assert generated.main([]) == 0
    assert (tmp_path / "users.json").read_text() == "new\n"
    assert not (tmp_path / "gone.json").exists()
    assert generated.main(["--check"]) == 0


def test_schema_accepts_every_contract_and_refuses_what_the_reader_refuses() -> None:
    schema = json.loads((ROOT / "table_configs/contract.schema.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    documents = [
        yaml.safe_load((ROOT / f"table_configs/{contract.domain}/{contract.table}.yaml").read_text("utf-8"))
        for contract in CONTRACTS.values()
    ]
    for document in documents:
        validator.validate(document)
    wrong = [{**documents[0], "kay": ["id"]}, {**documents[0], "preset": "entities"}, {**documents[0], "key": "id"}]
    assert [validator.is_valid(document) for document in wrong] == [False, False, False]


def test_contract_files_point_editors_at_the_schema() -> None:
    for file in sorted((ROOT / "table_configs").glob("*/*.yaml")):
        first = file.read_text("utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=../contract.schema.json", file.name
