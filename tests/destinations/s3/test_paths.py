"""Paths as people ask for them, and as the lake lays its files out."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ownlens_plugins.contracts import TableContract, read_contracts
from ownlens_plugins.errors import Rejected, UnknownName
from ownlens_s3.config import S3Options
from ownlens_s3.destination import S3Destination
from ownlens_s3.paths import attempt_of, data_file_name, get_s3_path, layout_of
from tests.destinations.s3.loads import Loader, all_files, contract_of

CONTRACTS = Path(__file__).parents[3] / "table_configs"
DAY = date(2025, 11, 8)


@pytest.fixture(scope="module")
def contracts() -> dict[str, TableContract]:
    return dict(read_contracts(CONTRACTS))


@pytest.mark.parametrize(
    "spelling", ["customer_sessions", "customer/sessions", "customer/customer_sessions", "/customer/sessions/"]
)
def test_a_table_answers_to_its_name_and_its_path(contracts: dict[str, TableContract], spelling: str) -> None:
    assert get_s3_path(spelling, contracts=contracts) == "customer/sessions"
    folder = get_s3_path(spelling, DAY, contracts=contracts, uri="s3a://ownlens-data-lake/")
    assert folder == "s3://ownlens-data-lake/customer/sessions/_ownlens_day=2025-11-08"


def test_a_date_column_is_its_own_folder(contracts: dict[str, TableContract]) -> None:
    contract = contracts["customer_churn_predictions"]
    assert contract.partition_by == "prediction_date"
    assert (
        get_s3_path("customer/churn", DAY, contracts=contracts.values()) == "customer/churn/prediction_date=2025-11-08"
    )


def test_reference_tables_have_no_partitions(contracts: dict[str, TableContract]) -> None:
    assert get_s3_path("users", contracts=contracts, uri="/lake") == "/lake/base/users"
    with pytest.raises(Rejected, match="users: s3 does not partition this table; ask for its path without a date"):
        get_s3_path("users", DAY, contracts=contracts)


def test_an_unknown_table_gets_a_hint(contracts: dict[str, TableContract]) -> None:
    with pytest.raises(UnknownName, match="unknown table 'customer_session'; did you mean 'customer_sessions'"):
        get_s3_path("customer_session", contracts=contracts)


@pytest.mark.parametrize("form", ["delta", "parquet", "json"])
@pytest.mark.parametrize("source", ["day", "created_at"])
@pytest.mark.parametrize("partition", ["day", "month"])
def test_files_lie_where_get_s3_path_says(
    local: S3Destination, tmp_path: Path, partition: str, source: str, form: str
) -> None:
    loader = Loader(local, contract_of("overwrite", form, partition, partition_by=source), tmp_path)
    loader.load(1, loader.rows(30))
    for day in (date(2026, 1, 1), date(2026, 1, 2)):
        folder = Path(get_s3_path("samples", day, contracts=[loader.contract], uri=local.config.uri))
        assert folder.is_dir()
        assert any(file.name.startswith("part-00000001-") for file in folder.iterdir())
    files = [name for name in all_files(local, loader.contract) if "part-" in name]
    assert {name.partition("/")[0] for name in files} == {
        name.partition("/")[0] for name in (_relative(local, loader, date(2026, 1, day)) for day in (1, 2, 3))
    }


def _relative(destination: S3Destination, loader: Loader, day: date) -> str:
    path = get_s3_path("samples", day, contracts=[loader.contract])
    return path.removeprefix(f"{loader.contract.path}/")


def test_every_contract_of_the_newsroom_has_a_layout_the_lake_can_use(contracts: dict[str, TableContract]) -> None:
    assert len(contracts) == 79
    assert len({contract.path for contract in contracts.values()}) == 79
    for contract in contracts.values():
        options = S3Options.model_validate(contract.options_for("s3"))
        layout = layout_of(contract, options)
        assert (layout is None) == (options.partition == "none")


def test_data_files_say_who_wrote_them() -> None:
    name = data_file_name(12, "0123456789abcdef", "00001-aa-0000", "zstd.parquet")
    assert attempt_of(name) == attempt_of(f"_ownlens_day=2026-01-01/{name}") == (12, "0123456789abcdef")
    assert attempt_of(name.replace("zstd.parquet", "json.gz")) == (12, "0123456789abcdef")
    for foreign in (
        "part-00000-6e037a8a-1e34-4530-8cfa-e1e491963460-c000.zstd.parquet",
        "_delta_log/0.json",
        "x.parquet",
    ):
        assert attempt_of(foreign) is None


def test_partitions_outside_the_calendar_are_refused() -> None:
    layout = layout_of(contract_of("append"), S3Options.model_validate({"strategy": "append", "partition": "day"}))
    assert layout is not None
    batch = pa.record_batch({"created_at": pa.array([-1, 0, 86_400_000_000], pa.timestamp("us", "UTC"))})
    assert layout.numbers(batch).tolist() == [-1, 0, 1]
    assert layout.value(-1) == "1969-12-31"
    assert layout.value_of(datetime(2026, 1, 1).date()) == "2026-01-01"
    with pytest.raises(Rejected, match="outside the years 1 to 9999"):
        layout.value(int(np.int32(2**31 - 1)))
