"""The three clients that speak to an S3 server, all set up from one configuration with bounded waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import boto3
import pyarrow.fs as pafs
from botocore.config import Config
from botocore.exceptions import ClientError

from .config import MAX_RETRIES, S3Config

_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}
_KEYS_PER_DELETE = 1000


def _secret(value: Any) -> str | None:
    return None if value is None else value.get_secret_value()


@lru_cache(maxsize=32)
def _client(config: S3Config, endpoint: str | None, seconds: int, attempts: int) -> Any:
    style = "path" if config.bucket_in_path else "virtual"
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        verify=str(config.ca_file) if config.ca_file else None,
        region_name=config.region_name,
        aws_access_key_id=_secret(config.access_key_id),
        aws_secret_access_key=_secret(config.secret_access_key),
        aws_session_token=_secret(config.session_token),
        config=Config(
            connect_timeout=min(config.connect_timeout, seconds),
            read_timeout=seconds,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            s3={"addressing_style": style},
            max_pool_connections=32,
        ),
    )


@lru_cache(maxsize=32)
def _filesystem(config: S3Config, endpoint: str | None) -> pafs.S3FileSystem:
    scheme, _, host = (endpoint or "").rpartition("://")
    server = {"endpoint_override": host, "scheme": scheme or "https"} if endpoint else {}
    return pafs.S3FileSystem(
        access_key=_secret(config.access_key_id),
        secret_key=_secret(config.secret_access_key),
        session_token=_secret(config.session_token),
        region=config.region_name,
        connect_timeout=config.connect_timeout,
        request_timeout=config.request_timeout,
        tls_ca_file_path=str(config.ca_file) if config.ca_file else None,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=MAX_RETRIES + 1),
        force_virtual_addressing=not config.bucket_in_path,
        # Small files become one put; a multipart upload costs three requests and leaves parts behind a crash.
        allow_delayed_open=True,
        **server,
    )


def arrow_filesystem(config: S3Config) -> pafs.S3FileSystem:
    """Return the file system that data files are written and read through."""
    return _filesystem(config, config.endpoint)


def delta_options(config: S3Config) -> dict[str, str]:
    """Return delta-rs's storage options. Commits are conditional puts; an unsafe rename is never allowed."""
    secrets = {
        "AWS_ACCESS_KEY_ID": _secret(config.access_key_id),
        "AWS_SECRET_ACCESS_KEY": _secret(config.secret_access_key),
        "AWS_SESSION_TOKEN": _secret(config.session_token),
        "AWS_ENDPOINT_URL": _delta_endpoint(config),
    }
    return {
        **{name: value for name, value in secrets.items() if value is not None},
        "AWS_REGION": config.region_name,
        "AWS_ALLOW_HTTP": str(config.allow_http).lower(),
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(not config.bucket_in_path).lower(),
        "aws_conditional_put": "etag",
        "connect_timeout": f"{config.connect_timeout}s",
        "timeout": f"{config.request_timeout}s",
        "max_retries": str(MAX_RETRIES),
        "retry_timeout": f"{2 * config.request_timeout}s",
    }


def _delta_endpoint(config: S3Config) -> str | None:
    endpoint = config.endpoint
    if endpoint is None or config.bucket_in_path:
        return endpoint
    scheme, _, host = endpoint.rpartition("://")  # delta-rs wants the bucket in the host already
    return f"{scheme or 'https'}://{config.bucket}.{host}"


@dataclass(frozen=True, slots=True)
class Item:
    """One object; `modified` in seconds since 1970."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True)
class Bucket:
    """The object operations that need more than a file system offers: conditional puts, listings, deletes."""

    config: S3Config
    seconds: int | None = None
    attempts: int = MAX_RETRIES + 1

    @property
    def _s3(self) -> Any:
        return _client(self.config, self.config.endpoint, self.seconds or self.config.request_timeout, self.attempts)

    def get(self, key: str) -> bytes | None:
        try:
            content: bytes = self._s3.get_object(Bucket=self.config.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if _is(error, _ABSENT):
                return None
            raise
        return content

    def size(self, key: str) -> int | None:
        try:
            return int(self._s3.head_object(Bucket=self.config.bucket, Key=key)["ContentLength"])
        except ClientError as error:
            if _is(error, _ABSENT):
                return None
            raise

    def put(self, key: str, content: bytes) -> None:
        self._s3.put_object(Bucket=self.config.bucket, Key=key, Body=content)

    def put_new(self, key: str, content: bytes) -> bool:
        """Put an object if the key is free. False may also mean that an earlier try of this very call landed."""
        try:
            self._s3.put_object(Bucket=self.config.bucket, Key=key, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if _is(error, _TAKEN):
                return False
            raise
        return True

    def list(self, prefix: str, *, most: int | None = None) -> Iterator[Item]:
        """Yield the objects below a prefix, in order of their keys."""
        limit = {} if most is None else {"PaginationConfig": {"MaxItems": most, "PageSize": most}}
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.config.bucket, Prefix=prefix, **limit)
        for page in pages:
            for item in page.get("Contents", ()):
                yield Item(item["Key"], int(item["Size"]), item["LastModified"].timestamp())

    def delete(self, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), _KEYS_PER_DELETE):
            objects = [{"Key": key} for key in keys[first : first + _KEYS_PER_DELETE]]
            self._s3.delete_objects(Bucket=self.config.bucket, Delete={"Objects": objects, "Quiet": True})

    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the sizes of those objects that exist; the requests overlap."""
        wanted = list(keys)
        with ThreadPoolExecutor(max_workers=16) as pool:
            found = zip(wanted, pool.map(self.size, wanted), strict=True)
            return {key: size for key, size in found if size is not None}


def _is(error: ClientError, codes: set[str]) -> bool:
    return str(error.response.get("Error", {}).get("Code")) in codes
