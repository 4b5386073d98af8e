"""What each kind of block gives to a connection; on a server, `tests/prefect` loads through them."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect_aws import AwsClientParameters, AwsCredentials, MinIOCredentials
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pydantic import SecretStr

from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_flows.blocks import ClickHouseCredentials, settings_of, with_blocks
from ownlens_plugins.errors import DestinationUnavailable, SettingsInvalid
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import PostgreSQLSourceConfig, Profile
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_s3.config import S3Config

SECRET = "p@ss:w/%'\""


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in settings.items()
    }


def connector(**parts: Any) -> SqlAlchemyConnector:
    return SqlAlchemyConnector(connection_info=ConnectionComponents(driver="postgresql+psycopg", **parts))


def test_an_aws_block_gives_keys_token_and_region() -> None:
    block = AwsCredentials(
        aws_access_key_id="id", aws_secret_access_key=SECRET, aws_session_token=SECRET, region_name="eu-west-1"
    )
    found = settings_of(block)
    S3Config(uri="s3://lake/x", **found)
    assert plain(found) == {
        "access_key_id": "id", "secret_access_key": SECRET, "session_token": SECRET, "region": "eu-west-1"
    }  # fmt: skip
    assert SECRET not in repr(found)


def test_an_aws_block_without_keys_leaves_them_to_the_environment() -> None:
    assert settings_of(AwsCredentials()).keys() <= {"region"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"profile_name": "prod"}, "AWS_PROFILE"),
        ({"assume_role_arn": "arn:aws:iam::1:role/x"}, "AWS_ROLE_ARN"),
        ({"aws_client_parameters": AwsClientParameters(verify=False)}, "verify_cert_path"),
    ],
)
def test_what_an_aws_block_asks_for_in_vain_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        settings_of(AwsCredentials(**fields))


@pytest.mark.parametrize(("use_ssl", "allowed"), [(False, {"allow_http": True}), (True, {})])
def test_a_minio_block_says_whether_plain_http_is_meant(use_ssl: bool, allowed: dict[str, bool]) -> None:
    place = AwsClientParameters(endpoint_url="http://minio:9000", use_ssl=use_ssl)
    block = MinIOCredentials(minio_root_user="id", minio_root_password=SECRET, aws_client_parameters=place)
    assert plain(settings_of(block)) == {
        "access_key_id": "id", "secret_access_key": SECRET, "endpoint_url": "http://minio:9000", **allowed
    }  # fmt: skip


@pytest.mark.parametrize("config", [PostgreSQLConfig, PostgreSQLSourceConfig])
def test_a_connector_of_parts_gives_its_parts_and_options(config: type[Any]) -> None:
    parts = {"host": "db", "port": 6432, "database": "newsroom", "username": "loader", "password": SecretStr(SECRET)}
    found = settings_of(connector(**parts, query={"sslmode": "verify-full"}))
    made = config.model_validate(found)
    assert (made.host, made.port, made.database, made.user) == ("db", 6432, "newsroom", "loader")
    assert (made.password.get_secret_value(), made.sslmode) == (SECRET, "verify-full")


def test_a_connector_of_an_address_gives_the_same() -> None:
    address = "postgresql+psycopg://loader:p%40ss%3Aw%2F%25@db:6432/newsroom?sslmode=require"
    found = plain(settings_of(SqlAlchemyConnector(connection_info=address)))
    assert found == {
        "host": "db", "port": 6432, "database": "newsroom", "user": "loader", "password": "p@ss:w/%",
        "sslmode": "require",
    }  # fmt: skip


def test_a_connector_for_another_database_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="it is for sqlite, not postgresql"):
        settings_of(SqlAlchemyConnector(connection_info="sqlite:///x.db"))


def test_a_clickhouse_block_has_the_names_of_the_configuration() -> None:
    block = ClickHouseCredentials(host="ch", port=8443, user="loader", password=SecretStr(SECRET), secure=True)
    made = ClickHouseConfig(**settings_of(block))
    assert (made.host, made.port, made.user, made.secure) == ("ch", 8443, "loader", True)
    assert made.password is not None
    assert made.password.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OSError("no route"), DestinationUnavailable),
        (RuntimeError("not up"), DestinationUnavailable),
        (ValueError(f"no block {SECRET}"), SettingsInvalid),
    ],
)
def test_a_block_that_cannot_be_read_is_named_and_its_values_are_not(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, kind: type[Exception]
) -> None:
    def refuse(*_: Any) -> Block:
        raise raised

    monkeypatch.setattr(Block, "load", refuse)
    profile = Profile(destinations={"s3": {"uri": "s3://lake/x", "block": "aws-credentials/lake"}})
    with pytest.raises(kind, match="aws-credentials/lake") as failed:
        with_blocks(profile, {}, Registry())
    assert SECRET not in str(failed.value)


def test_a_block_without_a_type_is_refused() -> None:
    profile = Profile(destinations={"s3": {"uri": "s3://lake/x", "block": "lake"}})
    with pytest.raises(SettingsInvalid, match="not a block's type and name"):
        with_blocks(profile, {}, Registry())
