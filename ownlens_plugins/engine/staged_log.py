"""The log of a table's staged sets: numbered, immutable, in the order in which destinations consume them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import TypeVar
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from ..api import StagedPart
from ..commands import refresh_options
from ..errors import Rejected, Retryable
from ..object_store import explained
from ..storage import ObjectFolder, filesystem, is_s3, object_folder
from .forgotten import Span, noted, with_notes
from .manifest import Content, Manifest
from .newest_first import Log
from .notes import DAMAGED, read_note
from .progress import Progress
from .quarantining import FILE
from .windows import StageRequest

Known = TypeVar("Known")


class StagedLog:
    """What is staged, on a local folder or below an `s3://` prefix. Safe to use from several threads and processes."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._folder: ObjectFolder = object_folder(uri)

    def manifests(self, table: str) -> list[Manifest]:
        """Return the manifests of a table's staged sets, oldest first."""
        with self.explained(table, "list the staged sets"):
            names = self._folder.list(f"{folder_of(table)}/manifests")
            return [self._manifest(name) for name in names]

    def log(self, table: str) -> Log:
        """Return a table's staged sets as a sequence of which only the newest is read by now."""
        return Log(self.latest(table), lambda sequence: self._numbered(table, sequence))

    def latest(self, table: str) -> Manifest | None:
        """Return the newest staged set of a table."""
        with self.explained(table, "list the staged sets"):
            names = self._newest_names(table)
            return self._manifest(names[-1]) if names else None

    def _newest_names(self, table: str) -> list[str]:
        """Return the names of the newest manifests, without listing a long log where listing has a price."""
        folder, known = f"{folder_of(table)}/manifests", self._known(table)
        names = self._folder.list(folder, after=manifest_name(table, known - 1)) if known else []
        return names or self._folder.list(folder)

    def _known(self, table: str) -> int:
        """Return the number of a set that was the newest a while ago, 0 if nothing is known."""
        content = self._folder.read(_hint_name(table)) if is_s3(self.uri) else None
        return int(content) if content and content.isdigit() else 0

    def _hint(self, table: str, sequence: int) -> None:
        """Note where to begin to look for the newest set. Only a hint: an older one makes the next list longer."""
        if is_s3(self.uri):
            with suppress(Exception):
                self._folder.put(_hint_name(table), str(sequence).encode())

    def _numbered(self, table: str, sequence: int) -> Manifest | None:
        with self.explained(table, "read a staged set"):
            return self._published(table, sequence)

    def noted(self, table: str) -> Progress | None:
        """Return what the last run that found nothing new has seen."""
        with self.explained(table, "read what the last run has seen"):
            return self._note(_progress_name(table), Progress.from_json, None)

    def note(self, table: str, request: StageRequest) -> None:
        """Note that a request brought nothing new, so that the next one need not look as far back."""
        if request.after and request.window.end is not None:
            progress = Progress(
                request.after, request.window.end, request.seen, request.day_rows, request.files, request.source
            )
            with self.explained(table, "note what this run has seen"):
                self._folder.put(_progress_name(table), progress.to_json())

    def forgotten(self, table: str) -> tuple[Span, ...]:
        """Return what is remembered of sets that are staged no longer."""
        with self.explained(table, "read what it has forgotten"):
            return self._note(_forgotten_name(table), noted, ())

    def remember(self, table: str, manifests: Iterable[Manifest]) -> None:
        """Remember of sets that are about to go what a destination that lacks them must be told."""
        content = with_notes(self.forgotten(table), manifests)
        with self.explained(table, "remember the sets that go"):
            self._folder.put(_forgotten_name(table), content)

    def check(self) -> None:
        """Reach the staging area.

        Raises:
            Retryable, Rejected: it cannot be read now.
        """
        with explained(f"{self.uri}: staging could not be reached") if is_s3(self.uri) else nullcontext():
            self._folder.read("newest")

    def ever_staged(self, table: str, newest: Manifest | None) -> int:
        """Return the bytes of the parts of all sets that were ever staged, given the newest."""
        if newest is None:
            return 0
        if newest.log_bytes is None:  # of an older version
            return sum(manifest.bytes for manifest in self.manifests(table))
        return newest.log_bytes

    def staged_bytes(self, table: str, newest: Manifest | None) -> int:
        """Return the bytes of the parts that are staged, given the newest set; no other manifest is read."""
        with self.explained(table, "look how much is staged"):
            return max(0, self.ever_staged(table, newest) - self._note(_gone_name(table), int, 0))

    def note_gone(self, table: str) -> None:
        """Note how many of the bytes that were ever staged are there no more, after sets have left."""
        manifests = self.manifests(table)
        staged = sum(manifest.bytes for manifest in manifests if not manifest.retired)
        gone = self.ever_staged(table, manifests[-1] if manifests else None) - staged
        self._folder.put(_gone_name(table), str(max(0, gone)).encode())

    def explained(self, table: str, doing: str) -> AbstractContextManager[None]:
        """Say of failures of an object store, in one line, what could not be done."""
        return explained(f"{table}: staging could not {doing}") if is_s3(self.uri) else nullcontext()

    def _published(self, table: str, sequence: int) -> Manifest | None:
        name = manifest_name(table, sequence)
        content = self._folder.read(name)
        return None if content is None else self._read(name, content)

    def _manifest(self, name: str) -> Manifest:
        content = self._folder.read(name)
        if content is None:
            raise Retryable(f"{self._folder.uri(name)} vanished while it was read; run it again")
        return self._read(name, content)

    def _read(self, name: str, content: Content) -> Manifest:
        try:
            return Manifest.from_json(content)
        except DAMAGED as error:
            # Nothing stands for it: it says which rows a set holds, and from where on the next one is extracted.
            table = unquote(name.partition("/")[0])
            raise Rejected(
                f"{table}: {self._folder.uri(name)}, which tells of a staged set, is damaged "
                f"({type(error).__name__}); put it back from a backup, or move it away and load the table with "
                f"{refresh_options(table)}"
            ) from None

    def _note(self, name: str, read: Callable[[bytes], Known], nothing: Known) -> Known:
        return read_note(self._folder.uri(name), self._folder.read(name), read, nothing)

    def parts(self, manifest: Manifest) -> tuple[StagedPart, ...]:
        """Return a set's parts with the addresses at which workers can read them."""
        return tuple(replace(part, uri=self._folder.uri(part.uri)) for part in manifest.parts)

    def unpublished(self, table: str) -> str | None:
        """Return the address of the refused rows of a set that was not published, if the newest attempt was not."""
        name = f"{unpublished_folder(table)}/{FILE}"
        with self.explained(table, "look for refused rows"):
            return self._folder.uri(name) if name in self._folder.list(unpublished_folder(table)) else None

    def quarantined(self, manifest: Manifest) -> pa.Table | None:
        """Return the newly refused rows of a set: among others the columns `reason` and `row` (JSON text)."""
        if manifest.quarantine is None:
            return None
        with self.explained(manifest.table, "read the quarantine"):
            where, path = filesystem(self._folder.uri(manifest.quarantine))
            return pq.read_table(path, filesystem=where)

    def address(self, name: str) -> str:
        """Return the full address of an object of this area."""
        return self._folder.uri(name)


def folder_of(table: str) -> str:
    """Return a table's folder name: any name becomes one harmless path segment, and no two names share one."""
    return quote(table, safe="").replace(".", "%2E")


def manifest_name(table: str, sequence: int) -> str:
    return f"{folder_of(table)}/manifests/{sequence:08d}.json"


def unpublished_folder(table: str) -> str:
    return f"{folder_of(table)}/unpublished"


def _hint_name(table: str) -> str:
    return f"{folder_of(table)}/newest"


def _forgotten_name(table: str) -> str:
    return f"{folder_of(table)}/forgotten.json"


def _gone_name(table: str) -> str:
    return f"{folder_of(table)}/gone"


def _progress_name(table: str) -> str:
    return f"{folder_of(table)}/progress.json"
