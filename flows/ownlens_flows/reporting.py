"""Tell the Prefect server what a run did. It is told patiently, and never decides over what the loads were."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prefect.artifacts import create_table_artifact

from ownlens_plugins.settings import Profile

from .finding import ask_server
from .report import RunReport
from .run import logger
from .signals import FAILED, reach_server, tell, tell_report

# Seconds that a server may be away at the end of a run, in all; a run that was told to stop has no such time.
PATIENCE = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0


@dataclass
class _Teller:
    """Says one thing after the other, and waits for the server at most `patience` seconds in all."""

    patience: float
    untold: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.patience

    def say(self, what: str, act: Callable[[], Any]) -> bool:
        pause = _FIRST_PAUSE
        while True:
            try:
                act()
                return True
            except Exception as error:
                if time.monotonic() + pause > self._until:
                    self._give_up(what, error)
                    return False
                logger.warning("the Prefect server was not told %s (%s); trying again", what, type(error).__name__)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _give_up(self, what: str, error: Exception) -> None:
        logger.error("the Prefect server was not told %s: %s", what, type(error).__name__)
        self.untold.append(f"the Prefect server was not told {what} ({type(error).__name__})")


def tell_all(report: RunReport, profile: Profile) -> None:
    """Make the summary artifact and emit the events; what could not be told is noted in the report."""
    if report.stopped and (trouble := ask_server()) is not None:
        # A run that was told to stop has no time: whoever sent the signal waits for it.
        logger.error("the Prefect server was not told of the stop: %s", type(trouble).__name__)
        report.untold.append(f"the Prefect server was not told of the stop ({type(trouble).__name__})")
        return
    teller = _Teller(0.0 if report.stopped else PATIENCE)
    teller.say("the summary", lambda: _make_artifact(report))
    # Events leave through a thread that drops them, without a word, when the server is away.
    if teller.say("the events", reach_server):
        tell_report(report, profile)
    report.untold += teller.untold


def _make_artifact(report: RunReport) -> None:
    create_table_artifact(report.table_rows(), key="ownlens-load-summary", description=report.message())


def tell_failure(message: str) -> None:
    """Emit the event of a run that could not be run at all."""
    if _Teller(PATIENCE).say("the failure", reach_server):
        tell(FAILED, message)
