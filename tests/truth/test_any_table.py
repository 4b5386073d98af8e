"""Any contract and any change of it: what was loaded is read back as it was, or the load is refused and nothing moved.

Hypothesis draws names, types, keys, presets, options and rows, and a second contract made from the first: columns that
leave, come, get other types. A few in every run of the tests, others each time by `make truth HISTORIES=n`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, TableContract, contract_from
from ownlens_plugins.engine.planning import plan_load
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest
from ownlens_plugins.errors import Rejected
from ownlens_plugins.registry import Registry
from ownlens_plugins.testing.comparing import row_texts
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.destination import PostgreSQLDestination
from tests.conftest import new_database

from .stores import Stores, three_stores

_ASKED = int(os.environ.get("OWNLENS_HISTORIES", "0"))
_FEW = 12
_NUMBERS = count(1)
_STAMP = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("v", "Name", "order", "a b", "日本", "it's", 'quo"te', "$x", "back`tick", "semi;colon", "percent%s", "{brace}")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_WHEN = st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1))
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "decimal(4,2)": st.decimals(-99, 99, places=2),
    "decimal(38,10)": st.decimals(Decimal(-(10**20)), Decimal(10**20), places=10),
    "text": TEXTS,
    "uuid": st.uuids().map(lambda value: value.bytes),
    "bytes": st.binary(max_size=9),
    "date": st.dates(date(1971, 1, 1), date(2099, 1, 1)),
    "time": st.times(),
    "timestamp": _WHEN,
    "timestamptz": _WHEN.map(lambda value: value.replace(tzinfo=UTC)),
    "enum(a, b)": st.sampled_from("ab"),
    "enum(a, b, c)": st.sampled_from("abc"),
    "array<int32>": st.lists(st.none() | st.integers(-9, 9), max_size=3),
    "array<text>": st.lists(st.none() | TEXTS, max_size=3),
}
KINDS = st.sampled_from([*VALUES])
COLUMNS = st.dictionaries(st.sampled_from(NAMES), st.tuples(KINDS, st.sampled_from(["", "?"])), max_size=4)
KEYS = st.sampled_from(["int32", "int64", "text", "uuid", "date"])


@dataclass
class Drawn:
    """A contract as it was drawn, and its rows."""

    preset: str
    table: str
    key: str
    columns: dict[str, str]
    policy: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def contract(self) -> TableContract:
        columns = {"key": self.key, **self.columns, "created_at": "timestamptz", "updated_at": "timestamptz"}
        document = {"table": self.table, "domain": "any", "preset": self.preset, "key": ["key"], "path": "any/table"}
        more = {
            "partition_by": "created_at",
            "max_rejected": 1.0,
            "allow_empty": True,
            "columns": columns,
            **self.policy,
        }
        return contract_from({**document, **more})


@st.composite
def tables(draw: st.DrawFn) -> Drawn:
    """Draw a table with rows."""
    columns = {name: kind + mark for name, (kind, mark) in draw(COLUMNS).items()}
    preset = draw(st.sampled_from(["reference", "entity", "events"]))
    table = draw(st.sampled_from([*NAMES, "Order Details"]))
    policy = draw(st.sampled_from([{}, {"schema_policy": "freeze"}, {"drop_columns": True}]))
    drawn = Drawn(preset, table, draw(KEYS), columns, policy)
    drawn.rows = draw(rows_of(drawn))
    return drawn


@st.composite
def changed(draw: st.DrawFn, drawn: Drawn) -> Drawn:
    """Draw a later state of a table: some columns left, some came, some have another type."""
    kept = {name: kind for name, kind in drawn.columns.items() if draw(st.integers(0, 3))}
    came = {name: kind + mark for name, (kind, mark) in draw(COLUMNS).items()}
    later = replace(drawn, columns={**kept, **dict(list(came.items())[: draw(st.integers(0, 2))])})
    # An append refuses a key that it has; an upsert keeps the newer row.
    known = [row["key"] for row in drawn.rows] if drawn.preset == "events" else []
    later.rows = [row for row in draw(rows_of(later, hours=200)) if row["key"] not in known]
    return later


@st.composite
def rows_of(draw: st.DrawFn, drawn: Drawn, hours: int = 0) -> list[dict[str, Any]]:
    keys = draw(st.lists(VALUES[drawn.key], unique=True, min_size=1, max_size=5))
    return [draw(row_of(drawn, key, hours)) for key in keys]


@st.composite
def row_of(draw: st.DrawFn, drawn: Drawn, key: Any, hours: int) -> dict[str, Any]:
    values = {name: draw(_cell(kind)) for name, kind in drawn.columns.items()}
    stamp = _STAMP + timedelta(hours=hours + draw(st.integers(0, 100)))
    return {"key": key, **values, "created_at": stamp, "updated_at": stamp}


def _cell(kind: str) -> st.SearchStrategy[Any]:
    values = VALUES[kind.removesuffix("?")]
    return st.none() | values if kind.endswith("?") else values


@dataclass
class Trial:
    """Empty stores and an empty staging area."""

    stores: Stores
    area: StagingArea
    registry: Registry = field(default_factory=Registry)

    def stage(self, drawn: Drawn, *, full_refresh: bool = False) -> None:
        contract = drawn.contract
        schema = pa.schema([each.with_nullable(True) for each in contract.arrow_schema])
        table = pa.Table.from_pylist(drawn.rows, schema)
        extraction = Extraction.WHOLE if full_refresh else contract.extraction
        request = StageRequest(extraction, Window(None, _STAMP), full_refresh=full_refresh)
        self.area.stage(contract, Extracted(table.to_reader(), checked=True), request)  # None: as it was

    def load(self, name: str, drawn: Drawn) -> str:
        """Bring a store up to date; return why it refuses, else nothing."""
        try:
            load_table(self.stores[name], drawn.contract, self.area, self.registry)
        except Rejected as error:
            return str(error)
        return ""

    def staged(self, drawn: Drawn) -> Counter[str]:
        """Return the rows of the newest set, as the table's contract reads them."""
        manifest = self.area.manifests(drawn.table)[-1]
        plan = plan_load(self.stores["s3"], drawn.contract, manifest, self.area, self.registry)
        return Counter(row_texts(plan.reader().read_all()))

    def read(self, name: str, drawn: Drawn) -> Counter[str]:
        manifest = self.area.manifests(drawn.table)[0]
        plan = plan_load(self.stores[name], drawn.contract, manifest, self.area, self.registry)
        with self.stores[name].read(plan) as reader:
            return Counter(row_texts(reader.read_all()))


