"""Find the files of a table in a folder, and refuse what lies there and would be passed over or read twice."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from errno import ELOOP
from urllib.parse import unquote

from ...errors import Retryable, SourceInvalid
from .file_names import FORMATS, READ, hidden, shown, split_name

# Formats that keep files which are no longer, or not yet, part of their table.
_TABLE_LOGS = {"_delta_log": "Delta", ".hoodie": "Hudi"}
Partition = tuple[tuple[str, str | None], ...]
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a file system says of a file; it changes when the file is written to or replaced."""

    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a table as it was when it was listed.

    `name` is relative to the source's folder. `partition` holds what the folders `<column>=<value>` above it say.
    """

    path: str
    name: str
    format: str
    codec: str | None
    partition: Partition
    mark: Mark

    @property
    def fingerprint(self) -> str:
        """Size and time of the last write: another text when the file was written again."""
        return f"{self.mark.size}-{self.mark.mtime_ns}"

    @property
    def unchanged(self) -> bool:
        """Whether the file is still the one that was listed."""
        try:
            return _mark(os.stat(self.path)) == self.mark
        except OSError:
            return False


def list_files(folder: str, table: str) -> tuple[SourceFile, ...]:
    """Return a table's files, in the order of their names: `<table>.<suffix>`, or all below the folder `<table>/`.

    Raises:
        SourceInvalid: there are none, or something lies there that would be passed over, read twice or not at all.
        Retryable: something vanished meanwhile.
    """
    try:
        name = _entry(folder, table)
        files = tuple(_Walk(folder, table).files(os.path.join(folder, name), name))
    except FileNotFoundError as error:
        raise _vanished(table, folder, error) from error
    except OSError as error:
        raise SourceInvalid(
            f"{table}: cannot list {shown(str(error.filename or folder))}: {error.strerror}; "
            "give the right to read it, or check the profile's folder"
        ) from error
    if not files:
        raise SourceInvalid(
            f"{table}: no file in {folder}/{name}/; put one there ({READ}), or leave the table out with --tables"
        )
    _check_one_format(table, files)
    _check_each_once(table, files)
    return files


def _vanished(table: str, folder: str, error: FileNotFoundError) -> Exception:
    if not os.path.isdir(folder):
        return SourceInvalid(f"{table}: the folder {folder} does not exist; make it, or check the profile's folder")
    return Retryable(f"{table}: {shown(str(error.filename))} vanished while it was read; run it again")


def _entry(folder: str, table: str) -> str:
    """Return the name of the one file or folder in which a table lies."""
    claimed = [name for name in sorted(os.listdir(folder)) if _claims(name, table)]
    stems = {name: _stem(name, os.path.join(folder, name)) for name in claimed}
    holding = [name for name, stem in stems.items() if stem.casefold() == _normal(table).casefold()]
    if len(holding) > 1:
        raise SourceInvalid(
            f"{table}: {_both(holding)} both lie in {folder} and could be the table; keep one of them, or put files of "
            f"one format together into {table}/"
        )
    if passed_over := [name for name in claimed if name not in holding]:
        raise _passed_over(folder, table, passed_over[0])
    if not holding or stems[holding[0]] != _normal(table):
        raise _absent(folder, table, holding)
    return holding[0]


def _claims(name: str, table: str) -> bool:
    # A name like `things.2026.csv` or `things.csv.tmp` is taken for a part of `things` that would be passed over.
    plain = _normal(name).casefold()
    wanted = _normal(table).casefold()
    return plain == wanted or (plain.startswith(f"{wanted}.") and not plain.endswith(".crc"))


def _stem(name: str, path: str) -> str:
    parts = split_name(name)
    return _normal(name if parts is None or os.path.isdir(path) else parts.stem)


def _normal(name: str) -> str:
    # File systems of macOS write é as two characters.
    return unicodedata.normalize("NFC", name)


def _absent(folder: str, table: str, holding: list[str]) -> SourceInvalid:
    near = f"; {shown(holding[0])} is spelled otherwise" if holding else ""
    return SourceInvalid(
        f"{table}: no file {table}{FORMATS} and no folder {table}/ in {folder}{near}; "
        "put one there, or leave the table out with --tables"
    )


def _both(names: Iterable[str]) -> str:
    first, second, *_ = names
    return f"{shown(first)} and {shown(second)}"


def _passed_over(folder: str, table: str, name: str) -> SourceInvalid:
    if os.path.isdir(os.path.join(folder, name)):
        return SourceInvalid(
            f"{table}: {shown(name)} in {folder} is a folder with the name of a file; rename it, "
            f"to {table} if it holds the table's files"
        )
    return _unread(table, name)


def _unread(table: str, name: str) -> SourceInvalid:
    return SourceInvalid(
        f"{table}: {shown(name)} lies among the table's files and would not be read; move it away, or give it a name "
        f"that is read ({READ}); names that begin with . or _ are passed over"
    )


class _Walk:
    """Goes through a table's folder and its subfolders."""

    def __init__(self, folder: str, table: str) -> None:
        self._folder, self._table = folder, table
        self._above: list[tuple[int, int]] = []

    def files(self, path: str, name: str, partition: Partition = ()) -> Iterator[SourceFile]:
        """Yield the file at a path, or all files below it, by name."""
        found = self._stat(path, name)
        parts = split_name(os.path.basename(name))
        if stat.S_ISDIR(found.st_mode):
            if parts is not None:
                raise self._refused(name, "is a folder with the name of a file", "rename it")
            # The table's own folder is no partition, whatever its name.
            inside = partition + self._value(name) if self._above else partition
            yield from self._below(path, name, inside, (found.st_dev, found.st_ino))
            return
        self._check_name(name)
        if parts is None:
            raise _unread(self._table, name)
        self._check_content(name, found)
        yield SourceFile(path, name, parts.format, parts.codec, partition, _mark(found))

    def _below(self, path: str, name: str, partition: Partition, itself: tuple[int, int]) -> Iterator[SourceFile]:
        if itself in self._above:
            raise self._refused(name, "is a link that leads back to a folder above it", "remove the link")
        self._above.append(itself)
        for inner in sorted(os.listdir(path)):
            if inner in _TABLE_LOGS:
                raise self._table_log(name, _TABLE_LOGS[inner])
            if not hidden(inner, os.path.join(path, inner)):
                yield from self.files(os.path.join(path, inner), f"{name}/{inner}", partition)
        self._above.pop()

    def _value(self, name: str) -> Partition:
        column, sign, value = os.path.basename(name).partition("=")
        if not sign:
            return ()
        try:
            return ((unquote(column), None if value == _NO_VALUE else unquote(value, errors="strict")),)
        except UnicodeDecodeError:
            raise self._refused(name, "has a value that is not UTF-8 text", "rename it") from None

    def _table_log(self, name: str, kind: str) -> SourceInvalid:
        return self._refused(
            name,
            f"is a {kind} table, whose folder also keeps files with rows that are gone",
            "export its rows to plain files, or hand them in with load_frame",
        )

    def _stat(self, path: str, name: str) -> os.stat_result:
        try:
            return os.stat(path)
        except FileNotFoundError:
            if os.path.islink(path):
                raise self._refused(name, "is a link that leads nowhere", "remove or mend the link") from None
            raise
        except OSError as error:
            if error.errno == ELOOP:
                raise self._refused(name, "is a link that leads back to itself", "remove the link") from None
            raise

    def _check_name(self, name: str) -> None:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise self._refused(name, "has a name that is not UTF-8 text", "rename it") from None

    def _check_content(self, name: str, found: os.stat_result) -> None:
        # Opening a pipe would wait for a writer, for ever.
        if not stat.S_ISREG(found.st_mode):
            raise self._refused(name, "is no regular file", "copy what it gives into a file")
        if found.st_size == 0:
            raise self._refused(
                name, "is empty (0 bytes), as files are that are half written", "write it again, or remove it"
            )

    def _refused(self, name: str, cause: str, fix: str) -> SourceInvalid:
        return SourceInvalid(f"{self._table}: {shown(name)} in {self._folder} {cause}; {fix}")


