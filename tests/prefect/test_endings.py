"""How runs end on a real server and worker: cancelled at a safe point, crashed for a parameter, or not at all."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from .conftest import run_python
from .stack import Stack, eventually
from .webhook import Inbox

SILENCE = 15


@contextmanager
def kept_out(stack: Stack) -> Iterator[psycopg.Connection[Any]]:
    """Keep every load out of the warehouse's table of browsers, until the connection commits."""
    with psycopg.connect(stack.servers.warehouse) as holder:
        holder.execute("LOCK TABLE newsroom.browsers IN ACCESS EXCLUSIVE MODE")
        yield holder


def waits(stack: Stack) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'loader'"
    with psycopg.connect(stack.servers.warehouse) as asking:
        return asking.execute(query).fetchone() != (0,)


def lines(stack: Stack, run: str) -> str:
    found = stack.ask("POST", "/logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)
    return "\n".join(f"{line['timestamp'][11:19]} {line['message']}" for line in found)


def start(stack: Stack, **parameters: Any) -> str:
    path = f"/deployments/{stack.deployment('adhoc')['id']}/create_flow_run"
    return stack.ask("POST", path, parameters=parameters)["id"]


def test_a_cancelled_load_does_not_commit_and_is_made_up_for(stack: Stack, inbox: Inbox) -> None:
    request = {"tables": ["browsers"], "destinations": ["postgresql"], "full_refresh": True}
    assert stack.adhoc(request)["state"]["type"] == "COMPLETED"
    with psycopg.connect(stack.servers.source, autocommit=True) as source:
        source.execute(
            "UPDATE browsers SET name = 'Cancelled' WHERE browser_id = (SELECT min(browser_id) FROM browsers)"
        )
    with kept_out(stack) as holder:
        run = start(stack, request=request)
        eventually(lambda: waits(stack), what="the load waits")
        assert stack.run("prefect", "flow-run", "cancel", run).returncode == 0
        eventually(lambda: "the run stops" in lines(stack, run), what="the run hears of it")
        holder.commit()
        eventually(lambda: "Flow run was cancelled." in lines(stack, run), what="the flow ends", patience=20)
        ended = eventually(lambda: stack.ended(run), what="the run ends")
    # The worker calls it Cancelled when it finds the process gone, which can take it up to 30 s more.
    assert ended["state"]["type"] == "CANCELLED"
    # The signal, or the server's word that the run asks for itself: on a busy machine that may come first.
    assert re.search(r"stopped \((SIGTERM|cancellation)\) before anything landed", lines(stack, run))
    with psycopg.connect(stack.servers.warehouse) as warehouse:
        changed = "SELECT count(*) FROM newsroom.browsers WHERE name = 'Cancelled'"
        assert warehouse.execute(changed).fetchone() == (0,)
        again = stack.adhoc({"tables": ["browsers"], "destinations": ["postgresql"]})
        assert again["state"]["message"] == "1 loads: 1 loaded, 0 with nothing new"
        assert [row["validation"] for row in stack.summary(again)] == ["passed"]
        warehouse.rollback()
        assert warehouse.execute(changed).fetchone() == (1,)
    (alert,) = eventually(lambda: inbox.holding("OwnLens: cancellation of a load"), what="the alert arrives")
    assert ended["name"] in alert


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"tables": ["browsers"]}, "unknown parameter 'tables'; write it inside of request, as {\"tables\": …}"),
        ({"reqest": {}}, "unknown parameter 'reqest'; did you mean 'request'? Nothing was loaded"),
    ],
)
def test_an_unknown_parameter_is_named_in_the_state(stack: Stack, parameters: dict[str, Any], said: str) -> None:
    run = start(stack, **parameters)
    ended = eventually(lambda: failed(stack, run), what="the run fails", patience=180)
    assert said in ended["state"]["message"]


def failed(stack: Stack, run: str) -> dict[str, Any] | None:
    found = stack.ask("GET", f"/flow_runs/{run}")
    return found if found["state"]["type"] == "FAILED" else None


def completed(stack: Stack) -> list[dict[str, str]]:
    """What Prefect relates to a run of `adhoc`."""
    names = {"flow": "load-tables", "deployment": "adhoc"}
    place = f"prefect.deployment.{stack.deployment('adhoc')['id']}"
    return [
        {"prefect.resource.id": place if role == "deployment" else f"prefect.{role}.x", "prefect.resource.role": role}
        | {"prefect.resource.name": name}
        for role, name in names.items()
    ]


def test_a_deployment_that_completes_no_run_is_told_of_once(stack: Stack, inbox: Inbox) -> None:
    said = run_python(
        stack, "-m", "ownlens_flows.automations", "--notify", "custom-webhook/inbox", "--expect", f"adhoc={SILENCE}s"
    )
    assert said.splitlines()[-1] == "ownlens silence of adhoc"
    try:
        stack.emit("prefect.flow-run.Completed", f"prefect.flow-run.{uuid4()}", {}, related=completed(stack))
        told = "no run of adhoc has completed for 0:00:15; look for one that hangs, and at the worker"
        eventually(lambda: inbox.holding(told), what="the alert arrives")
        time.sleep(2 * SILENCE)
        assert len(inbox.holding(told)) == 1
    finally:
        found = stack.ask("POST", "/automations/filter")
        (mine,) = [automation["id"] for automation in found if automation["name"] == "ownlens silence of adhoc"]
        stack.ask("DELETE", f"/automations/{mine}")