@pytest.fixture
def trials(holder: Store, postgresql_folder: Path, engine_path: Path, tmp_path: Path) -> Iterator[Any]:
    with new_database(postgresql_folder) as target:

        def make() -> Trial:
            name = f"any_{next(_NUMBERS)}"
            target.execute(f"CREATE SCHEMA {name}")
            stores = dict(three_stores(tmp_path / name, target, engine_path, name))
            config = PostgreSQLConfig(
                host=str(target.folder), database=target.name, user="postgres", schema=name, ledger_schema=f"{name}_own"
            )
            stores["postgresql"] = PostgreSQLDestination(config)
            return Trial(stores, StagingArea(str(tmp_path / name / "staging"), Registry()))

        yield make


def drop(trial: Trial) -> None:
    config = trial.stores["clickhouse"].config
    with closing(Store(ClickHouseConfig(interface="chdb", path=config.path, database="default"))) as store:
        store.run(f"DROP DATABASE IF EXISTS {config.database} SYNC")
    for store in trial.stores.values():
        store.close()


@pytest.mark.timeout(0)
def test_any_history_of_a_contract_is_read_as_loaded_or_refused_with_nothing_moved(trials: Any) -> None:
    @settings(
        max_examples=_ASKED or _FEW,
        derandomize=not _ASKED,
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],
        phases=[Phase.generate, Phase.shrink] if "OWNLENS_TRUTH_SHRINK" in os.environ else [Phase.generate],
    )
    @given(data=st.data())
    def try_one(data: st.DataObject) -> None:
        first = data.draw(tables(), label="first")
        later = data.draw(changed(first), label="later")
        trial = trials()
        try:
            follow(trial, first, later)
        finally:
            drop(trial)

    try_one()


def follow(trial: Trial, first: Drawn, later: Drawn) -> None:
    trial.stage(first)
    loaded = [name for name in trial.stores if not trial.load(name, first)]
    for name in loaded:
        assert trial.read(name, first) == trial.staged(first), f"{name}: read differs from what was loaded"
    trial.stage(later)
    for name in loaded:
        before = trial.read(name, first)
        if refused := trial.load(name, later):
            note(refused)
            assert trial.read(name, first) == before, f"{name}: refused, and yet something moved: {refused}"
            assert "full-refresh" in refused, f"{name}: no way out: {refused}"
        else:
            assert not trial.staged(later) - trial.read(name, later), f"{name}: lacks rows that it has loaded"
    trial.stage(later, full_refresh=True)
    for name in loaded:
        assert trial.load(name, later) == "", f"{name}: a full refresh did not get through"
        assert trial.read(name, later) == trial.staged(later), f"{name}: read differs after a full refresh"
