"""Files of staged sets, on a local folder or an `s3://` prefix, behind one small interface."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from .object_store import S3Folder, reading_part, s3_filesystem

S3_SCHEMES = ("s3://", "s3a://")


def is_s3(uri: str) -> bool:
    """Tell whether a URI names an object store rather than a local path."""
    return uri.startswith(S3_SCHEMES)


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the Arrow file system of a URI and the path inside it.

    S3 takes its credentials, region and endpoint from the environment's AWS chain
    (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, ...).
    """
    if not is_s3(uri):
        return pafs.LocalFileSystem(), str(Path(uri).absolute())
    return s3_filesystem(), uri.split("://", 1)[1]


def read_parquet(uri: str, *, columns: Sequence[str] | None, rows_per_batch: int) -> Iterator[pa.RecordBatch]:
    """Stream a Parquet file's rows; memory stays at a few batches."""
    with ExitStack() as opened:
        if is_s3(uri):
            opened.enter_context(reading_part(uri))
        where, path = filesystem(uri)
        source = opened.enter_context(where.open_input_file(path))
        file = opened.enter_context(pq.ParquetFile(source, pre_buffer=True))
        yield from file.iter_batches(batch_size=rows_per_batch, columns=None if columns is None else list(columns))


class ObjectFolder(Protocol):
    """A folder of immutable objects in which a new name can be claimed by exactly one writer."""

    @property
    def root(self) -> str: ...

    def uri(self, name: str) -> str: ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a new object durably; return False, without a change, when the name is taken."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write an object, replacing an older one in one step."""
        ...

    def read(self, name: str) -> bytes | None: ...

    def folders(self, prefix: str, *, after: str = "") -> list[str]:
        """Return the last segments of the folders right below a prefix, sorted; those behind `after` alone."""
        ...

    def list(self, prefix: str, *, after: str = "") -> list[str]:
        """Return the names (relative to the root) of all objects below a prefix, sorted; those behind `after` alone."""
        ...

    def delete(self, name: str) -> None:
        """Delete one object, if it is there."""
        ...

    def remove(self, prefix: str) -> None: ...


@dataclass(frozen=True)
class LocalFolder:
    """A directory. Exclusive creation is a hard link from a synced temporary file, so no reader sees half a file."""

    root: str

    def uri(self, name: str) -> str:
        return str(Path(self.root).absolute() / name)

    def create(self, name: str, content: bytes) -> bool:
        target = Path(self.uri(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            _write_synced(draft, content)
            os.link(draft, target)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(target.parent)
        return True

    def put(self, name: str, content: bytes) -> None:
        target = Path(self.uri(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            _write_synced(draft, content)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        try:
            return Path(self.uri(name)).read_bytes()
        except FileNotFoundError:
            return None

    def folders(self, prefix: str, *, after: str = "") -> list[str]:
        _, names, _ = next(os.walk(self.uri(prefix)), ("", [], []))
        return sorted(name for name in names if name > after)

    def list(self, prefix: str, *, after: str = "") -> list[str]:
        base = str(Path(self.root).absolute())
        folders = ((os.path.relpath(folder, base), names) for folder, _, names in os.walk(os.path.join(base, prefix)))
        found = (f"{folder}/{name}" for folder, names in folders for name in names if not name.startswith("."))
        return sorted(name for name in found if name > after)

    def delete(self, name: str) -> None:
        target = Path(self.uri(name))
        target.unlink(missing_ok=True)
        if target.parent.exists():
            # Only then may what the object named go as well.
            _sync_folder(target.parent)

    def remove(self, prefix: str) -> None:
        shutil.rmtree(self.uri(prefix), ignore_errors=True)


def publish_folder(draft: Path, target: Path) -> None:
    """Give a finished folder of the same file system its final name, durably; its files must be synced already."""
    _sync_folder(draft)
    draft.rename(target)
    _sync_folder(target.parent)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def object_folder(uri: str) -> ObjectFolder:
    """Return the folder for a local path or an `s3://bucket/prefix` URI."""
    return S3Folder(uri.replace("s3a://", "s3://", 1)) if is_s3(uri) else LocalFolder(uri)
