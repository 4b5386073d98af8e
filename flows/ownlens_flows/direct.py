"""Run the load flow from a program, and get its report back rather than only its state."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from .load import RUNNER, roll_up, run_loads
from .report import RunReport
from .request import LoadRequest
from .run import Observer, ignore
from .serving import ensure_server


def run_in_flow(request: LoadRequest, *, observe: Observer = ignore) -> RunReport:
    """Run a request as a flow run of this process and return what it did, also when a signal stopped it.

    Raises:
        OwnLensError: the request cannot be run at all; nothing has been touched.
    """
    ensure_server()
    reports: list[RunReport] = []
    errors: list[Exception] = []

    @flow(name="load-tables", task_runner=RUNNER, persist_result=False)
    def load_tables(request: LoadRequest) -> State[Any]:
        try:
            reports.append(run_loads(request, observe=observe))
        except Exception as error:
            errors.append(error)
            raise
        return roll_up(reports[0])

    load_tables(request, return_state=True)
    if errors:
        raise errors[0]
    return reports[0]
