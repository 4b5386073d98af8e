"""Files of staged sets on an S3 store, reached as the environment's AWS chain says, with bounded waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs

from .aws import Access, chain_keys, chain_region, environment_ca, environment_endpoint
from .errors import OwnLensError, Rejected
from .storage_failures import Place, explain

_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 30
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}
_STAGING = Place(
    uri="the profile's staging",
    keys="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    endpoint="AWS_ENDPOINT_URL",
    certificates="AWS_CA_BUNDLE",
)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn the errors of drivers and the operating system into the engine's own; `where` is what could not be done."""
    try:
        yield
    except OwnLensError:
        raise
    except Exception as error:
        raise explain(error, where, _STAGING) from error


@contextmanager
def reading_part(uri: str) -> Iterator[None]:
    """Explain why a staged part cannot be read."""
    with explained(f"{uri}: the staged part could not be read"):
        try:
            yield
        except FileNotFoundError as error:
            raise Rejected(
                f"{uri}: the staged part is gone from the store; load the table with --full-refresh"
            ) from error


def _access() -> Access:
    endpoint = environment_endpoint()
    return Access(
        chain_keys(),
        endpoint,
        chain_region(),
        environment_ca(),
        bucket_in_path=endpoint is not None,
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_ANSWER_SECONDS,
    )


def s3_filesystem() -> pafs.S3FileSystem:
    """Return the Arrow file system of the store that the environment names.

    Raises:
        botocore.exceptions.NoCredentialsError: the AWS chain has no keys.
    """
    return _access().filesystem()


@dataclass(frozen=True)
class S3Folder:
    """A prefix of a bucket. Exclusive creation is a conditional put (`If-None-Match: *`)."""

    root: str

    @property
    def _s3(self) -> Any:
        return _access().client()

    def uri(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def create(self, name: str, content: bytes) -> bool:
        """Put an object if the name is free. False may also mean that an earlier try of this very call landed."""
        bucket, key = self._place(name)
        client = self._s3
        try:
            client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in _TAKEN:
                return False
            raise
        return True

    def put(self, name: str, content: bytes) -> None:
        bucket, key = self._place(name)
        self._s3.put_object(Bucket=bucket, Key=key, Body=content)

    def read(self, name: str) -> bytes | None:
        bucket, key = self._place(name)
        client = self._s3
        try:
            content: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except client.exceptions.NoSuchKey:
            return None
        return content

    def folders(self, prefix: str, *, after: str = "") -> list[str]:
        """Return the last segments of the folders right below a prefix; those behind `after` alone."""
        options = {"StartAfter": self._place(f"{prefix}/{after}")[1]} if after else {}
        pages = self._pages(prefix, Delimiter="/", **options)
        found = (item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ()))
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)

    def list(self, prefix: str, *, after: str = "") -> list[str]:
        start = len(self._place("")[1])
        options = {"StartAfter": self._place(after)[1]} if after else {}
        pages = self._pages(prefix, **options)
        return sorted(item["Key"][start:] for page in pages for item in page.get("Contents", ()))

    def _pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        bucket, key = self._place(prefix)
        pages: Any = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{key}/", **options)
        yield from pages

    def delete(self, name: str) -> None:
        bucket, key = self._place(name)
        self._s3.delete_object(Bucket=bucket, Key=key)

    def remove(self, prefix: str) -> None:
        bucket, _ = self._place("")
        for name in self.list(prefix):
            self._s3.delete_object(Bucket=bucket, Key=self._place(name)[1])

    def _place(self, name: str) -> tuple[str, str]:
        bucket, _, prefix = self.root.split("://", 1)[1].rstrip("/").partition("/")
        return bucket, f"{prefix}/{name}" if prefix else name
