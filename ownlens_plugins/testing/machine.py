"""Random histories of one table: loads, kills, retries, rivals and old sets in any order, against a plain model."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ..api import Destination, LoadPlan
from ..contracts import Strategy, TableContract
from ..errors import OwnLensError
from ..powers import SupportsMaintenance
from .comparing import row_texts
from .processes import race, until_done
from .trial import Traces, Trial

_STEPS = 12
_KILLED_WITHIN_SECONDS = 0.2
# More histories than a quick run: `make kill` sets it.
_HISTORIES = "OWNLENS_HISTORIES"


@dataclass(frozen=True)
class Subject:
    """What histories are made of.

    `opened` returns a destination with an empty store in a folder; `look` its traces. `in_steps` says that readers can
    see a commit in steps while it goes on, and so after a kill.
    """

    opened: Callable[[Path], Destination[Any, Any]]
    contract: TableContract
    strategy: Strategy
    look: Callable[[Any, LoadPlan], Traces]
    kill_points: Sequence[str]
    in_steps: bool = False


class DestinationMachine(RuleBasedStateMachine):
    """One table of one destination. Sets are staged in order; everything else may happen to them."""

    subject: ClassVar[Subject]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ownlens-history-"))
        subject = self.subject
        destination = subject.opened(self.folder)
        self.trial = Trial(destination, subject.contract, subject.strategy, self.folder / "staged", subject.look)
        self.staged: list[LoadPlan] = []
        self.done = 0
        self.torn = False

    @rule()
    @precondition(lambda self: len(self.staged) < _STEPS)
    def stage(self) -> None:
        """Stage the next set."""
        self.staged.append(self.trial.numbered(len(self.staged)))

    @rule()
    @precondition(lambda self: self.done < len(self.staged))
    def load(self) -> None:
        """Load the oldest set that is not loaded, again after errors."""
        self._finish(self.staged[self.done])

    def _finish(self, plan: LoadPlan) -> None:
        result = until_done(self.trial.destination, plan)
        assert result.rows == plan.rows, f"{plan.load_id} counted {result.rows} of {plan.rows} rows"
        self.trial.expect(plan, self.trial.rows(self.done))
        self.done += 1
        self.torn = False

    @rule(data=st.data())
    @precondition(lambda self: self.done < len(self.staged))
    def kill(self, data: st.DataObject) -> None:
        """Kill a process in the middle of the next load, and leave it so."""
        point = data.draw(st.sampled_from(self.subject.kill_points))
        self.torn = self.trial.in_process(self.staged[self.done], fault=point).killed()

    @rule(written=st.integers(min_value=0, max_value=2), ended=st.booleans())
    @precondition(lambda self: self.done < len(self.staged))
    def drop_attempt(self, written: int, ended: bool) -> None:
        """Open an attempt at the next load, write some parts, and forget or abort it."""
        plan = self.staged[self.done]
        with self.trial.destination.open(plan) as session:
            for part in plan.parts[:written]:
                session.writer.write(part)
            if ended:
                session.abort()

    @rule(racers=st.integers(min_value=2, max_value=3))
    @precondition(lambda self: self.done < len(self.staged))
    def race(self, racers: int) -> None:
        """Load the next set from several processes at once."""
        plan = self.staged[self.done]
        results = race([self.trial.in_process(plan, waits=True) for _ in range(racers)])
        assert sum(not result.replayed for result in results) <= 1
        self._finish(plan)

    @rule(data=st.data())
    @precondition(lambda self: self.done > 0)
    def replay_old(self, data: st.DataObject) -> None:
        """Load a set again that is loaded already, through the engine or behind its back."""
        plan = data.draw(st.sampled_from(self.staged[: self.done]))
        if data.draw(st.booleans()):
            assert self.trial.replay(plan).replayed
            return
        with self.trial.destination.open(plan) as session, suppress(OwnLensError):
            assert session.commit(self.trial.write(session, plan)).replayed

    @rule(data=st.data(), killed=st.booleans())
    @precondition(lambda self: self.done > 0 and isinstance(self.trial.destination, SupportsMaintenance))
    def maintain(self, data: st.DataObject, killed: bool) -> None:
        """Maintain the table, or begin to in a process that is killed; some of the sets are staged no longer."""
        upkeep = self.trial.upkeep(settled=data.draw(st.integers(min_value=0, max_value=self.done)))
        self.trial.settled = max(self.trial.settled, upkeep.settled)
        if not killed:
            self.trial.maintain(upkeep)
            return
        process = self.trial.in_process(waits=True, upkeeps=[upkeep])
        process.wait_until_ready()
        process.go()
        time.sleep(data.draw(st.floats(min_value=0, max_value=_KILLED_WITHIN_SECONDS)))
        process.kill()

    @rule()
    @precondition(lambda self: self.done < len(self.staged) and isinstance(self.trial.destination, SupportsMaintenance))
    def load_beside_maintenance(self) -> None:
        """Load the next set while another process maintains the table."""
        plan, upkeep = self.staged[self.done], self.trial.upkeep(settled=self.trial.settled)
        race([self.trial.in_process(plan, waits=True), self.trial.in_process(waits=True, upkeeps=[upkeep])])
        self._finish(plan)

    @rule()
    def let_go(self) -> None:
        """Let go of connections."""
        self.trial.destination.close()

    @invariant()
    def rows_are_exact(self) -> None:
        """Whatever happened, readers see each row of the committed loads once, and nothing of the others."""
        if self.done < len(self.staged) and self.trial.destination.find_commit(self.staged[self.done]):
            self._finish(self.staged[self.done])  # some crashes come after the commit, or others finish their work
        if self.torn:
            self._require_old_or_new()
        elif self.staged:
            self.trial.require("after any history the table holds each row once")

    def _require_old_or_new(self) -> None:
        """After a kill the rows may be visible before the load's marker is, but not some of them."""
        if self.subject.in_steps:
            return
        landed, new = row_texts(self.trial.landed()), self.trial.expected(self.trial.rows(self.done))
        if landed != row_texts(new):
            self.trial.require("after a kill the table holds the rows of before or those of after")

    def teardown(self) -> None:
        """Bring the history to its end, and look at everything."""
        try:
            while self.done < len(self.staged):
                self.load()
            if self.staged:
                self.trial.require_settled(self.staged[-1], "after any history")
        finally:
            self.trial.destination.close()
            shutil.rmtree(self.folder, ignore_errors=True)


def run_histories(subject: Subject, histories: int, *, shrink: bool = True) -> None:
    """Run random histories, as many as the environment's OWNLENS_HISTORIES says if that is more.

    Raises:
        AssertionError: a history ended with other rows than the model; Hypothesis prints the shortest one it found.
    """
    wanted = max(histories, int(os.environ.get(_HISTORIES, "0")))
    run_state_machine_as_test(
        type("History", (DestinationMachine,), {"subject": subject}),
        settings=settings(
            max_examples=wanted,
            stateful_step_count=_STEPS,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
