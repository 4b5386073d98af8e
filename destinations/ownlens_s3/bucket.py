"""The three clients that speak to an S3 server, all set up from one configuration with bounded waiting."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import getproxies_environment

import pyarrow.fs as pafs
from botocore.exceptions import ClientError

from ownlens_plugins.aws import ATTEMPTS, Access, AwsKeys, chain_keys

from .config import S3Config

_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}
_KEYS_PER_DELETE = 1000
_DELTA_TOKEN = "AWS_SESSION_TOKEN"
_EVERY_HOST = "*,0.0.0.0/0,::/0"


def _keys(config: S3Config) -> AwsKeys:
    if config.access_key_id is None or config.secret_access_key is None:
        return chain_keys()
    token = None if config.session_token is None else config.session_token.get_secret_value()
    return AwsKeys(config.access_key_id.get_secret_value(), config.secret_access_key.get_secret_value(), token)


def _access(config: S3Config) -> Access:
    return Access(
        _keys(config),
        config.endpoint,
        config.region_name,
        config.trusted,
        config.bucket_in_path,
        config.connect_timeout,
        config.request_timeout,
    )


def arrow_filesystem(config: S3Config) -> pafs.S3FileSystem:
    """Return the file system that data files are written and read through."""
    return _access(config).filesystem()


def delta_options(config: S3Config) -> dict[str, str]:
    """Return delta-rs's storage options. Commits are conditional puts; an unsafe rename is never allowed."""
    keys = _keys(config)
    endpoint = _delta_endpoint(config)
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        # delta-rs would add the environment's token to keys that it does not belong to.
        **({_DELTA_TOKEN: keys.token or ""} if keys.token or _DELTA_TOKEN in os.environ else {}),
        **({} if endpoint is None else {"AWS_ENDPOINT_URL": endpoint}),
        **_delta_trust(config),
        "AWS_REGION": config.region_name,
        "AWS_ALLOW_HTTP": str(config.allow_http).lower(),
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(not config.bucket_in_path).lower(),
        "aws_conditional_put": "etag",
        "connect_timeout": f"{config.connect_timeout}s",
        "timeout": f"{config.request_timeout}s",
        "max_retries": str(ATTEMPTS - 1),
        "retry_timeout": f"{2 * config.request_timeout}s",
    }


def _delta_endpoint(config: S3Config) -> str | None:
    endpoint = config.endpoint
    if endpoint is None or config.bucket_in_path:
        return endpoint
    scheme, _, host = endpoint.rpartition("://")  # delta-rs wants the bucket in the host already
    return f"{scheme or 'https'}://{config.bucket}.{host}"


def _delta_trust(config: S3Config) -> dict[str, str]:
    """Return the options that make delta-rs trust certificates beside the system's.

    Its only option for them belongs to a proxy, yet counts for every connection of the store. So it gets a proxy: the
    environment's, or one that no host may use. The variable SSL_CERT_FILE would replace the system's certificates, and
    for all destinations of the process.
    """
    if config.trusted is None:
        return {}
    proxies = getproxies_environment()
    proxy, excluded = proxies.get("https") or proxies.get("all"), proxies.get("no")
    return {
        "proxy_url": proxy or "http://127.0.0.1:9",
        "proxy_excludes": (excluded or "") if proxy else _EVERY_HOST,
        "proxy_ca_certificate": Path(config.trusted).read_text(encoding="ascii", errors="replace"),
    }


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
    attempts: int = ATTEMPTS

    @property
    def _s3(self) -> Any:
        return _access(self.config).client(seconds=self.seconds, attempts=self.attempts)

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
            done = self._s3.delete_objects(Bucket=self.config.bucket, Delete={"Objects": objects, "Quiet": True})
            if refused := done.get("Errors"):  # the request as a whole succeeds
                raise ClientError({"Error": refused[0]}, "DeleteObjects")

    def abort_uploads(self, keys: Iterable[str]) -> None:
        """Let the store forget the parts that were uploaded for these objects."""
        place = {"Bucket": self.config.bucket}
        for key in keys:  # MinIO lists the uploads of one object only
            for upload in self._s3.list_multipart_uploads(**place, Prefix=key).get("Uploads", ()):
                self._s3.abort_multipart_upload(**place, Key=upload["Key"], UploadId=upload["UploadId"])

    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the sizes of those objects that exist; the requests overlap."""
        wanted = list(keys)
        with ThreadPoolExecutor(max_workers=16) as pool:
            found = zip(wanted, pool.map(self.size, wanted), strict=True)
            return {key: size for key, size in found if size is not None}


def _is(error: ClientError, codes: set[str]) -> bool:
    return str(error.response.get("Error", {}).get("Code")) in codes
