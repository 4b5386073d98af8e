"""What staging remembers of sets that it holds no longer: from which cursor value on each may have had rows.

A destination that was taken back to a backup can lack such sets. What they brought is then read from the source once
more, and this says how far back. The notes of a table stay small: old ones are merged, which only makes the stretch
longer that is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..contracts import Extraction
from .manifest import Manifest
from .quarantining import holds_keys_only

_MOST_SPANS = 256


@dataclass(frozen=True, slots=True)
class Span:
    """Sets from `first` to `last`, which are staged no longer.

    All rows that they brought lie at or above the cursor value `start`; None when nothing bounds them: a whole table,
    whole days, a frame, rows that came back from the quarantine. `only` names the destinations that they were for.
    """

    first: int
    last: int
    start: datetime | None
    only: tuple[str, ...] | None = None

    @staticmethod
    def of(manifest: Manifest) -> Span:
        """Return the note of one set."""
        start = manifest.window.start
        if holds_keys_only(manifest):
            start = manifest.window.end  # it brought no rows
        elif manifest.extraction != Extraction.WINDOW.value or manifest.full_refresh:
            start = None
        return Span(manifest.sequence, manifest.sequence, start, manifest.only)

    def concerns(self, destination: str) -> bool:
        """Tell whether a destination needed these sets."""
        return self.only is None or destination in self.only


@dataclass(frozen=True, slots=True)
class Lacking:
    """What a destination lacks of sets that are staged no longer.

    All rows of it lie at or above the cursor value `start`; None when nothing bounds them, or it is not known.
    """

    first: int
    last: int
    start: datetime | None


def lacking(spans: Sequence[Span], destination: str, held: int, last: int) -> Lacking | None:
    """Return what a destination that holds the sets up to `held` lacks of those up to `last`; None when nothing.

    Sets of which there is no note were forgotten by a version that kept none.
    """
    noted = {sequence for span in spans for sequence in range(max(span.first, held + 1), min(span.last, last) + 1)}
    missing = [span for span in spans if span.concerns(destination) and span.last > held and span.first <= last]
    is_known = len(noted) == last - held
    if is_known and not missing:
        return None
    starts = [span.start for span in missing if span.start is not None]
    bounded = is_known and len(starts) == len(missing)
    return Lacking(held + 1, last, min(starts) if bounded else None)


def noted(content: bytes | None) -> tuple[Span, ...]:
    """Read the notes of a table."""
    return tuple(map(_span, json.loads(content))) if content else ()


def with_notes(spans: Sequence[Span], manifests: Iterable[Manifest]) -> bytes:
    """Return the notes of a table with those of further sets; a set that is noted already stays so."""
    further = [Span.of(one) for one in manifests if not any(each.first <= one.sequence <= each.last for each in spans)]
    every = sorted([*spans, *further], key=lambda span: span.first)
    return json.dumps([_values(span) for span in _thinned(every)]).encode()


def _thinned(spans: Sequence[Span]) -> Sequence[Span]:
    if len(spans) <= _MOST_SPANS:
        return spans
    # The older half: who was taken back that far has much to read anyway.
    old, recent = spans[: _MOST_SPANS // 2], spans[_MOST_SPANS // 2 :]
    return _thinned([*(_merged(*old[at : at + 2]) for at in range(0, len(old), 2)), *recent])


def _merged(one: Span, *others: Span) -> Span:
    if not others:
        return one
    (other,) = others
    starts = [span.start for span in (one, other) if span.start is not None]
    # Of a set in between, without a note, nothing is known.
    bounded = len(starts) == 2 and other.first == one.last + 1
    return Span(one.first, other.last, min(starts) if bounded else None, one.only if one.only == other.only else None)


def _span(values: Sequence[object]) -> Span:
    first, last, start, only = values
    assert isinstance(first, int)
    assert isinstance(last, int)
    moment = datetime.fromisoformat(start) if isinstance(start, str) else None
    return Span(first, last, moment, tuple(map(str, only)) if isinstance(only, list) else None)


def _values(span: Span) -> list[object]:
    start = None if span.start is None else span.start.isoformat()
    return [span.first, span.last, start, None if span.only is None else list(span.only)]
