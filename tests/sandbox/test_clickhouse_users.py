"""Users of the development server: passwords, and settings that the engine enforces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import clickhouse_connect
import pytest

from ownlens_sandbox.clickhouse_http import ClickHouseServer, start_clickhouse

from .clickhouse_requests import ask, wait_for


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("users") / "users.json"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, users: Path) -> Iterator[ClickHouseServer]:
    users.write_text("{}")
    running = start_clickhouse(tmp_path_factory.mktemp("limited") / "engine", users=users)
    with closing(clickhouse_connect.get_client(port=running.port)) as client:
        client.command("CREATE TABLE t (x Int64) ENGINE = MergeTree ORDER BY x")
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"readonly": 1}, 164),
        ({"readonly": 2}, 164),
        ({"max_memory_usage": 1, "max_untracked_memory": 0}, 241),
        ({"min_free_disk_bytes_to_perform_insert": 10**18}, 243),
    ],
)
def test_the_settings_of_a_user_are_enforced_by_the_engine(
    limited: ClickHouseServer, users: Path, settings: dict[str, int], code: int
) -> None:
    users.write_text(json.dumps({"default": {"password": ""}, "bound": {"password": "p", "settings": settings}}))
    insert, count = b"INSERT INTO t (x) FORMAT CSV\n1\n2\n", b"SELECT count() FROM t"
    before = ask(limited, count, **{"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""})[2]
    for sql in (insert, b"INSERT INTO t SELECT 1"):
        _, headers, _ = ask(limited, sql, **{"X-ClickHouse-User": "bound", "X-ClickHouse-Key": "p"})
        assert headers["X-ClickHouse-Exception-Code"] == str(code)
    assert ask(limited, count, **{"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""})[2] == before


def test_too_many_queries_are_refused(limited: ClickHouseServer, users: Path) -> None:
    users.write_text('{"bound": {"password": "p", "settings": {"max_concurrent_queries_for_all_users": 1}}}')
    slow = b"SELECT count() FROM numbers(10) WHERE sleepEachRow(0.2) = 0 SETTINGS max_block_size = 1"
    login = {"X-ClickHouse-User": "bound", "X-ClickHouse-Key": "p"}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, limited, slow, **{"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""})
        codes: set[str] = set()
        wait_for(lambda: codes.add(ask(limited, b"SELECT 1", **login)[1].get("X-ClickHouse-Exception-Code", "0"))
                  or "202" in codes)  # fmt: skip
        assert running.result(20)[0] == 200
    assert ask(limited, b"SELECT 1", **login)[2] == b"1\n"


def test_a_password_is_changed_while_the_server_runs(limited: ClickHouseServer, users: Path) -> None:
    for now, before in (("first", "second"), ("second", "first")):
        users.write_text(json.dumps({"rotating": {"password": now}}))
        assert ask(limited, b"SELECT 1", **{"X-ClickHouse-User": "rotating", "X-ClickHouse-Key": now})[2] == b"1\n"
        assert ask(limited, b"SELECT 1", **{"X-ClickHouse-User": "rotating", "X-ClickHouse-Key": before})[0] == 403
