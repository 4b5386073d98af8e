"""Connection settings: profiles of `ownlens.toml` for what is not secret, the environment for what is."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, SecretStr, Tag, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .api import StrictModel
from .engines import Engine, SparkConfig
from .errors import SettingsInvalid, UnknownName

CONFIG_VARIABLE = "OWNLENS_CONFIG"
DEFAULT_FILE = "ownlens.toml"
DEFAULT_PROFILE = "default"
# Each profile has a folder of its own below: equal table names of two sources must not meet.
STAGING_FOLDER = "var/staging"


class PostgreSQLSourceConfig(StrictModel):
    """The operational database that tables are extracted from. `host` may be a socket directory."""

    kind: Literal["postgresql"] = "postgresql"
    host: str
    port: int = Field(default=5432, ge=1, le=65535)
    database: str
    user: str
    password: SecretStr | None = None
    db_schema: str = Field(default="public", alias="schema")
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    sslrootcert: str | None = None
    connect_timeout: int = Field(default=10, ge=1, description="Seconds.")
    statement_timeout: int = Field(default=3600, ge=1, description="Seconds.")


class FileSourceConfig(StrictModel):
    """A local folder that holds a file `<table>.parquet`, `.csv`, `.json` … or a folder `<table>/` for each table."""

    kind: Literal["files"]
    folder: str


class BlockSourceConfig(BaseModel):
    """A source whose connection is in an orchestrator's block, named type/name; settings beside it win."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    block: str


def _kind_of_source(values: Any) -> str:
    if "block" in values if isinstance(values, dict) else hasattr(values, "block"):
        return "block"
    kind = values.get("kind", "postgresql") if isinstance(values, dict) else getattr(values, "kind", None)
    return str(kind)


# Told apart by `kind`, so that an error speaks of the source that was meant.
SourceConfig = Annotated[
    Annotated[PostgreSQLSourceConfig, Tag("postgresql")]
    | Annotated[FileSourceConfig, Tag("files")]
    | Annotated[BlockSourceConfig, Tag("block")],
    Discriminator(
        _kind_of_source,
        custom_error_type="unknown_source",
        custom_error_message="kind must be 'postgresql' or 'files'",
    ),
]
_SOURCES: dict[str, type[BaseModel]] = {
    "postgresql": PostgreSQLSourceConfig,
    "files": FileSourceConfig,
    "block": BlockSourceConfig,
}


def source_config(settings: dict[str, Any]) -> PostgreSQLSourceConfig | FileSourceConfig:
    """Return checked settings of a source.

    Raises:
        SettingsInvalid: a setting is missing or wrong; values are not shown.
    """
    try:
        return _SOURCES[_kind_of_source(settings)].model_validate(settings)  # type: ignore[return-value]
    except (ValidationError, KeyError) as error:
        problem = _problems(error, PostgreSQLSourceConfig) if isinstance(error, ValidationError) else "unknown kind"
        raise SettingsInvalid(f"source: {problem}") from None


class Profile(BaseSettings):
    """One named set of connections. Environment variables such as `OWNLENS_SOURCE__PASSWORD` win over the file."""

    model_config = SettingsConfigDict(
        env_prefix="OWNLENS_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    contracts: str = Field(default="table_configs", description="Folder of the contracts.")
    staging: str = Field(
        default=f"{STAGING_FOLDER}/{DEFAULT_PROFILE}",
        description="Local folder or s3:// prefix of the staged sets; var/staging/NAME for profile NAME when absent.",
    )
    source: SourceConfig | None = None
    destinations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    engine: Engine = Field(default=Engine.AUTO, description="Who writes: local, spark, or auto by each load's size.")
    spark: SparkConfig | None = Field(default=None, description="The Spark cluster; without it, engine auto is local.")
    embedded: str | None = Field(default=None, description="Folder of the embedded stack that commands start.")
    lag_seconds: int = Field(default=60, ge=0, description="Look-backs reach this much further behind.")
    max_workers: int = Field(default=6, ge=1, le=64, description="Tasks at once.")
    limits: dict[str, int] = Field(default_factory=dict, description="Loads at once, by destination.")
    staging_keep_days: int = Field(
        default=14, ge=1, description="Days for which staged sets stay that every destination has applied."
    )
    quarantine_keep_days: int = Field(default=90, ge=1, description="Days for which their refused rows stay.")
    log_file: str = Field(default="var/ownlens.log", description="Where commands write their log.")
    validate_loads: bool = Field(default=True, description="Run the Great Expectations suites after each load.")
    retries: int = Field(default=3, ge=0, le=20, description="Times that a load is tried again after Retryable.")
    retry_delay_seconds: float = Field(default=2.0, gt=0, description="First delay; it doubles, with jitter.")

    slow_ratio: float = Field(default=3.0, gt=1, description="A load is slow this many times below its usual speed.")
    slow_seconds: float = Field(default=10.0, ge=0, description="Loads that take less are never called slow.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load_profile(name: str = DEFAULT_PROFILE, *, file: Path | str | None = None) -> Profile:
    """Read a profile from `ownlens.toml` (or `OWNLENS_CONFIG`), completed by the environment.

    Raises:
        UnknownName: the file has no such profile.
        SettingsInvalid: the file is missing or not valid, or a setting is wrong.
    """
    path = Path(file or os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)
    profiles = _profiles(path)
    if name not in profiles:
        raise UnknownName("profile", name, profiles, where=str(path))
    try:
        profile = Profile(**profiles[name])
    except ValidationError as error:
        raise SettingsInvalid(f"{path}: profiles.{name}: {_problems(error)}") from None
    if "staging" in profile.model_fields_set:
        return profile
    return profile.model_copy(update={"staging": f"{STAGING_FOLDER}/{name}"})


def _profiles(path: Path) -> dict[str, dict[str, Any]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsInvalid(
            f"{path} does not exist; write one, or name it with --config or {CONFIG_VARIABLE}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{path}: not valid TOML: {error}; correct it there, and save it as UTF-8") from None
    except OSError as error:
        fix = f"give the right to read it, or name another with --config or {CONFIG_VARIABLE}"
        raise SettingsInvalid(f"{path}: cannot be read ({error.strerror}); {fix}") from None
    profiles = document.get("profiles")
    if not isinstance(profiles, dict) or not profiles:
        raise SettingsInvalid(f"{path}: no [profiles.NAME] table; write [profiles.default] above the settings")
    for name, settings in profiles.items():
        if not isinstance(settings, dict):
            raise SettingsInvalid(f"{path}: profiles.{name} is no table; write [profiles.{name}] above its settings")
    return profiles


def _problems(error: ValidationError, model: type[BaseModel] = Profile) -> str:
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(dict.fromkeys(_problem(problem, model) for problem in found))


def _problem(problem: Any, model: type[BaseModel]) -> str:
    steps = [str(step) for step in problem["loc"]]
    if steps[0] == "source" and len(steps) > 2:
        model = _SOURCES[steps.pop(1)]
    elif steps[0] == "spark" and len(steps) > 1:
        model = SparkConfig
    where = ".".join(steps)
    if problem["type"] == "extra_forbidden":
        return str(UnknownName("setting", where, [".".join([*steps[:-1], name]) for name in _spelled(model)]))
    # The environment wins over the file, so the file alone would be searched in vain.
    variable = "OWNLENS_" + "__".join(steps).upper()
    told = f"{where} (set by {variable})" if variable in os.environ else where
    return f"{told}: {problem['msg']}"


def _spelled(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
