"""Random histories of a source and its runs; at the end all three stores must equal it by the contracts' rules."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ownlens_plugins.contracts import TableContract, parents_first
from ownlens_plugins.engine.replaying import replay
from ownlens_plugins.engine.sources.source import Snapshot
from ownlens_plugins.errors import OwnLensError
from ownlens_plugins.faults import POINTS

from .dying import killed_run
from .expecting import Expected, Look
from .overtaking import Overtaken
from .servers import Cluster
from .settling import settle
from .stores import drop_table
from .tables import BY_NAME, CLICKS, corrected, create
from .worlds import World
from .writers import NESTINGS, PLAIN, SLOTS, Writers
from .writing import BACKDATED, CHANGES, KEYS, REWRITES, STAMPED, rewrites, statements

STEPS = 16
_KEYS = st.lists(KEYS, min_size=1, max_size=4)
# What may happen besides writers that commit at once and runs one after the other.
FEATURES = (
    "transactions",
    "nesting",
    "changes",
    "maintenance",
    "rivals",
    "standby",
    "promotion",
    "drops",
    "profiles",
    "kills",
    "replays",
)
_OFFERED = os.environ.get("OWNLENS_TRUTH_FEATURES", ",".join(FEATURES)).split(",")
_GROUPS = os.environ.get("OWNLENS_TRUTH_TABLES", "sections,clicks,visits,articles,profiles,authors books,views").split(
    ","
)


def needs(feature: str, further: Callable[[Any], bool] = lambda _: True) -> Any:
    return precondition(lambda self: feature in self.features and bool(self.tables) and further(self))


class SourceMachine(RuleBasedStateMachine):
    """One source, its writers, its runs and three stores."""

    open_world: ClassVar[Callable[[], AbstractContextManager[World]]]
    cluster: ClassVar[Cluster]
    # Called before and after another process uses the embedded store.
    give_up: ClassVar[Callable[[], None]]
    take_back: ClassVar[Callable[[], None]]
    features: frozenset[str] = frozenset()
    begun: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).begun += 1
        self.stack = ExitStack()
        self.world = self.stack.enter_context(self.open_world())
        self.writers = Writers(self.world.primary, self.world.database)
        self.tables: list[TableContract] = []
        self.expected: dict[str, Expected] = {}
        self.number = 0
        self.paused = self.promoted = self.failed = False

    @initialize(
        groups=st.lists(st.sampled_from(_GROUPS), min_size=1, max_size=3, unique=True),
        features=st.lists(st.sampled_from(_OFFERED), min_size=1, max_size=6, unique=True),
    )
    def create(self, groups: Sequence[str], features: Sequence[str]) -> None:
        """Choose few tables and few things that may happen: what is rare is then frequent in some histories."""
        self.features = frozenset(features)
        self.tables = parents_first([BY_NAME[name] for group in groups for name in group.split()])
        self.expected = {contract.table: Expected(contract) for contract in self.tables}
        self.world.execute(create(*self.tables))

    # --- writers

    @rule(table=st.integers(0, 3), keys=_KEYS, change=st.integers(0, 9), nesting=st.sampled_from(NESTINGS))
    @precondition(lambda self: bool(self.tables))
    def write(self, table: int, keys: list[int], change: int, nesting: str) -> None:
        """Make, change or delete some rows at once."""
        self._write(0, table, keys, change, nesting)

    @rule(
        slot=st.sampled_from(SLOTS),
        table=st.integers(0, 3),
        keys=_KEYS,
        change=st.integers(0, 9),
        nesting=st.sampled_from(NESTINGS),
    )
    @needs("transactions")
    def write_open(self, slot: int, table: int, keys: list[int], change: int, nesting: str) -> None:
        """Make, change or delete some rows in a transaction that stays open."""
        self._write(slot, table, keys, change, nesting)

    def _write(self, slot: int, table: int, keys: list[int], change: int, nesting: str) -> None:
        name = self.tables[table % len(self.tables)].table
        changes = CHANGES[name] if "changes" in self.features else (STAMPED,)
        lines = [line for key in keys for line in statements(name, key, changes[change % len(changes)], self.next)]
        self.writers.write(slot, lines, nesting if "nesting" in self.features else PLAIN)

    @property
    def next(self) -> int:
        self.number += 1
        return self.number

    @rule(which=st.integers(0, 3), how=st.sampled_from(["commit", "commit", "prepare", "rollback"]))
    @needs("transactions", lambda self: bool(self.writers.slots))
    def end(self, which: int, how: str) -> None:
        slots = self.writers.slots
        self.writers.end(slots[which % len(slots)], how)

    @rule(which=st.integers(0, 3), how=st.sampled_from(["commit", "commit", "rollback"]))
    @needs("transactions", lambda self: bool(self.writers.prepared))
    def finish_prepared(self, which: int, how: str) -> None:
        names = self.writers.prepared
        self.writers.finish(names[which % len(names)], how)

    @rule(table=st.integers(0, 3), kind=st.sampled_from([*REWRITES]))
    @needs("maintenance")
    def maintain(self, table: int, kind: str) -> None:
        self.writers.maintain(rewrites(self.tables[table % len(self.tables)].table, kind))

    # --- runs

    def looks(self) -> dict[str, Look]:
        return {contract.table: self.world.look(contract) for contract in self.tables}

    def staged(self, snapshot: Snapshot, looks: dict[str, Look], *, late: bool = False) -> None:
        """Stage all tables; note for each what the run has seen if it was staged or found nothing new."""
        for contract in self.tables:
            with self.noting(contract, [looks], late=late):
                self.world.stage(contract, snapshot)

    @contextmanager
    def noting(
        self, contract: TableContract, looks: Sequence[dict[str, Look]], *, late: bool = False
    ) -> Iterator[None]:
        before = len(self.world.area().manifests(contract.table))
        try:
            yield
            ended = True
        except OwnLensError:
            # A run that is overtaken may give up; whatever it has published before counts.
            ended = False
            if not late:
                raise
        if ended or len(self.world.area().manifests(contract.table)) > before:
            self.expected[contract.table].saw([look[contract.table] for look in looks], late=late)

    def load(self) -> None:
        for contract in self.tables:
            self.world.load(contract)

    @rule(keys=st.lists(KEYS, max_size=3))
    @precondition(lambda self: bool(self.tables))
    def run(self, keys: list[int]) -> None:
        """Load all tables, after some rows of each have changed."""
        self._stamp(keys)
        with self.world.snapshot() as snapshot:
            self.staged(snapshot, self.looks())
        self.load()

    @rule(
        how=st.sampled_from(["overtaken", "later first", "earlier first", "threads"]), keys=st.lists(KEYS, max_size=3)
    )
    @needs("rivals")
    def run_two(self, how: str, keys: list[int]) -> None:
        """Two runs at once: both snapshots are open before either stages."""
        with self.world.snapshot() as earlier:
            first = self.looks()
            self._stamp(keys)
            with self.world.snapshot() as later:
                self._stage_two(how, (earlier, first), (later, self.looks()))
        self.load()

    def _stamp(self, keys: list[int]) -> None:
        for contract in self.tables:
            for key in keys:
                self.writers.write(0, statements(contract.table, key, STAMPED, self.next))

    def _stage_two(self, how: str, earlier: tuple[Any, Any], later: tuple[Any, Any]) -> None:
        if how == "earlier first":
            self.staged(*earlier)
            self.staged(*later)
        elif how == "later first":
            self.staged(*later)
            self.staged(*earlier, late=True)
        elif how == "overtaken":
            for contract in self.tables:
                self._overtake(contract, earlier, later)
        else:
            self._stage_in_threads(earlier, later)

    def _overtake(self, contract: TableContract, earlier: tuple[Any, Any], later: tuple[Any, Any]) -> None:
        def happens() -> None:
            with self.noting(contract, [later[1]]):
                self.world.stage(contract, later[0])

        with self.noting(contract, [earlier[1]], late=True):
            overtaken: Any = Overtaken(earlier[0], happens)
            self.world.stage(contract, overtaken)

    def _stage_in_threads(self, earlier: tuple[Any, Any], later: tuple[Any, Any]) -> None:
        def stage(snapshot: Snapshot) -> None:
            for contract in self.tables:
                with suppress(OwnLensError):
                    self.world.stage(contract, snapshot)
                with suppress(OwnLensError):
                    self.world.load(contract)

        threads = [threading.Thread(target=stage, args=(snapshot,)) for snapshot, _ in (earlier, later)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for contract in self.tables:
            # Either may have been first, and one of them may have given up.
            looks = [look[contract.table] for _, look in (earlier, later)]
            self.expected[contract.table].saw(looks, late=True)

    @rule(
        point=st.sampled_from(["", *POINTS]),
        seconds=st.floats(min_value=0.05, max_value=1.5, allow_nan=False, allow_infinity=False),
    )
    @needs("kills")
    def run_killed(self, point: str, seconds: float) -> None:
        """A run dies at a point, or after so many seconds."""
        looks = self.looks()
        with ExitStack() as noting:
            for contract in self.tables:
                noting.enter_context(self._if_grown(contract, looks))
            type(self).give_up()
            try:
                killed_run(self.world, self.tables, fault=point, after=None if point else seconds)
            finally:
                type(self).take_back()

    @contextmanager
    def _if_grown(self, contract: TableContract, looks: dict[str, Look]) -> Iterator[None]:
        before = len(self.world.area().manifests(contract.table))
        yield
        if len(self.world.area().manifests(contract.table)) > before:
            self.expected[contract.table].saw([looks[contract.table]])

    # --- standbys

    @rule(pause=st.booleans())
    @needs("standby", lambda self: not self.promoted)
    def pause_or_resume(self, pause: bool) -> None:
        """The standby falls behind from now on, or catches up."""
        if pause:
            self.cluster.catch_up() if not self.paused else None
            self.cluster.pause()
        else:
            self.cluster.resume()
            self.cluster.catch_up()
        self.paused = pause

    @rule()
    @needs("standby", lambda self: not self.promoted and self.paused)
    def run_from_standby(self) -> None:
        """A run from a standby that stands still; it may be behind an earlier run from the primary."""
        self.world.place = self.cluster.standby()
        try:
            with self.world.snapshot() as snapshot:
                self.staged(snapshot, self.looks(), late=True)
            self.load()
        finally:
            self.world.place = None

    @rule()
    @needs("promotion", lambda self: not self.promoted)
    def promote(self) -> None:
        """The primary fails; its standby has all that was committed, and what was prepared."""
        self.cluster.standby()
        if self.paused:
            self.cluster.resume()
        self.cluster.catch_up()
        self.writers.leave()
        self.world.primary = self.writers.server = self.cluster.promote()
        self.promoted, self.paused = True, False

    # --- stores, contracts and profiles

    @rule()
    @needs("replays", lambda self: CLICKS in self.tables)
    def correct(self) -> None:
        """Somebody corrects the contract, and replays what was refused."""
        place = self.tables.index(CLICKS)
        self.tables[place] = corrected(CLICKS)
        replay(self.tables[place], self.world.area())
        self.expected[CLICKS.table].corrected(self.tables[place], "c")

    @rule(table=st.integers(0, 3), store=st.sampled_from(["s3", "s3", "postgresql", "clickhouse"]), ours=st.booleans())
    @needs("drops")
    def drop(self, table: int, store: str, ours: bool) -> None:
        """Somebody drops a table of a store."""
        drop_table(self.world.stores[store], self.tables[table % len(self.tables)], rows_only=ours)

    @rule()
    @needs("profiles")
    def intrude(self) -> None:
        """Another profile with the same staging folder tries its luck."""
        self.world.execute("CREATE SCHEMA IF NOT EXISTS other")
        contract = self.tables[0]
        if not self.world.area().manifests(contract.table):
            return
        with suppress(Exception):
            self.world.execute(create(contract, schema="other").replace("REFERENCES authors", ""))
        for line in statements(contract.table, 99, BACKDATED, self.next):
            self.world.execute(f"SET search_path = other; {line.replace('SELECT min(author_id) FROM authors', '1')}")
        self._try_other(contract)

    def _try_other(self, contract: TableContract) -> None:
        before = len(self.world.area().manifests(contract.table))
        self.world.schema = "other"
        try:
            with self.world.snapshot() as snapshot:
                self.world.stage(contract, snapshot)
            refused = False
        except OwnLensError:
            refused = True
        finally:
            self.world.schema = "public"
        grown = len(self.world.area().manifests(contract.table)) > before
        assert refused, f"{contract.table}: another schema was let into the staging folder"
        assert not grown, f"{contract.table}: rows of another schema were staged"

    # --- the end

    def teardown(self) -> None:
        try:
            if self.tables:
                settle(self)
        finally:
            self.writers.leave()
            self.stack.close()
            if self.promoted:
                self.cluster.close()
            elif self.paused:
                self.cluster.resume()


def run_histories(machine: type[SourceMachine], histories: int, *, shrink: bool, same: bool) -> None:
    """Run random histories, the `same` ones every time.

    Raises:
        AssertionError: a store differs at the end of one; Hypothesis prints the shortest one that it found.
    """
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=same,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
