"""Deployments of prefect.yaml on a real server and worker, asserted through the server's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import psycopg
import pytest

from ownlens_flows.signals import FAILED, FEWEST_RUNS, FINISHED, MISMATCH, SLOW

from .conftest import ALERTS, run_python
from .stack import PATIENCE, Stack, eventually
from .webhook import Inbox

TABLES = ("browsers", "cities", "countries")
STORES = ("clickhouse", "postgresql", "s3")
LOADS = [(table, store) for table in TABLES for store in STORES]


@pytest.fixture(scope="module")
def first_run(stack: Stack, inbox: Inbox) -> dict[str, Any]:
    """The flow run of a few tables into all stores, started and watched from the command line."""
    assert stack.watched({"tables": list(TABLES)}) == 0
    return stack.runs_of("adhoc")[0]


def test_the_run_is_completed_and_says_what_it_did(first_run: dict[str, Any]) -> None:
    assert first_run["state"]["type"] == "COMPLETED"
    assert first_run["state"]["message"] == "9 loads: 9 loaded, 0 with nothing new"


def test_the_rows_are_there(stack: Stack, first_run: dict[str, Any]) -> None:
    counts = {load["table"]: load["rows"] for load in stack.summary(first_run)}
    with psycopg.connect(stack.servers.source) as source, psycopg.connect(stack.servers.warehouse) as warehouse:
        for table in TABLES:
            expected = source.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert warehouse.execute(f"SELECT count(*) FROM newsroom.{table}".encode()).fetchone() == expected
            assert (counts[table],) == expected


def test_one_summary_artifact_lists_every_load(stack: Stack, first_run: dict[str, Any]) -> None:
    rows = stack.summary(first_run)
    assert [(row["table"], row["destination"]) for row in rows] == LOADS
    assert {(row["status"], row["validation"]) for row in rows} == {("loaded", "passed")}


def test_assets_lead_from_the_source_to_each_store_with_row_counts(stack: Stack, first_run: dict[str, Any]) -> None:
    made = eventually(lambda: materialized(stack, len(LOADS) + len(TABLES)), what="assets are stored")
    for table in TABLES:
        assert upstream(made[f"staged://ownlens/{table}"]) == {f"source://ownlens/{table}"}
        rows = made[f"staged://ownlens/{table}"]["payload"]["rows"]
        assert rows > 0
        for store in STORES:
            asset = made[f"{store}://ownlens/{table}"]
            assert upstream(asset) == {f"staged://ownlens/{table}"}
            assert asset["payload"]["rows"] == asset["payload"]["inserted"] == rows


def materialized(stack: Stack, number: int) -> dict[str, dict[str, Any]]:
    """Return the newest event of each asset, once there are so many."""
    events = stack.events("prefect.asset.materialization.succeeded")
    found = {event["resource"]["prefect.resource.id"]: event for event in reversed(events)}
    return found if len(found) >= number else {}


def upstream(event: dict[str, Any]) -> set[str]:
    return {r["prefect.resource.id"] for r in event["related"] if r.get("prefect.resource.role") == "asset"}


def test_the_runs_log_tells_of_each_load(stack: Stack, first_run: dict[str, Any]) -> None:
    wanted = {"flow_run_id": {"any_": [first_run["id"]]}}
    lines = [line["message"] for line in stack.ask("POST", "/logs/filter", logs=wanted, limit=200)]
    assert any("load countries/00000001 into s3 ended" in line for line in lines)


def test_a_finished_event_belongs_to_the_run(stack: Stack, first_run: dict[str, Any]) -> None:
    (event,) = eventually(lambda: events_of(stack, FINISHED, first_run), what="the event is stored")
    assert event["payload"]["message"] == "9 loads: 9 loaded, 0 with nothing new"
    assert len(event["payload"]["loads"]) == len(LOADS)


def events_of(stack: Stack, name: str, run: dict[str, Any]) -> list[dict[str, Any]]:
    mine = f"prefect.flow-run.{run['id']}"
    return [e for e in stack.events(name) if mine in {r["prefect.resource.id"] for r in e["related"]}]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"tabels": ["countries"]}, "'tabels' was unexpected"),
        ({"tables": "countries"}, "request.tables"),
        ({"full_refresh": "sometimes"}, "is not of type 'boolean'"),
        ({"blocks": {"s3": {"password": 1}}}, "is not of type 'string'"),
    ],
)
def test_the_server_refuses_a_wrong_parameter(stack: Stack, request_: dict[str, Any], said: str) -> None:
    deployment = stack.deployment("adhoc")["id"]
    before = len(stack.runs_of("adhoc"))
    with pytest.raises(httpx.HTTPStatusError) as refused:
        stack.ask("POST", f"/deployments/{deployment}/create_flow_run", parameters={"request": request_})
    assert refused.value.response.status_code in (409, 422)
    assert said in refused.value.response.json()["detail"]
    assert len(stack.runs_of("adhoc")) == before


@pytest.mark.parametrize(
    ("name", "cron"), [("nightly", "15 2 * * *"), ("hourly-events", "5 * * * *"), ("maintain", "15 4 * * *")]
)
def test_schedules_have_runs_waiting(stack: Stack, name: str, cron: str) -> None:
    deployment = stack.deployment(name)
    (schedule,) = deployment["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"], schedule["active"]) == (cron, "UTC", True)
    chosen = {"deployments": {"id": {"any_": [deployment["id"]]}}}
    assert eventually(lambda: stack.ask("POST", "/flow_runs/filter", **chosen), what="the scheduler makes runs")


def test_maintenance_runs_as_a_deployment(stack: Stack, first_run: dict[str, Any]) -> None:
    parameter = 'request={"tables": ["browsers"], "plan": true}'
    done = stack.run("prefect", "deployment", "run", "maintain-tables/maintain", "--param", parameter, "--watch")
    assert done.returncode == 0, done.stdout


def test_an_event_after_a_transform_starts_a_run_of_its_tables(stack: Stack, first_run: dict[str, Any]) -> None:
    stack.emit("ownlens.transform.finished", "ownlens.transform", {"tables": ["browsers"], "destinations": ["s3"]})
    run = wait_for_end(stack, "after-transform")
    assert run["state"]["message"] == "1 loads: 0 loaded, 1 with nothing new"
    assert run["created_by"]["type"] == "AUTOMATION"


def wait_for_end(stack: Stack, deployment: str) -> dict[str, Any]:
    ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    runs: Sequence[dict[str, Any]] = eventually(
        lambda: [run for run in stack.runs_of(deployment) if run["state"]["type"] in ended], what=f"{deployment} ends"
    )
    return runs[0]


def test_an_unusual_slowness_is_told_by_event_and_alert(stack: Stack, first_run: dict[str, Any], inbox: Inbox) -> None:
    """The history is of a much faster store; the load itself is real."""
    settings = stack.servers.config.read_text()
    stack.servers.config.write_text(settings.replace("lag_seconds = 0", "lag_seconds = 0\nslow_seconds = 0"))
    past = {"table": "browsers", "destination": "s3", "status": "loaded", "rows": 10**9, "seconds": 0.001}
    for _ in range(FEWEST_RUNS):
        stack.emit(FINISHED, "ownlens.load", {"loads": [past]})
    eventually(lambda: len(stack.events(FINISHED)) > FEWEST_RUNS, what="the history is stored")
    run = stack.adhoc({"tables": ["browsers"], "destinations": ["s3"], "full_refresh": True})
    assert run["state"]["type"] == "COMPLETED"
    stack.servers.config.write_text(settings)
    (event,) = eventually(lambda: stack.events(SLOW), what="the event is stored")
    assert [(load["table"], load["destination"]) for load in event["payload"]["loads"]] == [("browsers", "s3")]
    assert eventually(lambda: inbox.holding("slower than usual: browsers into s3"), what="the alert arrives")


def test_rows_that_break_the_contract_are_told_as_mismatch_and_failure(
    stack: Stack, first_run: dict[str, Any], inbox: Inbox
) -> None:
    with psycopg.connect(stack.servers.source, autocommit=True) as source:
        first = source.execute("SELECT country_id, iso3 FROM countries ORDER BY 1 LIMIT 1").fetchone()
        source.execute("UPDATE countries SET iso3 = 'LONG' WHERE country_id = %s", first[:1])
    request = {"tables": ["countries"], "destinations": ["postgresql"], "full_refresh": True}
    assert stack.watched(request) == 1
    run = stack.runs_of("adhoc")[0]
    assert run["state"]["type"] == "FAILED"
    assert eventually(lambda: events_of(stack, FAILED, run), what="the failure is stored")
    (event,) = eventually(lambda: events_of(stack, MISMATCH, run), what="the mismatch is stored")
    assert event["payload"]["loads"] == [{"table": "countries", "destination": "postgresql"}]
    assert eventually(lambda: inbox.holding("OwnLens: mismatch of a load"), what="the mismatch's alert arrives")
    (alert,) = eventually(lambda: inbox.holding("OwnLens: failure of a load"), what="the failure's alert arrives")
    assert run["name"] in alert
    with psycopg.connect(stack.servers.source, autocommit=True) as source:
        source.execute("UPDATE countries SET iso3 = %s WHERE country_id = %s", first[::-1])
    assert stack.adhoc(request)["state"]["type"] == "COMPLETED"


def test_blocks_that_the_request_names_win(stack: Stack, elsewhere: str, aws_block: str) -> None:
    blocks = {"postgresql": "sqlalchemy-connector/elsewhere", "s3": aws_block}
    request = {"tables": ["cities"], "destinations": list(blocks), "full_refresh": True}
    run = stack.adhoc({**request, "blocks": blocks})
    assert run["state"]["message"] == "2 loads: 2 loaded, 0 with nothing new"
    with psycopg.connect(elsewhere) as landed, psycopg.connect(stack.servers.source) as source:
        expected = source.execute("SELECT count(*) FROM cities").fetchone()
        assert landed.execute("SELECT count(*) FROM newsroom.cities").fetchone() == expected


def test_wrong_passwords_fail_at_once_in_one_line_each(stack: Stack, wrong_blocks: dict[str, str]) -> None:
    run = stack.adhoc({"tables": ["browsers"], "blocks": wrong_blocks})
    assert run["state"]["type"] == "FAILED"
    message = run["state"]["message"]
    assert message.startswith("3 loads: 0 loaded, 0 with nothing new, 3 failed; ")
    assert "the store refuses the credentials; check access_key_id and secret_access_key" in message
    assert "the password of user 'loader' is refused; correct the profile's password" in message
    assert "refused user 'loader'; check the credentials" in message
    assert run["total_run_time"] < PATIENCE / 3, "a wrong password is not tried again"


def test_a_source_cannot_be_read_with_a_wrong_password(stack: Stack, wrong_blocks: dict[str, str]) -> None:
    blocks = {"source": wrong_blocks["postgresql"]}
    run = stack.adhoc({"tables": ["browsers"], "destinations": ["s3"], "blocks": blocks})
    assert run["state"]["type"] == "FAILED"
    assert "password" in run["state"]["message"]


def test_making_the_alerts_again_changes_nothing(stack: Stack, inbox: Inbox) -> None:
    run_python(stack, "-m", "ownlens_flows.automations", "--notify", "custom-webhook/inbox")
    names = sorted(automation["name"] for automation in stack.ask("POST", "/automations/filter"))
    assert names == sorted(["ownlens after a transform", *ALERTS])
