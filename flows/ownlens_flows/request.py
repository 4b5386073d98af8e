"""What a caller asks of a run. The Prefect server checks it before a run exists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ownlens_plugins.engines import Engine


class LoadRequest(BaseModel):
    """Tables, destinations and connections of one run. Empty lists mean all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tables: list[str] = Field(default_factory=list, description="Tables to load; all of the contracts when empty.")
    domains: list[str] = Field(default_factory=list, description="Domains to load; added to `tables`.")
    presets: list[str] = Field(default_factory=list, description="Presets to load, such as events; added as well.")
    destinations: list[str] = Field(
        default_factory=list, description="Destinations by name or alias; all of the profile when empty."
    )
    full_refresh: bool = Field(default=False, description="Stage whole tables and replace what the destinations hold.")
    sweep_deletes: bool = Field(
        default=False, description="Also stage the keys of tables whose deletes follow, so that rows that are gone go."
    )
    source_moved: bool = Field(
        default=False, description="Go on after staged sets of another source: the database was moved or restored."
    )
    backfill: bool = Field(
        default=False, description="Stage whole tables for `destinations` alone, and replace what these hold."
    )
    since: datetime | None = Field(
        default=None,
        description="Stage all rows from this moment on, UTC if it names no zone, once more for `destinations` alone.",
    )
    profile: str = Field(default="default", description="Profile of ownlens.toml that names the connections.")
    config: str | None = Field(default=None, description="Path of ownlens.toml; OWNLENS_CONFIG or ./ when absent.")
    validate_loads: bool | None = Field(default=None, description="Overrides the profile's validate_loads.")
    engine: Engine | None = Field(
        default=None, description="Who writes: local, spark or auto; overrides the contracts' and the profile's."
    )
    blocks: dict[str, str] = Field(
        default_factory=dict,
        description="Prefect blocks that hold connections, by destination or `source`: minio-credentials/lake.",
    )

    @field_validator("since")
    @classmethod
    def _with_zone(cls, since: datetime | None) -> datetime | None:
        return since.replace(tzinfo=UTC) if since is not None and since.tzinfo is None else since

    @model_validator(mode="after")
    def _one_way_to_recover(self) -> Self:
        asked = [name for name in ("full_refresh", "backfill", "since") if getattr(self, name)]
        if len(asked) > 1:
            raise ValueError(f"{' and '.join(asked)} exclude one another; choose one")
        if self.backfill and not self.destinations:
            raise ValueError("backfill fills the destinations that are named; name them, or use full_refresh for all")
        if self.since is not None and self.since > datetime.now(UTC):
            raise ValueError("since lies in the future; name the moment from which on rows lack")
        return self
