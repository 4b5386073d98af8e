"""Remove what killed runs left behind in a table's folder of a staging area."""

from __future__ import annotations

import os
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
LOOKED_BEHIND = 50
_SET_FOLDER = re.compile(r"([0-9]{8})-[0-9a-f]{16}")


def sweep(folder: Path, manifest_of: Callable[[int], Manifest | None]) -> None:
    """Remove old drafts, and folders of sets that another attempt published. Never touches a published set.

    `manifest_of` returns the published set of a sequence number, or None.
    """
    inside = [entry.name for entry in os.scandir(folder)]
    drafts = (folder / name for name in inside if name.startswith(DRAFT_PREFIX))
    for draft in (*_old(drafts), *_old(_manifest_drafts(folder / "manifests"))):
        _remove(draft)
    for name in _superseded(inside, manifest_of):
        _remove(folder / name)


def _manifest_drafts(folder: Path) -> Iterator[Path]:
    if folder.exists():
        yield from (folder / entry.name for entry in os.scandir(folder) if entry.name.startswith("."))


def _old(paths: Iterator[Path]) -> Iterator[Path]:
    # A draft that is removed under a run which only slept makes that run fail before it publishes anything.
    before = time.time() - DRAFT_HOURS * 3600
    return (path for path in paths if _newest_change(path) < before)


def _newest_change(path: Path) -> float:
    try:
        return max(inner.stat().st_mtime for inner in (path, *path.rglob("*")))
    except FileNotFoundError:  # its own run has just removed it
        return time.time()


def sweep_objects(
    store: S3Folder, folder: str, manifest_of: Callable[[int], Manifest | None], *, known: int = 0
) -> None:
    """Remove folders of sets that another attempt published, from a store where drafts are never seen.

    Only those near the set `known` and behind it are looked for: what a crash left is found by one of the next runs.
    """
    after = f"{known - LOOKED_BEHIND:08d}" if known > LOOKED_BEHIND else ""
    for name in _superseded(store.folders(folder, after=after), manifest_of):
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
