"""Remove what killed runs left behind in a table's folder of a staging area."""

from __future__ import annotations

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..object_store import S3Folder
from .manifest import Manifest

DRAFT_PREFIX = ".draft-"
DRAFT_HOURS = 6
_SET_FOLDER = re.compile(r"([0-9]{8})-[0-9a-f]{16}")


def sweep(folder: Path, manifest_of: Callable[[int], Manifest | None]) -> None:
    """Remove old drafts, and folders of sets that another attempt published. Never touches a published set.

    `manifest_of` returns the published set of a sequence number, or None.
    """
    for draft in (*_old(folder.glob(f"{DRAFT_PREFIX}*")), *_old((folder / "manifests").glob(".*"))):
        _remove(draft)
    for orphan in _orphans(folder, manifest_of):
        _remove(orphan)


def _old(paths: Iterator[Path]) -> Iterator[Path]:
    # A draft that is removed under a run which only slept makes that run fail before it publishes anything.
    before = time.time() - DRAFT_HOURS * 3600
    return (path for path in paths if _newest_change(path) < before)


def _newest_change(path: Path) -> float:
    try:
        return max(inner.stat().st_mtime for inner in (path, *path.rglob("*")))
    except FileNotFoundError:  # its own run has just removed it
        return time.time()


def _orphans(folder: Path, manifest_of: Callable[[int], Manifest | None]) -> Iterator[Path]:
    return (folder / name for name in _superseded((path.name for path in folder.iterdir()), manifest_of))


def sweep_objects(store: S3Folder, folder: str, manifest_of: Callable[[int], Manifest | None]) -> None:
    """Remove folders of sets that another attempt published, from a store where drafts are never seen."""
    for name in _superseded(store.folders(folder), manifest_of):
        store.remove(f"{folder}/{name}")


def _superseded(names: Iterable[str], manifest_of: Callable[[int], Manifest | None]) -> Iterator[str]:
    attempts: defaultdict[int, list[str]] = defaultdict(list)
    for name in names:
        if match := _SET_FOLDER.fullmatch(name):
            attempts[int(match[1])].append(name)
    for sequence, found in attempts.items():
        # Once a number is published, no other attempt at it can succeed any more.
        if len(found) > 1 and (manifest := manifest_of(sequence)):
            yield from (name for name in found if name not in _folders(manifest))


def _folders(manifest: Manifest) -> set[str]:
    objects = [part.uri for part in manifest.parts] + ([manifest.quarantine] if manifest.quarantine else [])
    return {name.split("/")[-2] for name in objects}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
