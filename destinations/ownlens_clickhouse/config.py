"""How to connect to ClickHouse, and a contract's `destinations.clickhouse` block."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from ownlens_plugins.api import DestinationOptions, StrictModel
from ownlens_plugins.contracts import Strategy, TableContract

from .contradictions import contradictions

_CODEC = re.compile(r"[A-Za-z0-9_]+(\([0-9, ]*\))?(\s*,\s*[A-Za-z0-9_]+(\([0-9, ]*\))?)*")


class ClickHouseConfig(StrictModel):
    """A ClickHouse server over HTTP, or the embedded engine (chDB) on a folder that one process may open at a time."""

    interface: Literal["http", "chdb"] = "http"
    path: Path | None = Field(default=None, description="Folder of the embedded engine; chdb only.")
    host: str = "localhost"
    port: int | None = Field(default=None, ge=1, le=65535, description="8123, or 8443 when secure, when absent.")
    user: str = "default"
    password: SecretStr | None = None
    database: str = Field(default="ownlens", min_length=1)
    secure: bool = Field(default=False, description="Use TLS.")
    verify: bool = Field(default=True, description="Check the server's certificate.")
    ca_cert: Path | None = Field(default=None, description="PEM file of the authority that signed the certificate.")
    compression: Literal["auto", "lz4", "zstd", "gzip", "none"] = Field(
        default="auto", description="Compression of rows that are read; those that are loaded are Parquet."
    )
    connect_timeout: float = Field(default=10, gt=0, description="Seconds to wait for a connection.")
    answer_timeout: float = Field(default=300, gt=0, description="Seconds to wait for the answer to a statement.")
    turn_timeout: float = Field(
        default=60, gt=0, description="Seconds to wait for another load of the same table before taking it over."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.interface == "chdb" and self.path is None:
            raise ValueError("interface chdb needs path, the folder of the embedded engine")
        if self.interface == "http" and self.path is not None:
            raise ValueError("path is for interface chdb; interface http needs host and port")
        if not self.secure and (self.ca_cert is not None or not self.verify):
            raise ValueError("ca_cert and verify are for TLS; set secure = true")
        if self.ca_cert is not None and not self.verify:
            raise ValueError("verify: false would leave ca_cert unused; take one of them out")
        return self

    @property
    def place(self) -> str:
        """Where the data is, for messages and locks; without credentials."""
        return str(self.path) if self.interface == "chdb" else f"{self.host}:{self.port_number}"

    @property
    def port_number(self) -> int:
        return self.port or (8443 if self.secure else 8123)


class ClickHouseOptions(DestinationOptions):
    """What a contract may say about its table in ClickHouse.

    `partition` slices the table by the contract's `partition_by` column. The engine never merges rows of one key in
    two partitions, so an upsert takes a row that moves out of the old one, which costs rewriting that.
    """

    engine: Literal["MergeTree", "ReplacingMergeTree"] = "MergeTree"
    partition: Literal["none", "day", "month"] = "none"
    order_by: tuple[str, ...] = Field(default=(), description="Sorting key; the contract's key when absent.")
    codec: Mapping[str, str] = Field(default_factory=dict, description="Compression by column, e.g. 'Delta, ZSTD'.")
    ttl_days: int | None = Field(
        default=None, ge=1, description="An older word for retention_days, which it overrides: the table's TTL."
    )
    low_cardinality: tuple[str, ...] = Field(default=(), description="Columns kept as dictionaries.")
    uuid_as: Literal["uuid", "string"] = "uuid"
    replicated: bool = Field(
        default=False, description="Keep the rows on all replicas; loads must all go through one of them."
    )
    cluster: str | None = Field(
        default=None,
        min_length=1,
        description="Make tables ON CLUSTER of this name; needs replicated.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_retention(cls, given: Any) -> Any:
        # The contract's own field may be there too; only this block can hold the older word, and a block counts more.
        if isinstance(given, Mapping) and given.get("ttl_days") is not None:
            return {**given, "retention_days": given["ttl_days"]}
        return given

    @field_validator("codec")
    @classmethod
    def _codecs_are_names(cls, codec: Mapping[str, str]) -> Mapping[str, str]:
        for column, text in codec.items():
            if not _CODEC.fullmatch(text):
                raise ValueError(f"codec of {column!r} must be codec names joined by commas, such as 'Delta, ZSTD(3)'")
        return codec

    @model_validator(mode="after")
    def _engine_fits(self) -> Self:
        if problem := engine_problem(self.strategy, self.engine):
            raise ValueError(problem)
        if self.cluster and not self.replicated:
            raise ValueError("cluster would leave the other nodes without rows; set replicated: true")
        return self

    def problems(self, contract: TableContract) -> Iterator[str]:
        """Yield what of the contract stands against these options."""
        return contradictions(contract, self)


def engine_problem(strategy: Strategy, engine: str) -> str | None:
    """Return why a strategy cannot run on an engine, with the fix, or None."""
    if strategy is Strategy.UPSERT and engine != "ReplacingMergeTree":
        return f"upsert needs engine ReplacingMergeTree, not {engine}; set engine: ReplacingMergeTree"
    if strategy is Strategy.APPEND and engine != "MergeTree":
        return f"append keeps every row, which {engine} would merge by key; set engine: MergeTree"
    return None
