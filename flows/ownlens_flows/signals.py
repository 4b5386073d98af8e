"""What a run tells the Prefect server at its end: events that automations act on, and which loads were slow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from prefect.client.orchestration import get_client
from prefect.events import emit_event

from ownlens_plugins.engine.outcomes import LoadOutcome, Status
from ownlens_plugins.settings import Profile

from .report import RunReport
from .run import logger

FINISHED, FAILED = "ownlens.load.finished", "ownlens.load.failed"
SLOW, MISMATCH = "ownlens.load.slow", "ownlens.load.mismatch"
# A median of fewer runs says little; more would outlive a change of hardware or of the table.
FEWEST_RUNS, MOST_RUNS = 5, 20
Load = Mapping[str, Any]


def tell(event: str, message: str, **payload: Any) -> None:
    """Emit one event of this run; Prefect relates it to the flow run and its deployment."""
    emit_event(event, resource={"prefect.resource.id": "ownlens.load"}, payload={"message": message, **payload})


def reach_server() -> None:
    """Ask the Prefect server for its health.

    Raises:
        Exception: it is away, of any of Prefect's and httpx's kinds.
    """
    with get_client(sync_client=True) as client:
        if (trouble := client.api_healthcheck()) is not None:
            raise trouble


def tell_report(report: RunReport, profile: Profile) -> None:
    """Emit the events of a run that came to its end: at most one of each kind, however many loads it concerns."""
    document = report.document()
    slow = slow_loads(report.outcomes.values(), past_loads(), profile)
    if slow:
        tell(SLOW, _sentence("slower than usual", slow), loads=slow)
    if report.mismatches:
        mismatches = [{"table": table, "destination": where} for table, where in report.mismatches]
        tell(MISMATCH, "; ".join(dict.fromkeys(report.mismatches.values())), loads=mismatches)
    tell(FINISHED if document["succeeded"] else FAILED, **document)


def _sentence(what: str, loads: Sequence[Load]) -> str:
    return f"{what}: " + ", ".join(f"{load['table']} into {load['destination']}" for load in loads)


def past_loads() -> list[Load]:
    """Return the loads that the newest runs told the server about; none when it cannot be asked."""
    wanted = {"filter": {"event": {"name": [FINISHED, FAILED]}, "order": "DESC"}, "limit": MOST_RUNS}
    try:
        with get_client(sync_client=True) as client:
            events = client.request("POST", "/events/filter", json=wanted).json()["events"]
    except Exception as error:
        # Without history nothing is called slow; the loads themselves went well.
        logger.warning("no history of loads from the Prefect server: %s", type(error).__name__)
        return []
    return [load for event in events for load in event["payload"].get("loads", ())]


def slow_loads(outcomes: Iterable[LoadOutcome], past: Iterable[Load], profile: Profile) -> list[Load]:
    """Return the loads whose rows per second fell below their own median by more than the profile's `slow_ratio`."""
    speeds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for load in past:
        if load["status"] == Status.LOADED.value and load["rows"] and load["seconds"]:
            speeds[load["table"], load["destination"]].append(load["rows"] / load["seconds"])
    judged = ((outcome, speeds[outcome.table, outcome.destination]) for outcome in outcomes)
    return [_slow(outcome, median(known)) for outcome, known in judged if known and _is_slow(outcome, known, profile)]


def _is_slow(outcome: LoadOutcome, known: Sequence[float], profile: Profile) -> bool:
    if outcome.status is not Status.LOADED or outcome.seconds < profile.slow_seconds or len(known) < FEWEST_RUNS:
        return False
    return 0 < outcome.rows_per_second * profile.slow_ratio < median(known)


def _slow(outcome: LoadOutcome, usual: float) -> Load:
    return {
        "table": outcome.table,
        "destination": outcome.destination,
        "rows": outcome.rows,
        "seconds": round(outcome.seconds, 2),
        "rows_per_second": round(outcome.rows_per_second),
        "usual_rows_per_second": round(usual),
    }
