"""The manifest of a staged set: what it holds, fixed before any destination reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date, datetime
from typing import Any

from ..api import Covers, StagedPart, TouchedSlice, Window
from ..errors import Rejected
from .sources.source import Seen

FORMAT = 2
# Of sets for some destinations only. A version that does not know them would bring them into all.
FORMAT_OF_SOME = 3
# Format 1 had no sets whose parts are deleted, and no numbers left out: what it lacks has defaults here.
_READ = frozenset({1, FORMAT, FORMAT_OF_SOME})
Content = bytes
# Rows of quarantines, by their set and number: (set, first row, last row), in order.
Spans = tuple[tuple[int, int, int], ...]
DayRows = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One staged set. `parts[].uri` and `quarantine` are relative to the staging folder.

    `source` is the place that the rows came from, and `seen` what its snapshot had seen; frames have neither.
    `day_rows` counts the source's rows by day, for tables extracted by days. `files` are
    the fingerprints of its files, for sources of files, and `newest` is the greatest cursor.
    `left_out` counts extracted rows that earlier sets hold already, `left_out_changed` those of an append that differ
    from what was staged. `rejected` counts the rows of its quarantine: those that were refused and are news. `reasons`
    counts them by reason, the commonest ten. `standing` names rows of older quarantines that were refused again as they
    are; `replayed` those that this set brings in, and `settled` those whose key came with it in another way. `retired`
    says that the parts are deleted, as every destination had applied them: what is left is the quarantine.
    `only` names the destinations that a set is for, None being all. Such a set says what is in the source by then, and
    moves nothing on for the others: neither the window that the next one begins with, nor the rows still refused.

    So that later runs need not read all sets: `previous` is the number of the set that this one followed, 0 being none;
    `recent` are earlier sets of which a look-back to `recent_from` may meet rows again, all others being older; and
    `unsettled` are the rows of all quarantines up to here that are still refused. `log_bytes` are those of the parts of
    all sets that were ever staged up to here. Sets of older versions tell none of these.
    """

    table: str
    sequence: int
    digest: str
    rows: int
    bytes: int
    rejected: int
    parts: tuple[StagedPart, ...]
    extraction: str
    full_refresh: bool
    window: Window
    touched: TouchedSlice | None
    schema: dict[str, str]
    contract_fingerprint: str
    ownlens_version: str
    staged_at: datetime
    quarantine: str | None
    key_violations: int
    covers: Covers | None = None
    source: Mapping[str, str] | None = None
    seen: Seen | None = None
    day_rows: DayRows | None = None
    files: Mapping[str, str] | None = None
    newest: datetime | None = None
    left_out: int = 0
    left_out_changed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    standing: Spans = ()
    replayed: Spans = ()
    settled: Spans = ()
    retired: bool = False
    previous: int | None = None
    recent: tuple[int, ...] | None = None
    recent_from: datetime | None = None
    unsettled: Spans | None = None
    only: tuple[str, ...] | None = None
    log_bytes: int | None = None

    def is_for(self, destination: str) -> bool:
        """Tell whether a destination loads this set."""
        return self.only is None or destination in self.only

    @property
    def restarts(self) -> bool:
        """Whether older sets say nothing any more of what any destination holds."""
        return self.full_refresh and self.only is None

    @property
    def predecessor(self) -> int:
        """The number of the set that this one followed, 0 being none; older versions left no number out."""
        return self.sequence - 1 if self.previous is None else self.previous

    def to_json(self) -> Content:
        """Return the manifest as the bytes of its object."""
        form = FORMAT if self.only is None else FORMAT_OF_SOME
        return json.dumps({"format": form, **asdict(self)}, default=_plain, indent=1).encode()

    @staticmethod
    def from_json(content: Content) -> Manifest:
        """Read a manifest object.

        Raises:
            Rejected: it was written in a format that this version does not know.
        """
        values = json.loads(content)
        if values.pop("format") not in _READ or values.keys() - {field.name for field in fields(Manifest)}:
            where = f"{values.get('table')}: staged set {values.get('sequence')}"
            raise Rejected(f"{where} was written by OwnLens {values.get('ownlens_version')}; upgrade this installation")
        values["parts"] = tuple(StagedPart(**part) for part in values["parts"])
        values["window"] = Window(*(_moment(values["window"][name]) for name in ("start", "end")))
        values["touched"] = _touched(values["touched"])
        values["covers"] = _covers(values.get("covers"))
        values["seen"] = seen_of(values.get("seen"))
        values["newest"] = _moment(values.get("newest"))
        values["recent_from"] = _moment(values.get("recent_from"))
        values["only"] = None if values.get("only") is None else tuple(values["only"])
        values["recent"] = None if values.get("recent") is None else tuple(values["recent"])
        if values.get("unsettled") is not None:
            values["unsettled"] = tuple(tuple(span) for span in values["unsettled"])
        for name in ("standing", "replayed", "settled"):
            values[name] = tuple(tuple(span) for span in values.get(name, ()))
        values["staged_at"] = datetime.fromisoformat(values["staged_at"])
        return Manifest(**values)


def set_digest(
    parts: Sequence[StagedPart], schema: dict[str, str], *, replaces: bool, covers: Covers | None = None
) -> str:
    """Return the SHA-256 (hex) of a staged set: the content of its parts, their order, the schema and its meaning."""
    # Whole tables and whole days are told by the rows themselves, but for what is no longer there.
    meaning: list[Any] = [schema, replaces]
    if covers is not None and (covers.keys_only or covers.days is not None):
        meaning.append([covers.keys_only, [day.isoformat() for day in covers.days or ()]])
    digest = hashlib.sha256(json.dumps(meaning).encode())
    for part in parts:
        digest.update(f"{part.part_id}:{part.rows}:{part.sha256}\n".encode())
    return digest.hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} does not belong in a manifest")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def seen_of(values: Mapping[str, Any] | None) -> Seen | None:
    """Return what a snapshot had seen, from JSON values."""
    if values is None:
        return None
    return Seen(**{**values, "tables": tuple(values["tables"]), "taken": _moment(values["taken"])})


def _covers(values: Mapping[str, Any] | None) -> Covers | None:
    if values is None:
        return None
    days = values["days"]
    listed = None if days is None else tuple(map(date.fromisoformat, days))
    return Covers(values["column"], listed, values["keys_only"])


def _touched(values: dict[str, str] | None) -> TouchedSlice | None:
    if values is None:
        return None
    return TouchedSlice(values["column"], date.fromisoformat(values["first"]), date.fromisoformat(values["last"]))
