"""The sandbox's servers, started by `ownlens sandbox up` with passwords that no careless text survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from ownlens_sandbox.server_stack import ServerStack

ROWS = 4_000
# CI has two cores, and other tests run beside these.
PATIENCE = 90.0
CANARY = "canary@%/:'\""
USERS = ("postgres", "reader", "loader", "minio", "clickhouse")
PASSWORDS = {user: f"{CANARY}{user}" for user in USERS}


@dataclass(frozen=True)
class Stack:
    """Running servers. `environment` is what their processes and `prefect` commands run with."""

    servers: ServerStack
    environment: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.servers.folder

    @property
    def address(self) -> str:
        return self.servers.prefect.address

    def run(self, program: str, *arguments: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run an installed command against these servers."""
        return subprocess.run(
            [str(Path(sys.executable).with_name(program)), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def adhoc(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run the deployment `adhoc` to its end, and return the flow run."""
        deployment = self.deployment("adhoc")["id"]
        path = f"/deployments/{deployment}/create_flow_run"
        run = self.ask("POST", path, parameters={"request": request})["id"]
        return eventually(lambda: self.ended(run), what="the run ends", patience=PATIENCE * 2)

    def ended(self, run: str) -> dict[str, Any] | None:
        """Return a flow run when it has ended."""
        found = self.ask("GET", f"/flow_runs/{run}")
        return found if found["state"]["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

    def watched(self, request: dict[str, Any]) -> int:
        """Run `prefect deployment run load-tables/adhoc --watch` and return its exit code."""
        parameter = f"request={json.dumps(request)}"
        return self.run("prefect", "deployment", "run", "load-tables/adhoc", "--param", parameter, "--watch").returncode

    def ask(self, method: str, path: str, **json: Any) -> Any:
        """Ask the server's API and return its answer.

        Raises:
            httpx.HTTPStatusError: the server refused.
        """
        answer = httpx.request(method, f"{self.address}/api{path}", json=json or None, timeout=30)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # its SQLite is busy; Prefect's own client asks again
            time.sleep(1)
            answer = httpx.request(method, f"{self.address}/api{path}", json=json or None, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        return self.ask("GET", f"/deployments/name/{'maintain-tables' if name == 'maintain' else 'load-tables'}/{name}")

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Let a deployment's schedule start nothing meanwhile."""
        deployment = self.deployment(name)
        (schedule,) = deployment["schedules"]
        path = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
        self.ask("PATCH", path, active=False)
        try:
            yield
        finally:
            self.ask("PATCH", path, active=True)

    def runs_of(self, name: str) -> list[dict[str, Any]]:
        """Return the flow runs of a deployment, newest first; scheduled ones are not among them."""
        started = {"state": {"type": {"not_any_": ["SCHEDULED"]}}}
        chosen = {"deployments": {"name": {"any_": [name]}}, "flow_runs": started}
        return self.ask("POST", "/flow_runs/filter", sort="START_TIME_DESC", **chosen)

    def summary(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of the only table artifact of a run."""
        of_the_run = {"flow_run_id": {"any_": [run["id"]]}, "type": {"any_": ["table"]}}
        (artifact,) = self.ask("POST", "/artifacts/filter", artifacts=of_the_run)
        return json.loads(artifact["data"]) if isinstance(artifact["data"], str) else artifact["data"]

    def events(self, *names: str, limit: int = 50) -> list[dict[str, Any]]:
        """Return events of these names, newest first."""
        wanted = {"event": {"name": list(names)}, "order": "DESC"}
        return self.ask("POST", "/events/filter", filter=wanted, limit=limit)["events"]

    def emit(self, event: str, resource: str, payload: dict[str, Any], **more: Any) -> None:
        """Tell the server of an event, as any program may."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = {"occurred": now, "event": event, "resource": {"prefect.resource.id": resource}, "payload": payload}
        answer = httpx.post(f"{self.address}/api/events", json=[{**told, **more, "id": str(uuid4())}], timeout=30)
        answer.raise_for_status()


def eventually(ask: Callable[[], Any], *, what: str, patience: float = PATIENCE) -> Any:
    """Ask until the answer is true, and return it; the server's own services act a moment later than its API."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        time.sleep(0.3)
    return answer


@contextmanager
def running_stack(folder: Path) -> Iterator[Stack]:
    """Start all servers below a folder, with a filled source; stop them at the end."""
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS))
    passwords.chmod(0o600)
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    sandbox(environment, "up", "--folder", str(folder), "--rows", str(ROWS))
    try:
        servers = ServerStack(folder)
        spoken = servers.prefect.environment
        yield Stack(servers, {**spoken, "OWNLENS_CONFIG": str(servers.config)})
    finally:
        sandbox(environment, "down", "--folder", str(folder))


def sandbox(environment: dict[str, str], *arguments: str) -> str:
    """Run `ownlens sandbox` and return what it printed on stdout."""
    command = [str(Path(sys.executable).with_name("ownlens")), "sandbox", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE * 3)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
