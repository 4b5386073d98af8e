"""A Prefect server and worker of the sandbox, and the deployments of prefect.yaml on them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .services import SandboxError, Service

WORK_POOL = "ownlens"
# A person who looks on does not want to wait for a scheduler that is meant for thousands of runs.
_BRISK = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2", "PREFECT_WORKER_QUERY_SECONDS": "1"}
_DEPLOY_SECONDS = 180


@dataclass(frozen=True)
class PrefectServer:
    """Where a server listens, and the folder whose `ownlens.toml` its runs read."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes, and of commands that speak with it."""
        settings = {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": f"{self.address}/api",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "ownlens",
            "OWNLENS_HOME": str(self.folder),
        }
        return {**_inherited(), **_BRISK, **settings}

    def start(self, service: Service) -> None:
        """Start the server on SQLite: the wheel's PostgreSQL lacks `pg_trgm`, which it needs. `answers` says when."""
        command = [_prefect(), "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        service.start(command, self.environment)

    def start_worker(self, service: Service) -> None:
        """Start the process that runs the flows; it asks the server for work from then on."""
        command = [_prefect(), "worker", "start", "--pool", WORK_POOL, "--name", "sandbox"]
        service.start(command, self.environment)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/api/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def save(self, blocks: Mapping[str, Mapping[str, Any]]) -> None:
        """Write connections as blocks, and make the work pool.

        Args:
            blocks: Fields of each block by its `type/name`; they travel over a pipe, not on a command line.

        Raises:
            SandboxError: the server refused.
        """
        command = [sys.executable, "-m", "ownlens_sandbox.prefect_blocks", WORK_POOL]
        if (ran := self._ran(command, stdin=json.dumps(blocks))).returncode:
            # Only the kind of error: its text may hold a field.
            kind = ran.stderr.strip().rpartition("\n")[2].partition(":")[0]
            raise SandboxError(f"prefect: the connections could not be written into blocks ({kind})")

    def deploy(self) -> None:
        """Deploy all of prefect.yaml, unless this server has it already: schedules that a person paused stay paused.

        Raises:
            SandboxError: the server refused.
        """
        plan = packaged_deployments()
        digest = hashlib.sha256(plan.read_bytes()).hexdigest()
        done = self.folder / "prefect" / "deployed"
        if done.exists() and done.read_text() == digest:
            return
        ran = self._ran([_prefect(), "--no-prompt", "deploy", "--all", "--prefect-file", str(plan)])
        if ran.returncode:
            raise SandboxError(f"prefect: deploy --all failed: {(ran.stderr or ran.stdout).strip()[-500:]}")
        done.write_text(digest)

    def _ran(self, command: list[str], *, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, input=stdin, env=self.environment, capture_output=True, text=True, timeout=_DEPLOY_SECONDS
        )


def packaged_deployments() -> Path:
    """Return the prefect.yaml that came with OwnLens: of the checkout, or beside the packages of a wheel."""
    checkout = Path(__file__).parents[2] / "prefect.yaml"
    return checkout if checkout.is_file() else Path(__file__).parents[1] / "ownlens_deployments" / "prefect.yaml"


def _inherited() -> dict[str, str]:
    """Leave out what would send these processes to another server, or keep our lines from its pages."""
    ours = ("PREFECT_API", "PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_LOGGING", "OWNLENS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _prefect() -> str:
    return str(Path(sys.executable).with_name("prefect"))
