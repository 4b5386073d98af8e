"""One table's folder in the lake: the same few operations on a local directory and on a bucket's prefix."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs as pafs
from botocore.exceptions import BotoCoreError, ClientError

from .bucket import Bucket, arrow_filesystem, delta_options
from .config import S3Config

# Ours, and delta-rs's. A draft is put in place within moments, so one of yesterday was left by a crash.
_DRAFT = re.compile(r"\.[^/]+\.[0-9a-f]{16}|[^/]+#\d+")
DRAFT_SECONDS = 24 * 3600
_GIVE_UP_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """A file below the folder; `name` is relative to it, `size` in bytes, `modified` in seconds since 1970."""

    name: str
    size: int
    modified: float


class TableFolder(Protocol):
    """Files of one table. Names are relative, with forward slashes."""

    @property
    def uri(self) -> str: ...

    @property
    def storage_options(self) -> dict[str, str]: ...

    def read(self, name: str) -> bytes | None: ...

    def put(self, name: str, content: bytes) -> None:
        """Write a whole file, replacing an older one."""
        ...

    def put_new(self, name: str, content: bytes) -> bool:
        """Write a file durably if the name is free, in one step; return whether it was."""
        ...

    def entries(self, below: str = "") -> list[Entry]:
        """Return all files below a sub-folder, in all depths, sorted by name."""
        ...

    def has_files(self, below: str) -> bool: ...

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Return the sizes of those files that exist."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; names that are gone already are no error."""
        ...

    def abandon(self, names: Iterable[str]) -> None:
        """Give up what a store keeps of files that were begun and not finished, if it can be reached."""
        ...

    def clear_drafts(self, below: Iterable[str]) -> None:
        """Delete what crashes left of files that were not put in place, right in these sub-folders."""
        ...

    def sync(self, names: Iterable[str]) -> None:
        """Make written files survive a power failure."""
        ...

    def open_output(self, name: str) -> pa.NativeFile: ...

    def open_input(self, name: str) -> pa.NativeFile: ...


def table_folder(config: S3Config, path: str) -> TableFolder:
    """Return the folder of a contract's path below the lake's root."""
    if config.is_s3:
        return BucketFolder(config, f"{config.prefix}/{path}" if config.prefix else path)
    return LocalFolder(Path(config.uri) / path)


@dataclass(frozen=True)
class LocalFolder:
    """A directory. New names are claimed by a hard link, so no reader ever sees half a file."""

    root: Path

    @property
    def uri(self) -> str:
        return str(self.root)

    @property
    def storage_options(self) -> dict[str, str]:
        return {}

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, content: bytes) -> None:
        draft = self._draft(name, content)
        os.replace(draft, self.root / name)

    def put_new(self, name: str, content: bytes) -> bool:
        draft = self._draft(name, content)
        try:
            os.link(draft, self.root / name)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        _sync(draft.parent)
        return True

    def _draft(self, name: str, content: bytes) -> Path:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return draft

    def entries(self, below: str = "") -> list[Entry]:
        entries: list[Entry] = []
        for folder, _, names in os.walk(self.root / below):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    entries.append(Entry(path.relative_to(self.root).as_posix(), status.st_size, status.st_mtime))
        return sorted(entries, key=lambda entry: entry.name)

    def has_files(self, below: str) -> bool:
        return any(names for _, _, names in os.walk(self.root / below))

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes[name] = (self.root / name).stat().st_size
        return sizes

    def delete(self, names: Iterable[str]) -> None:
        folders = set()
        for name in names:
            (self.root / name).unlink(missing_ok=True)
            folders.add((self.root / name).parent)
        for folder in folders - {self.root}:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()

    def abandon(self, names: Iterable[str]) -> None:
        """Do nothing: what was begun is a file like any other."""

    def clear_drafts(self, below: Iterable[str]) -> None:
        before = time.time() - DRAFT_SECONDS
        for folder in (self.root / name for name in below):
            with contextlib.suppress(FileNotFoundError):
                for name in filter(_DRAFT.fullmatch, os.listdir(folder)):
                    if (folder / name).stat().st_mtime < before:
                        (folder / name).unlink(missing_ok=True)

    def sync(self, names: Iterable[str]) -> None:
        paths = [self.root / name for name in names]
        for path in [*paths, *{path.parent for path in paths}]:
            # Another attempt of this load may have committed and cleared the file; the commit checks that.
            with contextlib.suppress(FileNotFoundError):
                _sync(path)

    def open_output(self, name: str) -> pa.NativeFile:
        path = self.root / name
        for _ in range(8):  # another attempt's clearing may remove the folder while it is still empty
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                return pafs.LocalFileSystem().open_output_stream(str(path), compression=None)
        raise FileNotFoundError(str(path))

    def open_input(self, name: str) -> pa.NativeFile:
        return pafs.LocalFileSystem().open_input_file(str(self.root / name))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class BucketFolder:
    """A prefix of a bucket. New names are claimed by a conditional put."""

    config: S3Config
    prefix: str

    @property
    def uri(self) -> str:
        return f"s3://{self.config.bucket}/{self.prefix}"

    @property
    def storage_options(self) -> dict[str, str]:
        return delta_options(self.config)

    @property
    def _bucket(self) -> Bucket:
        return Bucket(self.config)

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def read(self, name: str) -> bytes | None:
        return self._bucket.get(self._key(name))

    def put(self, name: str, content: bytes) -> None:
        self._bucket.put(self._key(name), content)

    def put_new(self, name: str, content: bytes) -> bool:
        return self._bucket.put_new(self._key(name), content)

    def entries(self, below: str = "") -> list[Entry]:
        start = len(self.prefix) + 1
        found = self._bucket.list(self._key(f"{below.rstrip('/')}/" if below else ""))
        entries = (Entry(item.key[start:], item.size, item.modified) for item in found)
        return sorted(entries, key=lambda entry: entry.name)

    def has_files(self, below: str) -> bool:
        return next(iter(self._bucket.list(self._key(f"{below.rstrip('/')}/"), most=1)), None) is not None

    def sizes(self, names: Iterable[str]) -> dict[str, int]:
        start = len(self.prefix) + 1
        found = self._bucket.sizes(self._key(name) for name in names)
        return {key[start:]: size for key, size in found.items()}

    def delete(self, names: Iterable[str]) -> None:
        self._bucket.delete([self._key(name) for name in names])

    def abandon(self, names: Iterable[str]) -> None:
        # The network may be down, and the right to list uploads is not needed for loads.
        with contextlib.suppress(BotoCoreError, ClientError):
            Bucket(self.config, seconds=_GIVE_UP_SECONDS, attempts=1).abort_uploads([self._key(name) for name in names])

    def clear_drafts(self, below: Iterable[str]) -> None:
        """Do nothing: an object is there as a whole or not at all."""

    def sync(self, names: Iterable[str]) -> None:
        """Do nothing: an object store answers a put when the object is durable."""

    def open_output(self, name: str) -> pa.NativeFile:
        return arrow_filesystem(self.config).open_output_stream(
            f"{self.config.bucket}/{self._key(name)}", compression=None
        )

    def open_input(self, name: str) -> pa.NativeFile:
        return arrow_filesystem(self.config).open_input_file(f"{self.config.bucket}/{self._key(name)}")
