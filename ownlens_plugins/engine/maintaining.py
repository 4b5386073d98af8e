"""Keep a table small: in each of its destinations, and in the staging area that they read from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ..api import Destination
from ..commands import naming_the_table
from ..contracts import TableContract
from ..errors import OwnLensError
from ..powers import Chore, SupportsMaintenance, Upkeep
from ..registry import Registry
from ..settings import Profile
from .connecting import Stores, opened
from .planning import pending
from .retiring import KeepFor, Retiring, retire, to_retire
from .scrubbing import Scrubber
from .staging import StagingArea

logger = logging.getLogger("ownlens.maintain")
STAGING = "staging"


@dataclass(frozen=True, slots=True)
class Maintained:
    """What maintenance did to a table in one place, a destination or `staging`, or would do; `error` says what failed.

    `note` says why nothing was done, where something might have been expected.
    """

    table: str
    place: str
    chores: tuple[Chore, ...] = ()
    error: str = ""
    note: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "chores": [asdict(chore) for chore in self.chores]}


@dataclass(frozen=True)
class Maintenance:
    """One maintenance of tables: the stores of a profile, its staging area, and how long sets stay there.

    `complete` says that `stores` are all destinations of the profile: only then may staged sets go, as each of them
    must have applied a set first.
    """

    stores: Stores
    area: StagingArea
    registry: Registry
    keep: KeepFor
    scrubber: Scrubber
    complete: bool = True
    dry_run: bool = False
    now: datetime | None = None

    @staticmethod
    @contextmanager
    def of(
        settings: Profile, registry: Registry, destinations: Sequence[str] = (), *, dry_run: bool = False
    ) -> Iterator[Maintenance]:
        """Open the staging area and the asked destinations of a profile, all when none is asked for.

        Raises:
            UnknownName: not installed. SettingsInvalid: the profile has no connection for it.
        """
        keep = KeepFor(timedelta(days=settings.staging_keep_days), timedelta(days=settings.quarantine_keep_days))
        area = StagingArea(settings.staging, registry)
        with opened(settings, registry, destinations) as found:
            yield Maintenance(
                found.stores, area, registry, keep, found.scrubber, complete=found.complete, dry_run=dry_run
            )

    def maintain(self, contract: TableContract) -> list[Maintained]:
        """Maintain one table: staging first, as the ledgers may then forget what is staged no longer."""
        now = self.now or datetime.now(UTC)
        staging, settled = self._staging(contract, now)
        return [staging, *(self._store(store, contract, settled, now) for store in self.stores.values())]

    def _staging(self, contract: TableContract, now: datetime) -> tuple[Maintained, int]:
        """Return what went of the staged sets, and the number up to which none is staged any more."""
        if not self.complete:
            return Maintained(contract.table, STAGING, note="kept: not all destinations of the profile were asked"), 0
        try:
            applied = self._applied(contract)
            manifests = self.area.manifests(contract.table)
            going = to_retire(
                contract, manifests, self.area.noted(contract.table), applied=applied, keep=self.keep, now=now
            )
            if not self.dry_run:
                retire(self.area, contract, going)
            return Maintained(contract.table, STAGING, _sets(going)), min(applied, going.settled(manifests))
        except Exception as error:
            return self._failed(contract, STAGING, error), 0

    def _applied(self, contract: TableContract) -> int:
        """Return the newest set that every destination has applied."""
        found = [pending(store, contract, self.area, self.registry).applied for store in self.stores.values()]
        return min((plan.sequence if plan else 0 for plan in found), default=0)

    def _store(self, store: Destination[Any, Any], contract: TableContract, settled: int, now: datetime) -> Maintained:
        if not isinstance(store, SupportsMaintenance):
            return Maintained(contract.table, store.name, note="this destination maintains no tables")
        try:
            options = self.registry.options(store.name, contract)
            done = store.maintain(Upkeep(contract, options, settled, now.date(), self.dry_run))
        except Exception as error:
            return self._failed(contract, store.name, error)
        for chore in () if self.dry_run else done:
            logger.info(
                "%s: %s: %s: %d rows, %d files, %d bytes",
                contract.table, store.name, chore.name, chore.rows, chore.files, chore.bytes,
            )  # fmt: skip
        return Maintained(contract.table, store.name, tuple(done))

    def _failed(self, contract: TableContract, place: str, error: Exception) -> Maintained:
        line = naming_the_table(self.scrubber.line(error), contract.table)
        told = line if isinstance(error, OwnLensError) else self.scrubber.trace(error)
        logger.error("%s: %s: maintenance failed: %s", contract.table, place, told)
        said = line if isinstance(error, OwnLensError) else f"{type(error).__name__}: {line}; see the log"
        return Maintained(contract.table, place, error=said)


def _sets(going: Retiring) -> tuple[Chore, ...]:
    gone = len(going.whole) + len(going.parts)
    return (Chore("staged sets", going.rows, going.files, going.bytes),) if gone else ()


def succeeded(found: Sequence[Maintained]) -> bool:
    """Tell whether no maintenance failed."""
    return not any(one.error for one in found)
