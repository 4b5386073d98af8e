"""Plain HTTP requests to the development server."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable

from ownlens_sandbox.clickhouse_http import ClickHouseServer

USER, PASSWORD = "loader", "p@ss:w/%'\"é"


def ask(server: ClickHouseServer, sql: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    login = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD.encode().decode("latin-1"), **headers}
    request = urllib.request.Request(f"{server.url}/", data=sql, headers=login)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