def _mark(found: os.stat_result) -> Mark:
    return Mark(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino)


def _check_one_format(table: str, files: tuple[SourceFile, ...]) -> None:
    of_format = {file.format: file.name for file in reversed(files)}
    if len(of_format) > 1:
        raise SourceInvalid(
            f"{table}: {_both(of_format.values())} are of two formats, and might hold the same rows; "
            "keep the files of one format"
        )


def _check_each_once(table: str, files: tuple[SourceFile, ...]) -> None:
    names: dict[str, str] = {}
    inodes: dict[tuple[int, int], str] = {}
    for file in files:
        twin = names.setdefault(_without_case(file.name), file.name)
        if twin != file.name:
            raise SourceInvalid(
                f"{table}: {_both((twin, file.name))} differ only by case or by suffix, and might hold the same rows; "
                "remove or rename one"
            )
        same = inodes.setdefault((file.mark.device, file.mark.inode), file.name)
        if same != file.name and file.mark.inode:
            raise SourceInvalid(
                f"{table}: {_both((same, file.name))} are one file by two names, so its rows would come twice; "
                "remove the link"
            )


def _without_case(name: str) -> str:
    # Values of partitions differ by case; other names are one on many file systems.
    *above, last = name.split("/")
    parts = split_name(last)
    stem = last if parts is None else parts.stem
    folded = [part if "=" in part else _normal(part).casefold() for part in above]
    return "/".join([*folded, _normal(stem).casefold()])
