"""The environment's own AWS chain: every S3 client gets the keys that boto3 finds, and the same endpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import Any

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
