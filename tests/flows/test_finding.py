"""What stands in the way of Prefect's server is told in one line, with what to set."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import prefect
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from ownlens_flows.finding import find_server
from ownlens_plugins.errors import OwnLensError


@contextmanager
def answering(pages: dict[str, tuple[int, str]]) -> Iterator[str]:
    """A web server that knows these pages; yields its address."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages.get(self.path, pages.get("*", (404, "")))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def trouble_at(url: str) -> str:
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(OwnLensError) as caught:
        find_server(url)
    return str(caught.value)


def pages(version: str) -> dict[str, tuple[int, str]]:
    return {"/api/health": (200, "true"), "/api/admin/version": (200, json.dumps(version))}


def test_a_server_of_our_version_is_found() -> None:
    with answering(pages(prefect.__version__)) as address, temporary_settings({PREFECT_API_URL: f"{address}/api"}):
        find_server(f"{address}/api")


@pytest.mark.parametrize(
    ("known", "path", "said"),
    [
        (
            pages("2.20.1"),
            "/api",
            f"is version 2.20.1, and this is {prefect.__version__}: install the same major version",
        ),
        (pages("9.0.0"), "/api", "is version 9.0.0, and this is"),
        (pages(prefect.__version__), "", "is not Prefect's API: its address ends in /api"),
        ({"*": (200, "<html></html>")}, "", "is not Prefect's API"),
        ({}, "/api", "is not Prefect's API"),
        ({"*": (401, "")}, "/api", "refuses this login (HTTP 401): set PREFECT_API_AUTH_STRING or PREFECT_API_KEY"),
        ({"*": (403, "")}, "/api", "refuses this login (HTTP 403)"),
        ({"*": (502, "")}, "/api", "does not answer (HTTP 502): start it (prefect server start), or unset"),
    ],
)
def test_what_answers_there_is_no_server_for_us(known: dict[str, tuple[int, str]], path: str, said: str) -> None:
    with answering(known) as address:
        trouble = trouble_at(f"{address}{path}")
    assert said in trouble
    assert "\n" not in trouble


@pytest.mark.parametrize("url", ["htp://127.0.0.1:9/api", "127.0.0.1:4200/api", "http://127.0.0.1:99999/api", "/api"])
def test_what_is_no_address_is_told_at_once(url: str) -> None:
    with pytest.raises(OwnLensError, match=r"no address of a server: write one such as http://127\.0\.0\.1:4200/api"):
        find_server(url)


def test_a_proxy_that_stands_in_the_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(pages(prefect.__version__)) as address:
        trouble = trouble_at(f"{address}/api")
        assert "by way of the proxy in HTTP_PROXY): set NO_PROXY=127.0.0.1 to go without it" in trouble
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with temporary_settings({PREFECT_API_URL: f"{address}/api"}):
            find_server(f"{address}/api")
