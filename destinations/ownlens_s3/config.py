"""How to reach the lake, and what a contract may say about its table there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from ownlens_plugins.api import DestinationOptions, LoadPlan, StrictModel
from ownlens_plugins.aws import chain_region, environment_ca, environment_endpoint
from ownlens_plugins.contracts import Kind, Strategy, TableContract
from ownlens_plugins.errors import Rejected

Format = Literal["delta", "parquet", "json"]
Unit = Literal["none", "day", "month"]
Compression = Literal["zstd", "snappy", "gzip", "none"]


class S3Config(StrictModel):
    """Where the lake is. Keys that are absent come from the environment's own AWS chain."""

    uri: str = Field(description="A local folder, or s3://bucket/prefix.")
    endpoint_url: str | None = Field(default=None, description="Server of an S3-compatible store such as MinIO.")
    region: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    allow_http: bool = Field(default=False, description="Permit an endpoint without TLS.")
    path_style: bool | None = Field(default=None, description="Bucket in the path; the default with an endpoint.")
    ca_file: Path | None = Field(default=None, description="Certificates (PEM) to trust for the endpoint.")
    connect_timeout: int = Field(default=5, ge=1, description="Seconds to wait for a connection.")
    request_timeout: int = Field(default=30, ge=1, description="Seconds to wait for one answer.")

    @field_validator("uri")
    @classmethod
    def _one_spelling(cls, uri: str) -> str:
        scheme, mark, rest = uri.strip().partition("://")
        if not mark or scheme == "file":
            return str(Path(rest if mark else scheme).expanduser().absolute())
        if scheme not in {"s3", "s3a"} or not rest.strip("/"):
            raise ValueError("uri must be a local folder or s3://bucket/prefix")
        return f"s3://{rest.strip('/')}"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key are set together, or neither")
        endpoint = self.endpoint
        if self.is_s3 and endpoint and endpoint.startswith("http://") and not self.allow_http:
            raise ValueError("the endpoint has no TLS; use https, or set allow_http = true")
        if self.is_s3 and self.ca_file and not self.ca_file.is_file():
            raise ValueError("ca_file does not exist; name a file of certificates (PEM)")
        return self

    @property
    def is_s3(self) -> bool:
        return self.uri.startswith("s3://")

    @property
    def bucket(self) -> str:
        return self.uri.removeprefix("s3://").partition("/")[0]

    @property
    def prefix(self) -> str:
        """Key prefix inside the bucket, without slashes at its ends."""
        return self.uri.removeprefix("s3://").partition("/")[2]

    @property
    def endpoint(self) -> str | None:
        """The endpoint that is set here, else the environment's."""
        return self.endpoint_url or environment_endpoint()

    @property
    def region_name(self) -> str:
        return self.region or chain_region()

    @property
    def trusted(self) -> str | None:
        """The file of certificates to trust: the one that is set here, else the environment's."""
        return str(self.ca_file) if self.ca_file else environment_ca()

    @property
    def bucket_in_path(self) -> bool:
        return self.endpoint is not None if self.path_style is None else self.path_style


class S3Options(DestinationOptions):
    """A contract's `destinations.s3` block."""

    format: Format = "delta"
    partition: Unit = "none"
    compression: Compression = "zstd"
    target_file_mb: int = Field(default=128, ge=1, description="Size up to which maintenance merges small files.")
    cluster_by: tuple[str, ...] = Field(default=(), description="Columns by which maintenance sorts merged rows.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.format != "delta" and self.strategy is not Strategy.OVERWRITE:
            raise ValueError(f"{self.format} tables can only be overwritten; use format: delta or strategy: overwrite")
        if self.format == "json" and self.compression == "snappy":
            raise ValueError("json files cannot be compressed with snappy; use zstd, gzip or none")
        if self.retention_days is not None and self.format != "delta":
            raise ValueError("retention_days needs format: delta; a load replaces all rows of other tables")
        if self.cluster_by and self.format != "delta":
            raise ValueError("cluster_by needs format: delta; a load replaces all files of other tables")
        return self

    @property
    def target_file_bytes(self) -> int:
        return self.target_file_mb * 2**20

    def problems(self, contract: TableContract) -> Iterator[str]:
        """Yield what the contract lacks for these options."""
        if self.partition != "none" and contract.partition_by is None:
            setting = f"partition: {self.partition}"
            yield f"{setting} needs partition_by in the contract; name a column, or set partition: none"
        unfit = [name for name in self.cluster_by if not self._can_sort(contract, name)]
        if unfit:
            named = ", ".join(repr(name) for name in unfit)
            yield f"cluster_by names {named}; name columns of the contract that are no arrays and no partition"

    def _can_sort(self, contract: TableContract, name: str) -> bool:
        if name not in contract.column_names:
            return False
        kind = contract.column(name).type.kind
        is_folder = self.partition == "day" and name == contract.partition_by and kind is Kind.DATE
        return kind is not Kind.ARRAY and not is_folder

    def oldest_kept(self, today: date) -> date | None:
        """Return the oldest day that `retention_days` keeps, None for all: a month stays as long as one of its days."""
        if self.retention_days is None:
            return None
        oldest = today - timedelta(days=self.retention_days - 1)
        return oldest.replace(day=1) if self.partition == "month" else oldest


def lake_options(plan: LoadPlan) -> S3Options:
    """Return a plan's options in their own type.

    Raises:
        Rejected: the plan was made for another destination.
    """
    if not isinstance(plan.options, S3Options):
        raise Rejected(f"{plan.table}: the plan's options are not those of s3; build the plan for this destination")
    return plan.options
