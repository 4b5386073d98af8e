"""One run's parts, resolved and checked before anything moves: profile, contracts, destinations, staging area."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ownlens_plugins.api import Destination
from ownlens_plugins.contracts import TableContract, choose, parents_first, read_contracts
from ownlens_plugins.engine.connecting import destination_names
from ownlens_plugins.engine.last_loads import LastLoads
from ownlens_plugins.engine.positions import Positions
from ownlens_plugins.engine.recovering import Recovery
from ownlens_plugins.engine.scrubbing import Scrubber, secrets_of
from ownlens_plugins.engine.sources.opening import open_source
from ownlens_plugins.engine.sources.source import Snapshot, Source
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.workers import Workers
from ownlens_plugins.errors import (
    ContractInvalid,
    OwnLensError,
    Retryable,
    Stopped,
)
from ownlens_plugins.powers import SupportsCheck
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import BlockSourceConfig, Profile, load_profile
from ownlens_plugins.stopping import Stop, heeding
from ownlens_plugins.validation import check_expectations

from .request import LoadRequest

logger = logging.getLogger("ownlens.run")

# (what, table, destination or "", detail): "staged", "loaded", "failed", "validated", "invalid"; at the end of a run
# that was told to stop, ("stopped", "", "", its report).
Observer = Callable[[str, str, str, Any], None]


def ignore(_what: str, _table: str, _destination: str, _detail: Any) -> None:
    """Observe nothing."""


@dataclass
class LoadRun:
    """Everything that the tasks of one run share. Never passed through Prefect: it holds connections."""

    request: LoadRequest
    profile: Profile
    registry: Registry
    contracts: Sequence[TableContract]
    destinations: Mapping[str, Destination[Any, Any]]
    area: StagingArea
    source: Source
    scrubber: Scrubber
    positions: Positions
    workers: Workers = field(default_factory=Workers)
    observe: Observer = ignore
    snapshot: Snapshot | None = None
    last_loads: LastLoads = field(init=False)
    unreachable: dict[str, str] = field(default_factory=dict)
    stop: Stop = field(default_factory=Stop)
    _busy: int = 0
    _idle: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.last_loads = LastLoads(self.area)

    @property
    def validates(self) -> bool:
        """Whether this run validates."""
        chosen = self.request.validate_loads
        return self.profile.validate_loads if chosen is None else chosen

    @property
    def owes_validation(self) -> bool:
        """Whether a load must be validated, by this run or by the next one."""
        return self.validates or self.profile.validate_loads

    @property
    def recovery(self) -> Recovery | None:
        """What this run stages for its own destinations alone."""
        asked = self.request
        if not (asked.backfill or asked.since):
            return None
        return Recovery(tuple(self.destinations), backfill=asked.backfill, since=asked.since)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count a thread that uses the run's connections, and let it heed the run's stop."""
        with self._idle:
            self._busy += 1
        try:
            with heeding(self.stop):
                yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def wait_until_idle(self) -> None:
        """Wait until no thread uses the run's connections; tasks that wait for their next try do not."""
        with self._idle:
            self._idle.wait_for(lambda: not self._busy)

    def contract(self, table: str) -> TableContract:
        return next(contract for contract in self.contracts if contract.table == table)

    def slots(self, destination: str) -> int:
        """Return how many loads may run at once in a destination."""
        return self.profile.limits.get(destination, 2)

    def close(self) -> None:
        for destination in self.destinations.values():
            destination.close()
        self.positions.close()
        self.workers.close()


