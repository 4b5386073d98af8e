"""Who writes the parts of a load: threads of this process, or a Spark cluster. Settings only, without Spark."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from .api import StrictModel
from .contracts.presets import Engine as Engine

DEFAULT_JARS = "~/.cache/ownlens/spark"
DEFAULT_THRESHOLD = "1 GB"
_UNITS = {"rows": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_THRESHOLD = re.compile(r"(?P<number>\d+(?:_\d+)*(?:\.\d+)?)\s*(?P<unit>rows|[KMGT]?B)?")
# Names of settings whose values are secrets. A file that holds one is named by its path, which is none.
_SECRET = re.compile(r"(secret|password|passwd|credential|token|access\.?key)", re.IGNORECASE)
_NO_SECRET = re.compile(r"(file|path|class|provider|regex|enabled|ttl|duration|interval|alias|name)$", re.IGNORECASE)
_MASTER = re.compile(
    r"local(\[(\d+|\*)(,\s*\d+)?\])?|local-cluster\[\d+,\s*\d+,\s*\d+\]|spark://[^\s/]+:\d+(,[^\s/]+:\d+)*"
    r"|k8s://\S+|yarn"
)
# Values would differ under other settings, so these are not for anybody to choose.
FIXED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.storeAssignmentPolicy": "ANSI",
}


class Threshold(StrictModel):
    """From how many staged rows or bytes on a load goes to Spark. A number without a unit is rows."""

    rows: int | None = None
    bytes: int | None = None

    def reached(self, rows: int, size: int) -> bool:
        return rows >= self.rows if self.rows is not None else size >= (self.bytes or 0)

    def __str__(self) -> str:
        return f"{self.rows:,} rows" if self.rows is not None else f"{self.bytes or 0:,} bytes"


def _threshold(written: Any) -> Any:
    if isinstance(written, Threshold):
        return written
    found = _THRESHOLD.fullmatch(str(written).strip())
    if isinstance(written, bool) or found is None:
        raise ValueError("write a number of rows such as 5_000_000, or a size such as '2 GB'")
    unit = found["unit"] or "rows"
    number = int(float(found["number"].replace("_", "")) * _UNITS[unit])
    return Threshold(rows=number) if unit == "rows" else Threshold(bytes=number)


class SparkConfig(StrictModel):
    """A profile's `[profiles.NAME.spark]`: which cluster, and how its sessions are set up."""

    master: str | None = Field(
        default=None, description="local[N], spark://host:port, k8s://… or yarn; local[*] when remote is absent too."
    )
    remote: str | None = Field(default=None, description="A Spark Connect server: sc://host:port.")
    conf: dict[str, str] = Field(default_factory=dict, description="Spark's own settings; no secrets.")
    engine_threshold: Annotated[Threshold, BeforeValidator(_threshold)] = Field(
        default=_threshold(DEFAULT_THRESHOLD),
        description="Staged rows (5_000_000) or bytes ('2 GB') from which on engine auto takes Spark.",
    )
    python: str | None = Field(default=None, description="Interpreter of the executors; this one when absent.")
    jars: str = Field(default=DEFAULT_JARS, description="Folder of the jars, at the same path on each node.")
    start_timeout: int = Field(default=120, ge=1, description="Seconds to wait for the first executor.")

    @field_validator("conf", mode="before")
    @classmethod
    def _as_text(cls, conf: Any) -> Any:
        if not isinstance(conf, dict):
            return conf
        return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in conf.items()}

    @field_validator("master")
    @classmethod
    def _known_master(cls, master: str | None) -> str | None:
        if master is not None and not _MASTER.fullmatch(master):
            raise ValueError("is no Spark master; write local[4], spark://host:7077, k8s://https://host:port or yarn")
        return master

    @field_validator("remote")
    @classmethod
    def _known_remote(cls, remote: str | None) -> str | None:
        if remote is None:
            return None
        if not remote.startswith("sc://"):
            raise ValueError("is no Spark Connect server; write sc://host:15002")
        if _SECRET.search(remote):
            raise ValueError("holds a secret; put it into the environment as SPARK_CONNECT_AUTHENTICATE_TOKEN")
        return remote

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.master and self.remote:
            raise ValueError("master and remote are two clusters; set one of them")
        for name in self.conf:
            _require_ordinary(name, self.conf[name])
        return self

    @property
    def is_local(self) -> bool:
        """Whether the workers are processes of this machine that see its files."""
        return self.remote is None and (self.master or "local[*]").startswith("local")

    @property
    def place(self) -> str:
        """The cluster, for messages."""
        return self.remote or self.master or "local[*]"


def _require_ordinary(name: str, value: str) -> None:
    if _SECRET.search(name) and not _NO_SECRET.search(name):
        raise ValueError(
            f"conf.{name} would be a secret in plain sight of Spark's pages; take it out: OwnLens hands its own "
            "connections to the workers, and others come from the environment or from files"
        )
    if name in FIXED and value.lower() != FIXED[name].lower():
        raise ValueError(f"conf.{name} must stay {FIXED[name]}, or values would change; take it out")
    if name in {"spark.master", "spark.remote"}:
        word = name.removeprefix("spark.")
        raise ValueError(f"conf.{name}: say {word} = ... beside conf instead; take it out")
