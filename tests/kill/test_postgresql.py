"""The load's connection, its server process or the whole server dies before each statement of a load in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import CommitUnknown, Retryable
from ownlens_plugins.testing import canonical_rows, make_plan, sample_contract, sample_rows, sample_table
from ownlens_postgresql.config import PostgreSQLConfig
from ownlens_postgresql.connection import Connection
from ownlens_postgresql.destination import PostgreSQLDestination

from .checking import Rows, Verdict, rows_of
from .postgresql_server import Server, running_server
from .sweeping import Tally, judge

STRATEGIES = [Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE]
DEATHS: dict[str, Callable[[Server], None]] = {
    "connection ended": Server.end_backend,
    "backend killed": Server.kill_backend,
    "server stopped": Server.stop_at_once,
}
# A load takes this many statements at least; fewer would mean that the hook has missed some.
FEWEST = 15


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@dataclass
class Table:
    """One table, and what it should hold after each of its loads, which follow one another."""

    server: Server
    contract: TableContract
    config: PostgreSQLConfig
    folder: Path
    strategy: Strategy
    loads: int = 0
    rows: Rows = field(default_factory=Counter)

    def next_plan(self) -> tuple[LoadPlan, Rows]:
        """Stage the next set, half of whose keys are those of the last, and return it with the rows due after it."""
        first = self.loads * (20 if self.strategy is Strategy.APPEND else 10)
        table = sample_table(self.contract, sample_rows(20, first=first, version=self.loads))
        self.loads += 1
        plan = make_plan(PostgreSQLDestination, self.contract, table, self.folder, sequence=self.loads)
        staged = Counter(map(repr, canonical_rows(table)))
        keys = set(table["id"].to_pylist())
        kept = Counter({row: n for row, n in self.rows.items() if int(row[1:].split(",")[0]) not in keys})
        return plan, staged if self.strategy is Strategy.OVERWRITE else kept + staged

    def check(self, plan: LoadPlan, new: Rows) -> Verdict:
        """Read, load normally, look at everything, and once more."""
        destination = PostgreSQLDestination(self.config)
        before = rows_of(destination, plan)
        seen = {True: "old"}.get(before == self.rows, "new" if before == new else "other")
        load(destination, plan)
        landed = rows_of(destination, plan)
        problems = self._problems()
        if not load(destination, plan).replayed or rows_of(destination, plan) != landed or self._problems():
            problems.append("a third run changed something")
        self.rows = new
        return Verdict(seen, (new - landed).total(), (landed - new).total(), problems)

    def _problems(self) -> list[str]:
        ledger = self.server.sql(f"SELECT sequence FROM ownlens.loads WHERE table_name = '{self.contract.table}'")
        left = self.server.sql(r"SELECT relname FROM pg_class WHERE relname LIKE '\_ownlens%'")
        problems = [f"left behind: {left}"] if left else []
        if sorted(ledger) != [(number + 1,) for number in range(self.loads)]:
            problems.append(f"the ledger holds {len(ledger)} loads, where {self.loads} are due")
        return problems


@dataclass
class Dying:
    """Lets a server die before the n-th of the driver's calls; `met` says whether there were so many."""

    server: Server
    die: Callable[[Server], None]
    number: int
    calls: int = 0

    @property
    def met(self) -> bool:
        return self.calls >= self.number

    def load(self, plan: LoadPlan, config: PostgreSQLConfig, patch: pytest.MonkeyPatch) -> None:
        answer = Connection._answer

        def dying(connection: Connection, function: Callable[[], Any], seconds: float) -> Any:
            self.calls += 1
            if self.calls == self.number:
                self.die(self.server)
            return answer(connection, function, seconds)

        patch.setattr(Connection, "_answer", dying)
        try:
            load(PostgreSQLDestination(config), plan)
        except (Retryable, CommitUnknown):
            assert self.met
        if not self.met:  # acknowledged: it must outlive the server
            self.die(self.server)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("death", DEATHS)
def test_dies_before_each_statement(
    server: Server, tmp_path: Path, sample: int, record_property: Any, death: str, strategy: Strategy
) -> None:
    name = f"{strategy.value}_{death.replace(' ', '_')}"
    block = {"postgresql": {"strategy": strategy.value}}
    contract = sample_contract(table=name, path=f"tests/{name}", extraction="whole", destinations=block)
    config = PostgreSQLConfig(host=server.host, database="postgres", user="postgres")
    table = Table(server, contract, config, tmp_path, strategy)
    plan, table.rows = table.next_plan()
    load(PostgreSQLDestination(config), plan)
    tally = Tally("postgresql", f"{strategy.value}, {death}")
    met = True
    while met:
        plan, new = table.next_plan()
        dying = Dying(server, DEATHS[death], tally.points * sample + 1)
        with pytest.MonkeyPatch.context() as patch:
            dying.load(plan, config, patch)
        met = dying.met
        tally.points += 1
        tally.add(f"statement {tally.points}", "statement" if met else "acknowledged", table.check(plan, new))
    tally.calls = dying.calls

    judge(tally, record_property)
    assert tally.calls > FEWEST
    assert tally.views == {"old", "new"}
    assert tally.seen["acknowledged"] == {"new": 1}
