"""A Prefect server that is away decides nothing over loads: it is asked again, and what it was not told is said."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from ownlens_flows import direct, load, reporting
from ownlens_flows.load import load_tables
from ownlens_flows.request import LoadRequest

from .conftest import Project


class Line:
    """Carries connections to the tests' server; while it is down, connections are refused."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server, self.port = server, 0
        self._open: list[socket.socket] = []
        self.mend()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            there = socket.create_connection(self._server)
            self._open += [client, there]
            for ends in ((client, there), (there, client)):
                threading.Thread(target=_carry, args=ends, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """Go down at once; come up again after so many seconds."""
        self.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()
        threading.Timer(seconds, self.mend).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else a thread that accepts would keep it open
        self._listener.close()


def _carry(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, target):
            end.close()


@pytest.fixture
def line() -> Iterator[Line]:
    """The way to the Prefect server, for the code under test."""
    address = urlsplit(str(PREFECT_API_URL.value()))
    with closing(Line((address.hostname or "", address.port or 0))) as line:
        # Prefect's own client would bridge the seconds of these tests; it gives up after a minute.
        by_line = {PREFECT_API_URL: f"http://127.0.0.1:{line.port}/api", PREFECT_CLIENT_MAX_RETRIES: 0}
        with temporary_settings(by_line):
            yield line


@contextmanager
def at_the_end(monkeypatch: pytest.MonkeyPatch, act: Any) -> Iterator[None]:
    """Do something right before a run tells what it did."""
    original = reporting.tell_all

    def tell_all(*arguments: Any) -> None:
        act()
        original(*arguments)

    monkeypatch.setattr(load, "tell_all", tell_all)
    yield


def events(name: str) -> list[dict[str, Any]]:
    with get_client(sync_client=True) as client:
        wanted = {"filter": {"event": {"name": [name]}, "order": "DESC"}, "limit": 50}
        return client.request("POST", "/events/filter", json=wanted).json()["events"]


def test_a_server_that_comes_back_is_told_everything(
    project: Project, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = LoadRequest(config=project.config, tables=["authors"], validate_loads=False)
    with at_the_end(monkeypatch, lambda: line.cut(4.0)):
        state = load_tables(request, return_state=True)
    assert state.is_completed()
    assert state.message == "2 loads: 2 loaded, 0 with nothing new, 2 not validated yet"
    run = str(state.state_details.flow_run_id)
    deadline = time.monotonic() + 60
    while not any(run in str(event["related"]) for event in events("ownlens.load.finished")):
        assert time.monotonic() < deadline, "the event never came"
        time.sleep(0.5)


def test_a_server_that_stays_away_from_telling_changes_no_state(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(reporting, "create_table_artifact", refuse)
    monkeypatch.setattr(reporting, "PATIENCE", 1.5)
    monkeypatch.setattr(logging.getLogger("ownlens"), "propagate", True)
    request = LoadRequest(config=project.config, tables=["authors"], validate_loads=False)
    state = load_tables(request, return_state=True)
    assert state.is_completed()
    assert str(state.message).endswith("the Prefect server was not told the summary (ConnectError)")
    assert "the Prefect server was not told the summary: ConnectError" in caplog.text


def test_a_server_that_is_away_while_tables_load_stops_nothing(
    project: Project, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[str] = []

    def observe(what: str, table: str, destination: str, _detail: Any) -> None:
        if not cut:
            cut.append(what)
            line.cut(5.0)

    report = direct.run_in_flow(LoadRequest(config=project.config, validate_loads=False), observe=observe)
    assert cut == ["staged"]
    assert report.succeeded, report.failures
    assert report.untold == []
    assert len(report.outcomes) == 6
