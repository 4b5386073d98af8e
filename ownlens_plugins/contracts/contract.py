"""A table's contract: the only place that knows the table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .columns import Column, Kind, parse_type
from .durations import duration_text, parse_duration
from .presets import PRESETS, Engine, Extraction, Preset

OnBadValue = Literal["quarantine", "fail"]
SchemaPolicy = Literal["evolve", "freeze"]
Deletes = Literal["follow", "keep"]


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key to one column of another table."""

    column: str
    table: str
    parent_column: str


@dataclass(frozen=True)
class TableContract:
    """One table, resolved: preset defaults filled in, types parsed. Equal contracts have equal fingerprints.

    `cursor` names columns of which the first that is not null counts; it is empty when whole tables are extracted.
    `look_back` None is the whole table. `max_rejected` is a share, 0 to 1, of the rows extracted for one set.
    """

    table: str
    domain: str
    description: str
    preset: str
    key: tuple[str, ...]
    partition_by: str | None
    version_by: str | None
    cursor: tuple[str, ...]
    cursor_zone: str | None
    look_back: timedelta | None
    extraction: Extraction
    deletes: Deletes
    path: str
    columns: tuple[Column, ...]
    references: tuple[Reference, ...]
    checks: tuple[Mapping[str, Any], ...]
    destinations: Mapping[str, Mapping[str, Any]]
    on_bad_value: OnBadValue
    max_rejected: float
    allow_empty: bool
    schema_policy: SchemaPolicy
    drop_columns: bool
    retention_days: int | None
    engine: Engine | None = None

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of staged parts and of `Destination.read`."""
        return pa.schema([column.field for column in self.columns])

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return a column by name.

        Raises:
            KeyError: the contract has no such column.
        """
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def options_for(self, destination: str) -> dict[str, Any]:
        """Return the merged options for a destination: preset, then what holds for all stores, then its own block."""
        general = {} if self.retention_days is None else {"retention_days": self.retention_days}
        return {**PRESETS[self.preset].options(destination), **general, **self.destinations.get(destination, {})}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the resolved contract, in hex. Changes when anything about the table changes."""
        # Who writes is nothing about the table: either engine may take the next load.
        described = {name: value for name, value in self.describe().items() if name != "engine"}
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return the resolved contract as plain JSON values, as `ownlens contracts show --json` prints it."""
        return {
            "table": self.table,
            "domain": self.domain,
            "description": self.description,
            "preset": self.preset,
            "key": list(self.key),
            "partition_by": self.partition_by,
            "version_by": self.version_by,
            "cursor": _spelled(self.cursor),
            "cursor_zone": self.cursor_zone,
            "look_back": duration_text(self.look_back),
            "extraction": self.extraction.value,
            "deletes": self.deletes,
            "path": self.path,
            "columns": {column.name: str(column) for column in self.columns},
            "references": {ref.column: f"{ref.table}.{ref.parent_column}" for ref in self.references},
            "checks": [dict(check) for check in self.checks],
            "destinations": {name: self.options_for(name) for name in self._destination_names},
            "on_bad_value": self.on_bad_value,
            "max_rejected": self.max_rejected,
            "allow_empty": self.allow_empty,
            "schema_policy": self.schema_policy,
            "drop_columns": self.drop_columns,
            "retention_days": self.retention_days,
            **({} if self.engine is None else {"engine": self.engine.value}),
        }

    @property
    def _destination_names(self) -> list[str]:
        return sorted({*PRESETS[self.preset].destinations, *self.destinations})


def _spelled(cursor: tuple[str, ...]) -> str | list[str] | None:
    return cursor[0] if len(cursor) == 1 else list(cursor) or None


def _parsable(text: str) -> str:
    parse_type(text)
    return text


def _duration(text: str) -> str:
    parse_duration(text)
    return text


