"""`ownlens load` and Prefect's server: temporary and left alone by Ctrl-C, dying, or not there at all."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ownlens_flows.serving import STARTUP

from .conftest import Project
from .interrupted import PATIENCE, environment, eventually, loads_of, locked, running_load, waiting_for_a_lock

# Seconds within which a terminal gets its prompt back.
SOON = 15.0


@pytest.fixture(scope="module")
def without_server(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a load that starts Prefect's temporary server."""
    settings = {name: value for name, value in environment().items() if name != "PREFECT_API_URL"}
    # Heartbeats as users have them; the other tests do without.
    settings.pop("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", None)
    return {**settings, "PREFECT_HOME": str(tmp_path_factory.mktemp("temporary"))}


def temporary_server(group: int) -> int:
    """Return the process of the temporary server in a process group."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # a process may end meanwhile
            if b"uvicorn" in (entry / "cmdline").read_bytes() and os.getpgid(int(entry.name)) == group:
                return int(entry.name)
    raise AssertionError("no temporary server")


@pytest.mark.parametrize(("server", "options"), [("lives on", []), ("dies", ["--json"])], ids=["lives on", "dies"])
def test_ctrl_c_in_a_terminal_ends_a_load_soon_and_with_its_summary(
    project: Project, without_server: dict[str, str], server: str, options: list[str]
) -> None:
    assert project.load() == 0
    project.add_line("authors", "3,Cy,2026-01-03 00:00:00Z")
    with (
        locked(project, "authors") as holder,
        running_load(project, "--flow", *options, settings=without_server) as process,
    ):
        # A temporary server makes its database first.
        eventually(lambda: waiting_for_a_lock(project), "the load waits inside its transaction", within=STARTUP)
        if server == "dies":
            os.kill(temporary_server(process.pid), signal.SIGKILL)
        sent = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        eventually(lambda: "the run stops" in (project.folder / "ownlens.log").read_text(), "the run notes the signal")
        holder.commit()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert time.monotonic() - sent < SOON
    assert "Traceback" not in err
    assert ("was not told of the stop" in err) == (server == "dies")
    if options:
        assert loads_of(out)["authors", "postgresql"]["status"] == "stopped"
        assert json.loads(out)["errors"]
    else:
        assert "stopped" in out


@pytest.mark.parametrize("login", ["", "me:secret@"])
def test_a_server_that_is_not_there_is_named_at_once(project: Project, login: str) -> None:
    settings = {**environment(), "PREFECT_API_URL": f"http://{login}127.0.0.1:9/api"}
    with running_load(project, "--tables", "authors", "--json", settings=settings) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert out == ""
    line = next(line for line in err.splitlines() if line.startswith("ownlens: "))
    assert "http://127.0.0.1:9/api does not answer" in line
    assert "prefect server start" in line
    assert "unset PREFECT_API_URL" in line
    assert "Traceback" not in err
    assert "secret" not in err
    assert not (project.folder / "staging").exists() or not list((project.folder / "staging").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("changed", "said", "cure"),
    [
        ({"PREFECT_HOME": "/proc/none"}, "temporary server cannot write into /proc/none", "PREFECT_HOME"),
        ({"PREFECT_LOGGING_LEVEL": "loud"}, "Prefect's settings cannot be used: ", "begin with PREFECT_"),
        ({"PREFECT_API_URL": "http://[::1/api"}, "Prefect's settings cannot be used: ", "begin with PREFECT_"),
    ],
    ids=["home", "level", "address"],
)
def test_what_keeps_prefect_from_starting_is_one_line_at_once(
    project: Project, without_server: dict[str, str], changed: dict[str, str], said: str, cure: str
) -> None:
    with running_load(project, "--flow", "--json", settings={**without_server, **changed}) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert out == ""
    (line,) = err.splitlines()
    assert said in line
    assert cure in line
    assert not (project.folder / "lake").exists()


def test_the_temporary_server_ends_with_a_load_that_is_killed(project: Project, without_server: dict[str, str]) -> None:
    assert project.load("--tables", "authors") == 0
    project.add_line("authors", "3,Cy,2026-01-03 00:00:00Z")
    with locked(project, "authors"), running_load(project, "--flow", settings=without_server) as process:
        eventually(lambda: waiting_for_a_lock(project), "the load waits inside its transaction", within=STARTUP)
        server = temporary_server(process.pid)
        process.kill()
        eventually(lambda: has_ended(server), "the server ends", within=SOON)


def has_ended(process: int) -> bool:
    try:
        # A child of nobody may be a zombie where no init waits for it.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
