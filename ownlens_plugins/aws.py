"""Clients of an S3 store, with bounded waiting; without keys of their own they use those of boto3's AWS chain."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Any

import pyarrow.fs as pafs

ATTEMPTS = 3
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_ONE_AT_A_TIME = Lock()
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Keys as they are at this moment; the session token comes with temporary ones."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def chain_keys() -> AwsKeys:
    """Return the keys of the AWS chain: environment, profile files, single sign-on, or the machine's role.

    Temporary keys are renewed before they expire, so ask again for each piece of work.

    Raises:
        botocore.exceptions.NoCredentialsError: the chain has none.
    """
    from botocore.exceptions import NoCredentialsError

    found = _session(_environment()).get_credentials()
    if found is None:
        raise NoCredentialsError
    frozen = found.get_frozen_credentials()
    return AwsKeys(frozen.access_key, frozen.secret_key, frozen.token)


@dataclass(frozen=True, slots=True)
class Access:
    """All that a client depends on, with what the environment adds: equal ones share their clients. Times in seconds.

    `trusted` is the file of certificates (PEM) that stands in the place of the usual authorities.
    """

    keys: AwsKeys
    endpoint: str | None
    region: str
    trusted: str | None
    bucket_in_path: bool
    connect_timeout: int
    request_timeout: int

    def client(self, *, seconds: int | None = None, attempts: int = ATTEMPTS) -> Any:
        """Return a boto3 client that waits `seconds` for an answer, and tries each request so many times."""
        return _client(self, seconds or self.request_timeout, attempts)

    def filesystem(self) -> pafs.S3FileSystem:
        """Return Arrow's client, for data files."""
        return _filesystem(self)


@lru_cache(maxsize=32)
def _client(access: Access, seconds: int, attempts: int) -> Any:
    from botocore.config import Config

    return new_client(
        access.keys,
        endpoint_url=access.endpoint,
        verify=access.trusted,
        region_name=access.region,
        config=Config(
            connect_timeout=min(access.connect_timeout, seconds),
            read_timeout=seconds,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            s3={"addressing_style": "path" if access.bucket_in_path else "virtual"},
            max_pool_connections=32,
            ignore_configured_endpoint_urls=True,
        ),
    )


@lru_cache(maxsize=32)
def _filesystem(access: Access) -> pafs.S3FileSystem:
    scheme, _, host = (access.endpoint or "").rpartition("://")
    server = {"endpoint_override": host, "scheme": scheme or "https"} if access.endpoint else {}
    return pafs.S3FileSystem(
        access_key=access.keys.access_key,
        secret_key=access.keys.secret_key,
        session_token=access.keys.token,
        region=access.region,
        connect_timeout=access.connect_timeout,
        request_timeout=access.request_timeout,
        tls_ca_file_path=access.trusted,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        force_virtual_addressing=not access.bucket_in_path,
        # Small files become one put; a multipart upload costs three requests and leaves parts behind a crash.
        allow_delayed_open=True,
        **server,
    )


def new_client(keys: AwsKeys, **settings: Any) -> Any:
    """Return a new boto3 client of S3 for these keys. The description of S3, which takes long to read, is shared."""
    with _ONE_AT_A_TIME:  # boto3 promises threads nothing while it makes clients
        return _descriptions().client(
            "s3",
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.token,
            **settings,
        )


@lru_cache(maxsize=1)
def _descriptions() -> Any:
    import boto3

    return boto3.session.Session()


def environment_endpoint() -> str | None:
    """Return the S3 server that the environment names, if it does."""
    return _first(_ENDPOINTS)


def chain_region() -> str:
    """Return the region of the environment or of its profile file; the one that S3 itself assumes without any."""
    return _first(_REGIONS) or _session(_environment()).region_name or "us-east-1"


def environment_ca() -> str | None:
    """Return the file of certificates (PEM) that the environment trusts for AWS."""
    return _first(("AWS_CA_BUNDLE",))


def _first(names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


def _environment() -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))


@lru_cache(maxsize=4)
def _session(environment: frozenset[tuple[str, str]]) -> Any:  # noqa: ARG001  # another environment, another session
    import boto3

    return boto3.session.Session()