class ContractDocument(BaseModel):
    """What a person writes in `table_configs/<domain>/<table>.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, title="OwnLens table contract")

    table: str = Field(description="Table name in the source and in every destination.")
    domain: str = Field(description="Domain folder that this file lies in.")
    description: str = Field(default="", description="What one row means, in one sentence.")
    preset: Literal["reference", "events", "entity", "daily"] = Field(description="What the rows mean.")
    key: list[str] = Field(min_length=1, description="Columns that identify a row.")
    partition_by: str | None = Field(default=None, description="Date or timestamp column that slices the table.")
    version_by: str | None = Field(
        default=None,
        description="Column whose greatest value is the newest row of a key, null being the oldest; the preset's when "
        "absent.",
    )
    cursor: str | Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None,
        description="Column whose growth marks new or changed rows, or several, of which the first that is not null "
        "counts; when absent version_by, else created_at.",
    )
    cursor_zone: str | None = Field(
        default=None,
        description="Time zone in which a cursor without one is written, such as America/New_York; the source's own "
        "when absent.",
    )
    look_back: Annotated[str, AfterValidator(_duration)] = Field(
        default="1d",
        description="How far behind the newest run rows may appear late, by their cursor: 90m, 36h, 7d, or all.",
    )
    extraction: Literal["whole", "window", "days"] | None = Field(
        default=None, description="Rows that one staged set holds; the preset decides when absent."
    )
    deletes: Deletes | None = Field(
        default=None,
        description="Whether rows that are gone from the source leave every destination; when absent follow for whole "
        "tables and days, else keep.",
    )
    path: str = Field(description="Folder below the lake's root.")
    columns: dict[str, Annotated[str, AfterValidator(_parsable)]] = Field(
        min_length=1, description="Logical type of each column; a trailing ? is nullable."
    )
    references: dict[str, str] = Field(default_factory=dict, description="Foreign keys: column to table.column.")
    checks: list[dict[str, dict[str, Any]]] = Field(
        default_factory=list, description="Expectations to hold, by the names of Great Expectations (checks.md)."
    )
    destinations: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Options by destination, where they differ from the preset."
    )
    on_bad_value: OnBadValue = Field(default="quarantine", description="What to do with a row no store could hold.")
    max_rejected: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of a set's rows that may be refused; above it nothing is published and the table fails.",
    )
    allow_empty: bool = Field(
        default=False, description="Whether a source table without rows empties the destinations."
    )
    schema_policy: SchemaPolicy = Field(
        default="evolve",
        description="Whether tables follow where no value is lost: new nullable columns, wider types, more labels.",
    )
    drop_columns: bool = Field(
        default=False,
        description="Whether columns that left the contract leave the tables as well; else they stay, and are null in "
        "new rows.",
    )
    retention_days: int | None = Field(
        default=None,
        ge=1,
        description="Days after partition_by when maintenance deletes a row, in every destination; a destination's own "
        "block may say otherwise.",
    )
    engine: Literal["auto", "local", "spark"] | None = Field(
        default=None, description="Who writes the rows; the profile's engine when absent."
    )

    def resolve(self) -> TableContract:
        """Fill in the preset's defaults."""
        preset = PRESETS[self.preset]
        columns = tuple(Column(name, *parse_type(text)) for name, text in self.columns.items())
        version_by = self.version_by or preset.version_by
        extraction = Extraction(self.extraction) if self.extraction else preset.extraction
        return TableContract(
            table=self.table,
            domain=self.domain,
            description=self.description,
            preset=self.preset,
            key=tuple(self.key),
            partition_by=self.partition_by,
            version_by=version_by,
            cursor=_cursor(self.cursor) or _default_cursor(extraction, version_by),
            cursor_zone=self.cursor_zone,
            look_back=parse_duration(self.look_back),
            extraction=extraction,
            deletes=self.deletes or ("keep" if extraction is Extraction.WINDOW else "follow"),
            path=self.path,
            columns=columns,
            references=tuple(_reference(column, to) for column, to in self.references.items()),
            checks=tuple(self.checks),
            destinations=self.destinations,
            on_bad_value=self.on_bad_value,
            max_rejected=float(self.max_rejected),
            allow_empty=self.allow_empty,
            schema_policy=self.schema_policy,
            drop_columns=self.drop_columns,
            retention_days=self.retention_days,
            engine=None if self.engine is None else Engine(self.engine),
        )


def _cursor(written: str | list[str] | None) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) else tuple(written or ())


def _default_cursor(extraction: Extraction, version_by: str | None) -> tuple[str, ...]:
    return () if extraction is Extraction.WHOLE else (version_by or "created_at",)


def _reference(column: str, to: str) -> Reference:
    table, _, parent = to.rpartition(".")
    return Reference(column, table, parent)


def preset_of(contract: TableContract) -> Preset:
    """Return the preset a contract names."""
    return PRESETS[contract.preset]


KEY_KINDS = frozenset(
    {
        Kind.BOOL,
        Kind.INT16,
        Kind.INT32,
        Kind.INT64,
        Kind.DECIMAL,
        Kind.TEXT,
        Kind.UUID,
        Kind.DATE,
        Kind.TIME,
        Kind.TIMESTAMP,
        Kind.TIMESTAMPTZ,
        Kind.ENUM,
    }
)
PARTITION_KINDS = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ})
CURSOR_KINDS = PARTITION_KINDS
VERSION_KINDS = PARTITION_KINDS | {Kind.INT16, Kind.INT32, Kind.INT64}
