"""What a caller asks of a run. The Prefect server checks it before a run exists."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

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
