"""The staging area: conform, transform and store rows as the next set of a table's log."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from ..api import new_attempt
from ..contracts import Extraction, TableContract
from ..errors import Rejected, Retryable
from ..object_store import S3Folder
from ..registry import Registry
from ..storage import filesystem, is_s3, publish_folder
from .conforming import Conformed
from .drafts import DraftParts, covered_by, touched_by
from .leaving_out import KnownSet, Repeated, appends, find_repeated
from .manifest import Manifest, Spans, set_digest
from .quarantining import (
    FILE,
    Refusals,
    is_failing,
    newly_refused,
    numbers_of,
    open_after,
    open_rows,
    refuse_if_failing,
    spans,
    write_quarantine,
)
from .refusals import Origin, RefusedRow, breaks_key, commonest, repeated_rows
from .settling import settled_by
from .sources.source import Extracted
from .staged_log import StagedLog, folder_of, manifest_name, unpublished_folder
from .sweeping import DRAFT_PREFIX, sweep, sweep_objects
from .transforming import transformed
from .uniqueness import find_doubles, take_out
from .windows import StageRequest, since_refresh


class StagingArea(StagedLog):
    """The log of staged sets, and how a set is added to it."""

    def __init__(self, uri: str, registry: Registry) -> None:
        super().__init__(uri)
        self._registry = registry

    def stage(self, contract: TableContract, extracted: Extracted, request: StageRequest) -> Manifest | None:
        """Conform, transform and store rows as the next staged set.

        Returns:
            The new set, an earlier set with the same content, or None when there is nothing new.

        Raises:
            Rejected: rows break the contract, more than it allows, or the source lost all its rows; nothing is staged
            then.
            Retryable: another process staged this table at the same time.
        """
        with self._draft_folder(contract.table) as folder:
            draft = self._write(contract, extracted, folder, request)
            self._refuse_if_failing(contract, draft, request)
            self._refuse_if_emptied(contract, draft, request)
            with self.explained(contract.table, "publish a set"):
                manifest = self._publish(contract, draft, request)
                self._folder.remove(unpublished_folder(contract.table))
                return manifest

    @contextmanager
    def drafted(self, contract: TableContract, extracted: Extracted, request: StageRequest) -> Iterator[Sequence[Path]]:
        """Conform and transform rows as `stage` does and publish nothing; the Parquet files go with the context."""
        with self._draft_folder(contract.table) as folder:
            yield [file for file in self._write(contract, extracted, folder, request).parts.files if file.exists()]

    def _refuse_if_failing(self, contract: TableContract, draft: _Draft, request: StageRequest) -> None:
        # Rows that are refused again in a window say nothing about its new rows; a whole table or day is judged whole.
        counted = draft.news if request.extraction is Extraction.WINDOW else draft.refused
        kept = draft.parts.kept + draft.repeated.count
        if is_failing(contract, len(counted), kept):
            refuse_if_failing(contract, counted, kept, self._keep_unpublished(contract.table, counted, draft))

    def _keep_unpublished(self, table: str, refused: list[RefusedRow], draft: _Draft) -> str:
        """Keep the refused rows of a set that is not published; return where."""
        write_quarantine(refused, folder := draft.parts.folder.with_name("unpublished"))
        with self.explained(table, "keep the refused rows"):
            self._folder.remove(unpublished_folder(table))
            self._bring(folder, unpublished_folder(table))
        return self._folder.uri(f"{unpublished_folder(table)}/{FILE}")

    @contextmanager
    def _draft_folder(self, table: str) -> Iterator[Path]:
        # Local drafts lie beside the sets, so that publishing is a rename on one file system.
        parent = None if is_s3(self.uri) else Path(self.uri) / folder_of(table)
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
            sweep(parent, lambda sequence: self._published(table, sequence))
        elif isinstance(self._folder, S3Folder):
            with self.explained(table, "clear what a crash left"):
                sweep_objects(
                    self._folder,
                    folder_of(table),
                    lambda sequence: self._published(table, sequence),
                    known=self._known(table),
                )
        folder = Path(tempfile.mkdtemp(prefix=DRAFT_PREFIX, dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, contract: TableContract, extracted: Extracted, folder: Path, request: StageRequest) -> _Draft:
        conformed = Conformed(contract, extracted)
        parts = DraftParts(contract, folder / "parts")
        parts.write(conformed.batches())
        refused = conformed.refused
        if self._registry.has_transforms and parts.rows and not (request.keys_only or request.transformed):
            parts, more = self._transform(contract, parts, folder)
            refused += more
        doubles = take_out(find_doubles(contract, parts.files), contract)
        if contract.version_by is None:
            refused += [row for batch in doubles for row in repeated_rows(batch)]
        # A key that cannot be kept is in no store: nothing hangs on it.
        kept = [] if request.keys_only else refused
        # Before rows are left out: a frame is known by all that it holds.
        same = self._same_frame(contract, parts, kept, request) if request.once else None
        repeated = Repeated({}) if same else self._leave_out(contract, parts, request)
        refusals = self._sorted(contract, kept, request)
        settled = () if same else self._settled(contract, parts, refusals, request)
        return _Draft(parts, kept, repeated, refusals, same, settled)

    def _same_frame(
        self, contract: TableContract, parts: DraftParts, refused: list[RefusedRow], request: StageRequest
    ) -> Manifest | None:
        """Return the set that holds a frame already, the same rows and the same refused ones.

        An earlier set of equal content is not the same: the table may have changed and changed back. Only an append
        keeps what it ever got.
        """
        log = self.log(contract.table).for_all()
        # A full refresh takes a table back, whatever came since.
        ever = appends(contract) and not request.full_refresh
        known = since_refresh(log if ever else [*islice(reversed(log), 1)])
        covers, schema = covered_by(parts, request), _schema(contract)
        digest = set_digest(parts.seal(), schema, replaces=request.full_refresh, covers=covers)
        for old in known:
            if (old.digest, old.rejected) == (digest, len(refused)) and not self._newly(refused, [old]).news:
                return old
        return None

    def _newly(self, refused: list[RefusedRow], manifests: Sequence[Manifest]) -> Refusals:
        return newly_refused(self._folder.uri, manifests, refused)

    def _sorted(self, contract: TableContract, refused: list[RefusedRow], request: StageRequest) -> Refusals:
        if request.once or not refused:  # a frame's report is about the frame, whatever came before
            return Refusals(refused)
        with self.explained(contract.table, "read the quarantine"):
            return self._newly(refused, self.log(contract.table))

    def _settled(self, contract: TableContract, parts: DraftParts, refusals: Refusals, request: StageRequest) -> Spans:
        # A whole table settles all that it does not refuse again; what a replay brings in may be older than what waits.
        if request.extraction is Extraction.WHOLE or request.replayed or request.only:
            return ()
        days = parts.days | request.gone if request.extraction is Extraction.DAYS else frozenset()
        with self.explained(contract.table, "read the quarantine"):
            manifests = self.log(contract.table)
            files = parts.files if parts.kept else ()
            return settled_by(contract, self.address, manifests, files, refusals.news, refusals.standing, days)

    def _refuse_if_emptied(self, contract: TableContract, draft: _Draft, request: StageRequest) -> None:
        """Refuse a set that would take a table from some rows to none, unless the contract allows it.

        Raises:
            Rejected: it would.
        """
        emptied = request.extraction is Extraction.WHOLE and not draft.parts.kept
        if request.extraction is Extraction.DAYS and request.day_rows is not None:
            emptied = not request.day_rows and bool(request.gone)
        if not emptied or contract.allow_empty or not self._has_rows(contract.table):
            return
        why = "the source has no rows any more"
        if draft.refused:
            where = self._keep_unpublished(contract.table, draft.refused, draft)
            why = f"all {len(draft.refused)} rows of the source are refused (they are kept in {where})"
        raise Rejected(
            f"{contract.table}: {why}, and the destinations would be emptied; bring the rows back, or set "
            "allow_empty: true in the contract"
        )

    def _has_rows(self, table: str) -> bool:
        """Tell whether the destinations hold rows, as far as staging knows."""
        for manifest in reversed(self.log(table).for_all()):
            if manifest.rows:
                return True
            if manifest.extraction == Extraction.WHOLE.value:
                return False
        return False

    def _leave_out(self, contract: TableContract, parts: DraftParts, request: StageRequest) -> Repeated:
        """Take rows out of the draft that earlier sets hold; days stay whole."""
        if request.extraction is not Extraction.WINDOW or not request.known or not parts.rows:
            return Repeated({})
        known = [KnownSet(each.sequence, self.parts(each), dict(each.schema)) for each in request.known]
        with self.explained(contract.table, "read earlier staged sets"):
            repeated = find_repeated(contract, parts.files, known, request.known_from)
        take_out(repeated.rows, contract)
        return repeated

    def _transform(
        self, contract: TableContract, parts: DraftParts, folder: Path
    ) -> tuple[DraftParts, list[RefusedRow]]:
        with transformed(contract, self._registry, parts.files) as changed:
            if changed is None:
                return parts, []
            conformed = Conformed(contract, changed, Origin.TRANSFORM)
            again = DraftParts(contract, folder / "transformed")
            again.write(conformed.batches())
            return again, conformed.refused

    def _publish(self, contract: TableContract, draft: _Draft, request: StageRequest) -> Manifest | None:
        if draft.same is not None:
            return draft.same
        sealed, schema = draft.parts.seal(), _schema(contract)
        covers = covered_by(draft.parts, request)
        digest = set_digest(sealed, schema, replaces=request.full_refresh, covers=covers)
        log = self.log(contract.table)
        latest, of_all = log[-1] if log else None, log.for_all()
        after = self._following(contract, latest, request)
        if self._same_content(of_all[-1] if of_all else None, digest, draft, request):
            return None
        says_something = sealed or draft.news or draft.settled or _holds_all(request) or request.gone or request.only
        if latest is not None and not says_something:
            return None
        # Above all that destinations hold, or they would take the set for one that was overtaken long ago. Only a full
        # refresh leaves numbers out: a rival may then publish a set before it, all of which the refresh replaces. Any
        # other set must take the very next number, whose name only one run can claim.
        sequence = max(after, request.above) + 1
        folder = f"{folder_of(contract.table)}/{sequence:08d}-{new_attempt()}"
        self._upload(draft, folder)
        manifest = Manifest(
            table=contract.table,
            sequence=sequence,
            digest=digest,
            rows=sum(part.rows for part in sealed),
            bytes=sum(part.bytes for part in sealed),
            rejected=len(draft.news),
            parts=tuple(replace(part, uri=f"{folder}/{part.uri}") for part in sealed),
            extraction=request.extraction.value,
            full_refresh=request.full_refresh,
            window=request.window,
            touched=touched_by(draft.parts, request.gone),
            schema=schema,
            contract_fingerprint=contract.fingerprint,
            ownlens_version=version("ownlens"),
            staged_at=datetime.now(UTC),
            quarantine=f"{folder}/{FILE}" if draft.news else None,
            key_violations=sum(breaks_key(contract, row) for row in draft.news),
            covers=covers,
            source=request.source,
            seen=request.seen,
            day_rows=request.day_rows,
            files=request.files,
            newest=draft.parts.newest,
            left_out=draft.repeated.count,
            left_out_changed=draft.repeated.changed,
            reasons=commonest(draft.news),
            standing=draft.refusals.standing,
            replayed=request.replayed,
            settled=draft.settled,
            previous=after,
            only=request.only,
            **_recent(request),
        )
        manifest = replace(
            manifest,
            unsettled=spans(open_after(open_rows(log), manifest)),
            log_bytes=self.ever_staged(contract.table, latest) + manifest.bytes,
        )
        name = manifest_name(contract.table, sequence)
        if self._folder.create(name, manifest.to_json()):
            self._hint(contract.table, sequence)
            return manifest
        there = self._folder.read(name)
        if there == manifest.to_json():
            return manifest  # by an earlier try of this put, whose answer was lost
        if there is not None:  # else that try may be under way still, and land
            self._folder.remove(folder)
        raise _rival(contract, sequence)

    def _following(self, contract: TableContract, latest: Manifest | None, request: StageRequest) -> int:
        """Return the number of the set that this one succeeds.

        What to extract was decided from that very set. With another one in between, rows would be staged twice: the
        number is claimed by its name, so this must stay the number that was decided from, and never the newest one.
        """
        newest = 0 if latest is None else latest.sequence
        if request.after is None or request.after == newest:
            return newest
        raise _rival(contract, newest)

    def _same_content(
        self, latest: Manifest | None, digest: str, draft: _Draft, request: StageRequest
    ) -> Manifest | None:
        if latest is None or request.full_refresh or request.once or request.only:
            return None
        # A further row that was refused is news, although the rows that were kept are the same.
        if request.extraction is Extraction.WINDOW or latest.digest != digest or draft.news or draft.settled:
            return None
        # Rows that a whole table no longer refuses are settled, which is news as well.
        still = numbers_of(draft.refusals.standing)
        return latest if not _holds_all(request) or open_rows([latest]) == still else None

    def _upload(self, draft: _Draft, folder: str) -> None:
        if draft.news:
            write_quarantine(draft.news, draft.parts.folder)
        if draft.parts.folder.exists():
            self._bring(draft.parts.folder, folder)

    def _bring(self, draft: Path, folder: str) -> None:
        if is_s3(self.uri):
            _copy(draft, self._folder.uri(folder))
        else:
            publish_folder(draft, Path(self._folder.uri(folder)))


@dataclass(frozen=True)
class _Draft:
    parts: DraftParts
    refused: list[RefusedRow]
    repeated: Repeated
    refusals: Refusals
    same: Manifest | None = None
    settled: Spans = ()

    @property
    def news(self) -> list[RefusedRow]:
        return self.refusals.news


def _schema(contract: TableContract) -> dict[str, str]:
    return {column.name: str(column) for column in contract.columns}


def _recent(request: StageRequest) -> dict[str, Any]:
    """Return what a later look-back need not look for again, where this one had a beginning."""
    if request.extraction is not Extraction.WINDOW or request.known_from is None:
        return {}
    return {"recent": tuple(each.sequence for each in request.known), "recent_from": request.known_from}


def _rival(contract: TableContract, sequence: int) -> Retryable:
    return Retryable(f"{contract.table}: another run staged set {sequence} at the same time; run it again")


def _holds_all(request: StageRequest) -> bool:
    return request.extraction is Extraction.WHOLE


def _copy(folder: Path, uri: str) -> None:
    where, path = filesystem(uri)
    for file in sorted(folder.iterdir()):
        with where.open_output_stream(f"{path}/{file.name}") as target, file.open("rb") as source:
            shutil.copyfileobj(source, target, 1 << 22)
