"""The manifest of a staged set: what it holds, fixed before any destination reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from ..api import StagedPart, TouchedSlice, Window
from ..errors import Rejected

FORMAT = 1
Content = bytes
# Rows of quarantines, by their set and number: (set, first row, last row), in order.
Spans = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One staged set. `parts[].uri` and `quarantine` are relative to the staging folder.

    `rejected` counts the rows of its quarantine: those that were refused and are news. `reasons` counts them by reason,
    the commonest ten. `standing` names rows of older quarantines that were refused again as they are; `replayed` those
    whose rows this set brings in.
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
    reasons: Mapping[str, int] = field(default_factory=dict)
    standing: Spans = ()
    replayed: Spans = ()

    def to_json(self) -> Content:
        """Return the manifest as the bytes of its object."""
        return json.dumps({"format": FORMAT, **asdict(self)}, default=_plain, indent=1).encode()

    @staticmethod
    def from_json(content: Content) -> Manifest:
        """Read a manifest object.

        Raises:
            Rejected: it was written in a format that this version does not know.
        """
        values = json.loads(content)
        if values.pop("format") != FORMAT:
            where = f"{values.get('table')}: staged set {values.get('sequence')}"
            raise Rejected(f"{where} was written by OwnLens {values.get('ownlens_version')}; upgrade this installation")
        values["parts"] = tuple(StagedPart(**part) for part in values["parts"])
        values["window"] = Window(*(_moment(values["window"][name]) for name in ("start", "end")))
        values["touched"] = _touched(values["touched"])
        for name in ("standing", "replayed"):
            values[name] = tuple(tuple(span) for span in values.get(name, ()))
        values["staged_at"] = datetime.fromisoformat(values["staged_at"])
        return Manifest(**values)


def set_digest(parts: Sequence[StagedPart], schema: dict[str, str], *, replaces: bool) -> str:
    """Return the SHA-256 (hex) of a staged set: the content of its parts, their order, the schema and its meaning."""
    digest = hashlib.sha256(json.dumps([schema, replaces]).encode())
    for part in parts:
        digest.update(f"{part.part_id}:{part.rows}:{part.sha256}\n".encode())
    return digest.hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} does not belong in a manifest")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _touched(values: dict[str, str] | None) -> TouchedSlice | None:
    if values is None:
        return None
    return TouchedSlice(values["column"], date.fromisoformat(values["first"]), date.fromisoformat(values["last"]))
