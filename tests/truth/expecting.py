"""What stores must hold, and what they may hold, after runs that saw certain rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ownlens_plugins.contracts import TableContract

Row = Mapping[str, Any]
Key = tuple[Any, ...]
_OLDEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Look:
    """A table as one snapshot shows it: rows that can be loaded, and those that no store could hold."""

    good: dict[Key, Row]
    bad: dict[Key, Row]


@dataclass
class Expected:
    """One table. A run that has staged it is told by `saw`; the end of a history asks `problem` of each store."""

    contract: TableContract
    seen: dict[Key, list[Row]] = field(default_factory=dict)
    required: set[Key] = field(default_factory=set)
    refused: dict[Key, list[Row]] = field(default_factory=dict)

    def saw(self, looks: Sequence[Look], *, late: bool = False) -> None:
        """Note what a run has staged; several looks are runs at once, whose order nobody knows.

        `late` says that a run with a newer snapshot was first: what this one alone saw may be passed over.
        """
        if self.contract.preset == "events":
            self._first(looks)
        else:
            self._newest(looks)
        if not late:
            self.required |= {key for look in looks for key in look.good}
        for look in looks:
            for key, row in look.bad.items():
                known = self.refused.setdefault(key, [])
                known += [] if row in known else [row]

    def corrected(self, contract: TableContract, label: str) -> None:
        """Note that the contract knows a further label, and that refused rows of it were replayed."""
        self.contract = contract
        for key, rows in self.refused.items():
            fitting = [row for row in rows if row["kind"] == label]
            if fitting:
                self.seen.setdefault(key, fitting)
                self.required.add(key)

    def _first(self, looks: Sequence[Look]) -> None:
        new = [(key, row) for look in looks for key, row in look.good.items() if key not in self.seen]
        for key, row in new:
            self.seen.setdefault(key, []).append(row)

    def _newest(self, looks: Sequence[Look]) -> None:
        for key, row in [item for look in looks for item in look.good.items()]:
            rows = self.seen.setdefault(key, [])
            newest = max(map(self._version, [*rows, row]))
            self.seen[key] = [other for other in [*rows, row] if self._version(other) == newest]

    def _version(self, row: Row) -> Any:
        return row[self.contract.version_by or ""] or _OLDEST

    def allowed(self, source: Look) -> dict[Key, list[Row]]:
        """Return for each key the rows of which a store must hold one; None among them is no row."""
        if self.contract.deletes == "follow":
            return {key: [row] for key, row in source.good.items()}
        if self.contract.preset == "events":
            return self.seen
        return {**self.seen, **{key: [row] for key, row in source.good.items()}}

    def problems(self, landed: Sequence[Row], source: Look) -> list[str]:
        """Return what is wrong in a store, given what the source shows at the end."""
        allowed, here = self.allowed(source), _by_key(self.contract, landed)
        said = [f"has {key} {len(rows)} times" for key, rows in here.items() if len(rows) > 1]
        said += [f"lacks {key}, which is {allowed[key]}" for key in allowed if key not in here and self._must(key)]
        for key, rows in here.items():
            if key not in allowed:
                said.append(f"has too many: {rows[0]}")
            elif rows[0] not in allowed[key]:
                said.append(f"has {rows[0]} and not {allowed[key]}")
        return said

    def _must(self, key: Key) -> bool:
        return key in self.required or self.contract.deletes == "follow"


def _by_key(contract: TableContract, rows: Sequence[Row]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = {}
    for row in rows:
        found.setdefault(key_of(contract)(row), []).append(row)
    return found


def key_of(contract: TableContract) -> Callable[[Row], Key]:
    return lambda row: tuple(row[name] for name in contract.key)
