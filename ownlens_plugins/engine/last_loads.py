"""What runs have to say of each table in each destination, for people: the newest load, and why the last run failed.

The destination's own ledger says what is applied, not these: all that they can do is to make a run ask, where that
ledger knows nothing at all. A run that dies leaves the word of the one before it.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..storage import object_folder
from .notes import read_note
from .outcomes import LoadOutcome, Status
from .staged_log import StagedLog, folder_of

logger = logging.getLogger("ownlens.load")
_DOING = "keep how loads end"


@dataclass(frozen=True, slots=True)
class LastLoad:
    """The newest run that changed a table in a destination, and the failure of the last run, if it failed.

    `sequence` is the newest set that the run brought in, `rows` and `seconds` are of all its sets together.
    """

    sequence: int = 0
    at: datetime | None = None
    rows: int = 0
    seconds: float = 0.0
    error: str = ""
    failed_at: datetime | None = None

    @staticmethod
    def from_json(content: bytes) -> LastLoad:
        values: dict[str, Any] = json.loads(content)
        moments = {name: values[name] and datetime.fromisoformat(values[name]) for name in ("at", "failed_at")}
        return LastLoad(**{**values, **moments})


class LastLoads:
    """The records of one staging area: one small object a table and destination, which each run replaces."""

    def __init__(self, area: StagedLog) -> None:
        self._area = area
        self._folder = object_folder(area.uri)
        self._is_away = False

    def read(self, table: str, destination: str) -> LastLoad:
        """Return what is known.

        Raises:
            Retryable: the staging area cannot be asked now.
        """
        with self._area.explained(table, _DOING):
            name = _name(table, destination)
            return read_note(self._folder.uri(name), self._folder.read(name), LastLoad.from_json, LastLoad())

    def ended_well(self, outcome: LoadOutcome) -> None:
        """Note a load that changed something, or that a run which found nothing new went well after a failed one."""
        table, destination = outcome.table, outcome.destination
        if outcome.status is Status.LOADED:
            word = LastLoad(outcome.position, datetime.now(UTC), outcome.rows, round(outcome.seconds, 3))
            return self._note(table, destination, word)
        if (known := self.known(table, destination)).error:
            self._note(table, destination, replace(known, error="", failed_at=None))

    def failed(self, table: str, destination: str, error: str) -> None:
        """Note why a table was not loaded; `error` is one line without secrets and values."""
        if not self._is_away:
            known = self.known(table, destination)
            self._note(table, destination, replace(known, error=error, failed_at=datetime.now(UTC)))

    def known(self, table: str, destination: str) -> LastLoad:
        """Return what is known, also where the record cannot be read: then nothing is."""
        try:
            return self.read(table, destination)
        except Exception:
            return LastLoad()

    def _note(self, table: str, destination: str, word: LastLoad) -> None:
        try:
            with self._area.explained(table, _DOING):
                self._folder.put(_name(table, destination), json.dumps(asdict(word), default=_plain).encode())
        except Exception as error:
            # A word for people is no reason to fail a load. The store is not asked again for each table.
            self._is_away = True
            logger.warning("%s: %s: not noted how the load ended: %s", table, destination, error)


def _plain(value: datetime) -> str:
    return value.isoformat()


def _name(table: str, destination: str) -> str:
    return f"{folder_of(table)}/loads/{folder_of(destination)}.json"
