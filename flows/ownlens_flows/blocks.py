"""Connections kept in Prefect blocks: a profile or request names the block, and its values are read only here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from ownlens_plugins.errors import DestinationUnavailable, SettingsInvalid
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import BlockSourceConfig, Profile, source_config

SOURCE = "source"
Settings = dict[str, Any]


class ClickHouseCredentials(Block):
    """How to reach a ClickHouse server over HTTP. Fields that are absent are left to the profile."""

    _block_type_name: ClassVar[str] = "ClickHouse Credentials"
    _block_type_slug: ClassVar[str] = "clickhouse-credentials"
    _description: ClassVar[str] = "Address, user and password of a ClickHouse server."

    host: str | None = Field(default=None, description="Name or address of the server.")
    port: int | None = Field(default=None, ge=1, le=65535, description="8123, or 8443 when secure, when absent.")
    user: str | None = Field(default=None, description="Name of the loader's user.")
    password: SecretStr | None = Field(default=None, description="Its password.")
    database: str | None = Field(default=None, description="Database that holds the loaded tables.")
    secure: bool | None = Field(default=None, description="Use TLS.")
    ca_cert: str | None = Field(default=None, description="PEM file of the authority that signed the certificate.")


def with_blocks(
    profile: Profile, blocks: Mapping[str, str], registry: Registry, *, destinations: Sequence[str] = ()
) -> Profile:
    """Return the profile with the settings of named blocks filled in; what the profile says itself wins.

    Only blocks of the asked for destinations are read, all of them when none are. `blocks` maps a destination
    (name or alias) or `source` to `type/name`; it wins over the profile's own `block`.

    Raises:
        SettingsInvalid: a block does not exist, or cannot be used for this connection. UnknownName: no such
        destination. DestinationUnavailable: Prefect's server did not answer.
    """
    chosen = {name if name == SOURCE else registry.resolve(name): block for name, block in blocks.items()}
    connections = {registry.resolve(name): dict(config) for name, config in profile.destinations.items()}
    for name in chosen:
        if name != SOURCE:
            connections.setdefault(name, {})["block"] = chosen[name]
    asked = {registry.resolve(name) for name in destinations} or connections.keys()
    filled = {
        name: _filled(f"destinations.{name}", config) if name in asked else config
        for name, config in connections.items()
    }
    return profile.model_copy(update={"destinations": filled, "source": _source(profile, chosen.get(SOURCE))})


def _source(profile: Profile, block: str | None) -> Any:
    own = profile.source
    if block is None and not isinstance(own, BlockSourceConfig):
        return own
    settings: Settings = own.model_dump(by_alias=True, exclude_unset=True) if own else {}
    settings["block"] = block or settings["block"]
    return source_config(_filled(SOURCE, settings))


def _filled(where: str, settings: Settings) -> Settings:
    """Replace `block` in a connection's settings by what the block holds, below what is set beside it."""
    if (reference := settings.get("block")) is None:
        return settings
    own = {name: value for name, value in settings.items() if name != "block"}
    block = _load(where, str(reference))
    try:
        return {**settings_of(block), **own}
    except SettingsInvalid as error:
        raise SettingsInvalid(f"{where}: block {reference!r}: {error}") from None


def _load(where: str, reference: str) -> Block:
    if reference.count("/") != 1:
        raise SettingsInvalid(
            f"{where}: block {reference!r} is not a block's type and name, such as aws-credentials/lake"
        )
    try:
        # The exception's text may quote the values that did not fit.
        return Block.load(reference)  # type: ignore[return-value]  # it may be awaited elsewhere, not here
    except (OSError, RuntimeError) as error:
        raise DestinationUnavailable(
            f"{where}: Prefect gave no block {reference!r}: {type(error).__name__}; is its server up?"
        ) from None
    except Exception as error:
        raise SettingsInvalid(
            f"{where}: no usable block {reference!r} in Prefect ({type(error).__name__}); "
            "correct the name, or create it with prefect block create"
        ) from None


def settings_of(block: Block) -> Settings:
    """Return a block's settings in the words of our own configurations; secrets stay `SecretStr`.

    Blocks of prefect-aws and prefect-sqlalchemy are translated; any other block has the names of its destination's
    configuration, so a plugin can bring a block of its own.

    Raises:
        SettingsInvalid: the block asks for something that the connection cannot do.
    """
    translate = _TRANSLATIONS.get(block.get_block_type_slug(), _own_names)
    return {name: value for name, value in translate(block).items() if value is not None}


def _own_names(block: Any) -> Settings:
    names = type(block).model_fields.keys() - Block.model_fields.keys()
    return {name: getattr(block, name) for name in names}


def _aws(block: Any) -> Settings:
    if block.profile_name or block.assume_role_arn:
        raise SettingsInvalid(
            "profile_name and assume_role_arn are not used; set them in the worker's environment (AWS_PROFILE, "
            "AWS_ROLE_ARN) and leave the block out, or give keys"
        )
    return {
        "access_key_id": _secret(block.aws_access_key_id),
        "secret_access_key": block.aws_secret_access_key,
        "session_token": _secret(block.aws_session_token),
        "region": block.region_name,
        **_client(block.aws_client_parameters),
    }


def _minio(block: Any) -> Settings:
    return {
        "access_key_id": _secret(block.minio_root_user),
        "secret_access_key": block.minio_root_password,
        "region": block.region_name,
        **_client(block.aws_client_parameters),
    }


def _client(parameters: Any) -> Settings:
    if parameters.verify is False:
        raise SettingsInvalid("verify: false is refused; name the certificate's authority in verify_cert_path")
    endpoint = parameters.endpoint_url
    # An address without TLS was chosen knowingly when the block says both.
    plain = True if endpoint and endpoint.startswith("http://") and not parameters.use_ssl else None
    authority = parameters.verify_cert_path
    return {"endpoint_url": endpoint, "ca_file": str(authority) if authority else None, "allow_http": plain}


def _sqlalchemy(block: Any) -> Settings:
    from sqlalchemy.engine import make_url

    info = block.connection_info
    url = make_url(info) if isinstance(info, str) else info.create_url()
    if url.get_backend_name() != "postgresql":
        raise SettingsInvalid(f"it is for {url.get_backend_name()}, not postgresql")
    return {
        "host": url.host,
        "port": url.port,
        "database": url.database,
        "user": url.username,
        "password": _secret(url.password),
        **url.query,
        **(block.connect_args or {}),
    }


def _secret(value: str | SecretStr | None) -> SecretStr | None:
    return SecretStr(value) if isinstance(value, str) else value


_TRANSLATIONS: Mapping[str, Callable[[Any], Settings]] = {
    "aws-credentials": _aws,
    "minio-credentials": _minio,
    "sqlalchemy-connector": _sqlalchemy,
}
