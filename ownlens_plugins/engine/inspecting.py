"""What is in quarantine: refused rows in the staging area, published or not, and rows that destinations keep aside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..api import Destination
from ..contracts import TableContract
from ..errors import OwnLensError
from ..powers import SupportsKeptRows
from ..registry import Registry
from ..settings import Profile
from .connecting import opened
from .quarantining import KeptRow, kept_rows, open_rows
from .scrubbing import Scrubber
from .staging import StagingArea

REFUSED, UNPUBLISHED = "refused", "not published"


@dataclass(frozen=True, slots=True)
class Summary:
    """The refused rows of one table in one place. `reasons` counts rows, commonest first."""

    table: str
    state: str
    rows: int
    reasons: Mapping[str, int]
    place: str


@dataclass(frozen=True, slots=True)
class Refused:
    """One refused row: a reason for each bad column, and its values as their source prints them, or None for null."""

    table: str
    state: str
    place: str
    reasons: tuple[str, ...]
    values: Mapping[str, str | None]

    def document(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        values: dict[str, Any] = {"table": self.table, "state": self.state, "place": self.place}
        return {**values, "reasons": list(self.reasons), "row": dict(self.values)}


@dataclass
class Inspection:
    """Reads quarantines. A destination that cannot be asked is noted in `unreachable`, one line each."""

    area: StagingArea
    keepers: Mapping[str, Destination[Any, Any]]
    scrubber: Scrubber
    unreachable: list[str] = field(default_factory=list)

    @staticmethod
    @contextmanager
    def of(settings: Profile, registry: Registry) -> Iterator[Inspection]:
        """Open the staging area and the destinations of a profile."""
        with opened(settings, registry) as found:
            keepers = {name: store for name, store in found.stores.items() if isinstance(store, SupportsKeptRows)}
            yield Inspection(StagingArea(settings.staging, registry), keepers, found.scrubber)

    def summaries(self, contract: TableContract) -> Iterator[Summary]:
        """Yield a summary for each place that has refused rows of a table."""
        table = contract.table
        staged, unpublished = Counter[str](), Counter[str]()
        rows = sum(_counted(row, staged) for row in self._staged(table))
        if rows:
            yield Summary(table, REFUSED, rows, dict(staged.most_common()), self.area.uri)
        rows = sum(_counted(row, unpublished) for row in self._unpublished(table))
        if rows:
            yield Summary(table, UNPUBLISHED, rows, dict(unpublished.most_common()), self.area.uri)
        for name, counts in self._kept_counts.items():
            if reasons := counts.get(table):
                yield Summary(table, f"kept aside in {name}", sum(reasons.values()), dict(reasons), name)

    def rows(self, contract: TableContract) -> Iterator[Refused]:
        """Stream the refused rows of a table from every place."""
        table = contract.table
        for row in self._staged(table):
            yield Refused(table, REFUSED, f"set {row.sequence}, row {row.number}", row.reasons, _values(row.text))
        for row in self._unpublished(table):
            yield Refused(table, UNPUBLISHED, f"row {row.number}", row.reasons, _values(row.text))
        for name in self.keepers:
            yield from self._kept(name, table)

    def _staged(self, table: str) -> Iterator[KeptRow]:
        manifests = self.area.manifests(table)
        wanted = open_rows(manifests)
        for manifest in manifests:
            if numbers := wanted.get(manifest.sequence):
                yield from kept_rows(self.area.address(manifest.quarantine or ""), numbers, manifest.sequence)

    def _unpublished(self, table: str) -> Iterator[KeptRow]:
        if uri := self.area.unpublished(table):
            yield from kept_rows(uri, None, None)

    @cached_property
    def _kept_counts(self) -> dict[str, Mapping[str, Mapping[str, int]]]:
        found = {}
        for name, store in self.keepers.items():
            with self._reached(name):
                assert isinstance(store, SupportsKeptRows)
                found[name] = store.kept_counts()
        return found

    def _kept(self, name: str, table: str) -> Iterator[Refused]:
        store = self.keepers[name]
        assert isinstance(store, SupportsKeptRows)
        with self._reached(name):
            for batch in store.kept_rows(table):
                for row in batch.to_pylist():
                    place = f"{name}, load {row['load_id']}"
                    yield Refused(table, f"kept aside in {name}", place, (row["reason"],), _values(row["row"]))

    @contextmanager
    def _reached(self, name: str) -> Iterator[None]:
        try:
            yield
        except OwnLensError as error:
            line = self.scrubber.line(error)
            self.unreachable.append(line if name in line else f"{name}: {line}")


def _counted(row: KeptRow, reasons: Counter[str]) -> int:
    reasons.update(row.reasons)
    return 1


def _values(text: str) -> dict[str, str | None]:
    try:
        values = json.loads(text)
    except ValueError:  # an older version cut long rows
        return {"row": text}
    return {
        name: value if value is None or isinstance(value, str) else json.dumps(value) for name, value in values.items()
    }
