"""One table of one destination under test: what was loaded into it, and what it must therefore hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..api import Destination, LoadPlan, LoadResult, LoadSession, Receipt
from ..contracts import Strategy, TableContract
from ..engine.loading import load
from ..powers import Chore, SupportsPosition, Upkeep
from .comparing import require_rows
from .model import Row, TableModel, staged_set
from .processes import Running, Work, prepare, until_maintained
from .samples import make_plan, sample_table

# After every row of `staged_set`.
TODAY = date(2026, 2, 1)


@dataclass(frozen=True, slots=True)
class Traces:
    """What a destination keeps about a table besides its rows.

    `ledger` has the sequence of each applied load, once for every entry that the destination holds of it, ascending.
    `leftovers` has the names of everything that attempts made in the store and that no reader needs.
    """

    ledger: Sequence[int]
    leftovers: Sequence[str]


@dataclass
class Trial:
    """Loads numbered sets into one table, and checks the table against a model of it."""

    destination: Destination[Any, Any]
    contract: TableContract
    strategy: Strategy
    folder: Path
    look: Callable[[Destination[Any, Any], LoadPlan], Traces]
    model: TableModel = field(init=False)
    ledger: list[int] = field(default_factory=list)
    settled: int = 0
    _staged: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.model = TableModel(self.strategy)

    def rows(self, number: int) -> list[dict[str, Any]]:
        return staged_set(self.strategy, number)

    def plan(self, rows: Sequence[Row] | pa.Table, *, sequence: int, parts: int = 2) -> LoadPlan:
        """Stage rows as the set of this sequence, in another folder than those that were so before."""
        table = rows if isinstance(rows, pa.Table) else sample_table(self.contract, rows)
        place = f"{self.contract.path}/{sequence}"
        folder = self.folder / f"again-{self._staged[place]}" if self._staged[place] else self.folder
        self._staged[place] += table.num_rows > 0
        return make_plan(
            self.destination, self.contract, table, folder, sequence=sequence, parts=parts, strategy=self.strategy
        )

    def numbered(self, number: int) -> LoadPlan:
        """Stage the set of a number, 0 being the first; its sequence is one more."""
        return self.plan(self.rows(number), sequence=number + 1)

    def start(self) -> LoadPlan:
        """Load set 0, and return the plan of set 1."""
        self.load(self.numbered(0), self.rows(0))
        return self.numbered(1)

    def load(self, plan: LoadPlan, rows: Sequence[Row]) -> LoadResult:
        """Load a plan, and expect its rows from now on."""
        result = load(self.destination, plan)
        self.expect(plan, rows)
        return result

    def expect(self, plan: LoadPlan, rows: Sequence[Row]) -> None:
        """Expect the plan's rows from now on, and its entry in the ledger."""
        self.model.apply(rows)
        self.ledger = sorted([*self.ledger, plan.sequence])

    def replay(self, plan: LoadPlan) -> LoadResult:
        return load(self.destination, plan)

    def upkeep(self, *, settled: int = 0, today: date = TODAY, dry_run: bool = False) -> Upkeep:
        options = self.destination.options_type.model_validate(self.contract.options_for(self.destination.name))
        return Upkeep(self.contract, options, settled, today, dry_run)

    def maintain(self, upkeep: Upkeep) -> list[Chore]:
        """Maintain the table, and expect from now on that the ledger may have forgotten what is settled."""
        if not upkeep.dry_run:
            self.settled = max(self.settled, upkeep.settled)
        return until_maintained(self.destination, upkeep)

    def write(self, session: LoadSession, plan: LoadPlan) -> list[Receipt]:
        return [session.writer.write(part) for part in plan.parts]

    def landed(self) -> pa.Table:
        """Return the rows that any reader sees now."""
        return self.destination.read(self.plan([], sequence=999_999)).read_all()

    def expected(self, *more: Sequence[Row]) -> pa.Table:
        """Return the rows that must be visible, as they would be after more sets too."""
        model = replace(self.model, rows=list(self.model.rows)) if more else self.model
        for rows in more:
            model.apply(rows)
        return sample_table(self.contract, model.rows)

    def require(self, promise: str) -> None:
        """Check the visible rows.

        Raises:
            AssertionError: they are not those that were loaded.
        """
        require_rows(self.landed(), self.expected(), promise)

    def require_settled(self, plan: LoadPlan, promise: str) -> None:
        """Check the visible rows, the ledger, and that no attempt left anything; then the same after another load."""
        self._require_exact(plan, promise)
        assert self.replay(plan).replayed, f"{promise}: the load was applied again"
        self._require_exact(plan, f"{promise}, and the same load once more changes nothing")

    def _require_exact(self, plan: LoadPlan, moment: str) -> None:
        self.require(moment)
        traces = self.look(self.destination, plan)
        found, wanted = ([n for n in loads if n > self.settled] for loads in (traces.ledger, self.ledger))
        assert found == wanted, f"{moment}: the ledger must hold loads {wanted}, each once, but holds {found}"
        self._require_position(moment)
        assert not traces.leftovers, f"{moment}: attempts left {sorted(traces.leftovers)[:5]}"

    def _require_position(self, moment: str) -> None:
        if isinstance(self.destination, SupportsPosition) and self.ledger:
            position = self.destination.position(self.contract)
            assert position == self.ledger[-1], f"{moment}: the position must be {self.ledger[-1]}, but is {position}"

    def in_process(
        self, *plans: LoadPlan, fault: str = "", waits: bool = False, upkeeps: Sequence[Upkeep] = ()
    ) -> Running:
        """Start a process that loads plans, then maintains. An embedded store is given up here, to be opened there."""
        self.destination.close()
        prepare([type(self.destination).__module__])
        return Running(Work(type(self.destination), self.destination.config, plans, fault, waits, upkeeps))
