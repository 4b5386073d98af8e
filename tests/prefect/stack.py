"""A real Prefect server and worker below one folder, each a process of its own, and the newsroom they load."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from ownlens_cli.environment import DEFAULTS
from ownlens_sandbox.demo import prepare_source
from ownlens_sandbox.servers import Sandbox, running

REPOSITORY = Path(__file__).parents[2]
ROWS = 2_000
# CI has two cores, and other tests run beside these.
PATIENCE = 90.0


@dataclass(frozen=True)
class Stack:
    """A running server and worker. `environment` is what their processes and `prefect` commands run with."""

    folder: Path
    address: str
    environment: dict[str, str]
    sandbox: Sandbox

    def prefect(self, *arguments: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run the `prefect` command against this server, in the repository's folder."""
        return subprocess.run(
            [_program("prefect"), *arguments],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def ask(self, method: str, path: str, **json: Any) -> Any:
        """Ask the server's API and return its answer.

        Raises:
            httpx.HTTPStatusError: the server refused.
        """
        answer = httpx.request(method, f"{self.address}/api{path}", json=json or None, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        return self.ask("GET", f"/deployments/name/load-tables/{name}")

    def runs_of(self, name: str) -> list[dict[str, Any]]:
        """Return the flow runs of a deployment, newest first; scheduled ones are not among them."""
        started = {"state": {"type": {"not_any_": ["SCHEDULED"]}}}
        chosen = {"deployments": {"name": {"any_": [name]}}, "flow_runs": started}
        return self.ask("POST", "/flow_runs/filter", sort="START_TIME_DESC", **chosen)

    def events(self, *names: str, limit: int = 50) -> list[dict[str, Any]]:
        """Return events of these names, newest first."""
        wanted = {"event": {"name": list(names)}, "order": "DESC"}
        return self.ask("POST", "/events/filter", filter=wanted, limit=limit)["events"]

    def emit(self, event: str, resource: str, payload: dict[str, Any]) -> None:
        """Tell the server of an event, as any program may."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = {"occurred": now, "event": event, "resource": {"prefect.resource.id": resource}, "payload": payload}
        answer = httpx.post(f"{self.address}/api/events", json=[{**told, "id": str(uuid4())}], timeout=30)
        answer.raise_for_status()


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def eventually(ask: Callable[[], Any], *, what: str, patience: float = PATIENCE) -> Any:
    """Ask until the answer is true, and return it; the server's own services act a moment later than its API."""
    deadline = time.monotonic() + patience
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        time.sleep(0.3)
    return answer


@contextmanager
def running_stack(folder: Path) -> Iterator[Stack]:
    """Fill a newsroom, start server and worker, deploy everything of prefect.yaml; stop all at the end."""
    with ExitStack() as stack:
        address = f"http://127.0.0.1:{_free_port()}"
        environment = _environment(folder, address)
        port = address.rpartition(":")[2]
        stack.enter_context(_process(folder, "server", environment, "server", "start", "--port", port))
        sandbox = stack.enter_context(running(folder / "newsroom"))
        prepare_source(sandbox, rows=ROWS)
        _as_default(sandbox)
        made = Stack(folder, address, environment, sandbox)
        eventually(lambda: _is_up(address), what="the server answers")
        _must(made.prefect("work-pool", "create", "ownlens", "--type", "process"))
        _must(made.prefect("--no-prompt", "deploy", "--all"))
        worker = ("worker", "start", "--pool", "ownlens", "--name", "tests")
        stack.enter_context(_process(folder, "worker", environment, *worker))
        yield made


def _environment(folder: Path, address: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "OWNLENS_"))}
    spoken = {name: value for name, value in DEFAULTS.items() if not name.startswith("PREFECT_LOGGING")}
    return {
        **inherited,
        **spoken,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "ownlens",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "OWNLENS_HOME": str(folder / "newsroom"),
    }


def _as_default(sandbox: Sandbox) -> None:
    """Call the embedded stack's profile as prefect.yaml does."""
    sandbox.config.write_text(sandbox.config.read_text().replace("profiles.demo", "profiles.default"))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/api/health", timeout=5).is_success
    except httpx.TransportError:
        return False


def _must(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _process(folder: Path, name: str, environment: dict[str, str], *arguments: str) -> Iterator[None]:
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [_program("prefect"), *arguments], env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # Its whole session: a worker's flow runs are processes of their own.
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
