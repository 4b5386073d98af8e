"""Say which parameter of a deployment's run is unknown: Prefect's server takes it, and the run's process crashes.

`enforce_parameter_schema` refuses a wrong `request`, but the schema that Prefect makes of a flow cannot forbid further
parameters beside it. The process then ends before a line of the flow runs, with a message that names nothing.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.states import Failed

from .request import LoadRequest

KNOWN = "request"


def tell_unknown_parameters(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Hook of a crashed run: when it crashed for an unknown parameter, its state becomes Failed and names it."""
    unknown = sorted(flow_run.parameters.keys() - {KNOWN})
    if not unknown:
        return
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run.id, Failed(message=unknown_parameter(unknown[0])), force=True)


def unknown_parameter(name: str) -> str:
    """Return what is wrong with a parameter beside `request`, and what to write instead."""
    if get_close_matches(name, [KNOWN]):
        return f"unknown parameter {name!r}; did you mean {KNOWN!r}? Nothing was loaded"
    fields = get_close_matches(name, LoadRequest.model_fields, n=1, cutoff=0.6)
    near = f'write it inside of request, as {{"{fields[0]}": …}}' if fields else f"the only parameter is {KNOWN!r}"
    return f"unknown parameter {name!r}; {near}. Nothing was loaded"