def prepare(request: LoadRequest, *, observe: Observer = ignore) -> LoadRun:
    """Resolve a request against profile, contracts and plugins; every name and option is checked here.

    Raises:
        UnknownName, SettingsInvalid, ContractInvalid, DestinationUnavailable: nothing has been touched.
    """
    registry = Registry()
    profile = load_profile(request.profile, file=request.config)
    if names_blocks(profile, request):
        from .blocks import with_blocks  # only here, because it imports Prefect

        profile = with_blocks(profile, request.blocks, registry, destinations=request.destinations)
    registry.load_hooks()
    contracts = select_contracts(read_contracts(profile.contracts), request)
    names = destination_names(request.destinations, profile.destinations, registry)
    destinations = {name: registry.create(name, profile.destinations[name]) for name in names}
    for name in names:
        for contract in contracts:
            registry.options(name, contract)
    _refuse_checks(contracts, profile.contracts)
    workers = Workers(profile.engine, profile.spark, request.engine)
    workers.require(contracts)
    return LoadRun(
        request=request,
        profile=profile,
        registry=registry,
        contracts=contracts,
        destinations=destinations,
        area=StagingArea(profile.staging, registry),
        source=open_source(profile),
        scrubber=Scrubber([*secrets_of(profile), *secrets_of({n: d.config for n, d in destinations.items()})]),
        positions=Positions(destinations, lambda: other_destinations(profile, names, registry)),
        workers=workers,
        observe=observe,
    )


def names_blocks(profile: Profile, request: LoadRequest) -> bool:
    """Tell whether a connection is kept in a Prefect block."""
    named = (config.get("block") for config in profile.destinations.values())
    return bool(request.blocks) or isinstance(profile.source, BlockSourceConfig) or any(named)


def other_destinations(profile: Profile, chosen: Sequence[str], registry: Registry) -> dict[str, Destination[Any, Any]]:
    """Return the profile's destinations that a run does not load into, as far as they can be used."""
    found: dict[str, Destination[Any, Any]] = {}
    for name in set(profile.destinations) - set(chosen):
        try:
            found[name] = registry.create(name, profile.destinations[name])
        except OwnLensError as error:  # a driver that is not installed, a block that this run has not read
            logger.info("%s: not asked how far it has come: %s", name, error)
    return found


def select_contracts(contracts: Mapping[str, TableContract], request: LoadRequest) -> list[TableContract]:
    """Return the contracts that a request names, parents before children.

    Raises:
        UnknownName: a table, domain or preset that no contract has.
    """
    return parents_first(choose(contracts, request.tables, request.domains, request.presets))


def check_settings(profile: Profile, connections: Mapping[str, Mapping[str, Any]], registry: Registry) -> None:
    """Check the settings of the source and of chosen destinations, but for those that a block holds.

    Raises:
        SettingsInvalid, DestinationUnavailable: one is missing or wrong; nothing has been started.
    """
    if not isinstance(profile.source, BlockSourceConfig):
        open_source(profile)
    for name, connection in connections.items():
        if "block" not in connection:
            registry.create(name, connection).close()


def _refuse_checks(contracts: Sequence[TableContract], folder: str) -> None:
    # Here and not when rows are validated: by then they have been loaded.
    if problems := [problem for contract in contracts for problem in check_expectations(contract, folder=folder)]:
        raise ContractInvalid(problems)


def check_destinations(run: LoadRun) -> None:
    """Note each destination that cannot be used now, so that its loads fail at once and the others go on."""
    for name, destination in run.destinations.items():
        if not isinstance(destination, SupportsCheck):
            continue
        try:
            _check_patiently(destination, run.profile)
        except Exception as error:
            run.unreachable[name] = run.scrubber.line(error)
            run.positions.pass_over(name)
            logger.error("%s: not usable: %s", name, run.scrubber.trace(error))


def _check_patiently(destination: SupportsCheck, profile: Profile) -> None:
    for attempt in range(profile.retries):
        try:
            return destination.check()
        except Retryable:
            time.sleep(profile.retry_delay_seconds * 2**attempt)
    return destination.check()


_RUNS: dict[str, LoadRun] = {}
_LOCK = threading.Lock()


@contextmanager
def shared(key: str, run: LoadRun) -> Iterator[LoadRun]:
    """Make a run available to its tasks under a key."""
    with _LOCK:
        _RUNS[key] = run
    try:
        yield run
    finally:
        with _LOCK:
            del _RUNS[key]


def current(key: str) -> LoadRun:
    """Return the run that a task belongs to.

    Raises:
        Stopped: the run has ended; the task had waited for its next try.
    """
    with _LOCK:
        if key in _RUNS:
            return _RUNS[key]
    raise Stopped("the run has ended; the next run makes up for this step")
