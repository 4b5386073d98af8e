"""How far a table is staged: its newest set, or a later run that looked and found nothing new."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from .manifest import DayRows, Manifest, seen_of
from .sources.source import Seen


@dataclass(frozen=True, slots=True)
class Progress:
    """What the source showed, all of which the sets up to `after` hold: a snapshot, its moment, rows by day, files, and
    the place that they came from.

    A run that finds nothing new leaves one beside the manifests, so that the next run need not look as far back. It
    speaks of the sets up to `after` only: once there is a newer set, it says nothing.
    """

    after: int
    moment: datetime
    seen: Seen | None
    day_rows: DayRows | None
    files: Mapping[str, str] | None = None
    source: Mapping[str, str] | None = None

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), default=datetime.isoformat, indent=1).encode()

    @staticmethod
    def from_json(content: bytes) -> Progress:
        values: dict[str, Any] = json.loads(content)
        moment = datetime.fromisoformat(values["moment"])
        return Progress(
            values["after"], moment, seen_of(values["seen"]), values["day_rows"], values["files"], values["source"]
        )


def reached(manifests: Sequence[Manifest], noted: Progress | None) -> Progress | None:
    """Return how far a table is staged, given its sets that are for all destinations, oldest first, and what the last
    run without news noted.
    """
    if not manifests:
        return None
    # A set for some destinations, which came after the note, has moved nothing on.
    if noted is not None and noted.after >= manifests[-1].sequence:
        return noted
    return next((found for manifest in reversed(manifests) if (found := _of(manifest))), None)


def _of(manifest: Manifest) -> Progress | None:
    # Sets of frames, and of rows that came back from the quarantine, say nothing of the source.
    if manifest.window.end is None:
        return None
    return Progress(
        manifest.sequence, manifest.window.end, manifest.seen, manifest.day_rows, manifest.files, manifest.source
    )
