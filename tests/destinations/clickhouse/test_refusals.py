"""A server that refuses: for good, which fails at once and says the fix, or for a while, and then the load is done."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins import faults
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import OwnLensError, Rejected, Retryable
from ownlens_sandbox.clickhouse_http import start_clickhouse

from .histories import History
from .loads import STRATEGIES, Loads

SECRET = "p@ss/w%rd:'\" canary"
READ_ONLY = r"^samples: clickhouse at .* lets user 'loader' only read, .*; give it a profile with readonly = 0$"


@dataclass
class Server:
    """A development server whose users change while it runs. `root` may always do everything."""

    config: ClickHouseConfig
    root: ClickHouseConfig
    users: Path

    def allow(self, password: str = SECRET, **settings: object) -> None:
        """Give the loading user a password and settings."""
        everybody = {"loader": {"password": password, "settings": settings}}
        draft = self.users.with_suffix(".draft")
        draft.write_text(json.dumps(everybody))
        draft.replace(self.users)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep a statement of another user running."""
        store, ready = Store(self.root), Store(self.root)
        query = "SELECT sleepEachRow(0.5) FROM numbers(60) SETTINGS max_block_size = 1"

        def run() -> None:
            with suppress(Exception):
                store.rows(query)

        thread = threading.Thread(target=run)
        thread.start()
        running = "FROM system.processes WHERE position(query, 'sleepEach') = 8"
        while not ready.rows(f"SELECT count() {running}")[0][0]:
            time.sleep(0.01)
        try:
            yield
        finally:
            ready.run("KILL QUERY WHERE position(query, 'sleepEach') = 8 SYNC")
            thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("refusals")
    users = folder / "users.json"
    users.write_text("{}")
    running = start_clickhouse(folder / "engine", user="root", password="root", users=users)
    place = {"host": "127.0.0.1", "port": running.port, "answer_timeout": 10}
    config = ClickHouseConfig.model_validate({**place, "user": "loader", "password": SECRET})
    yield Server(config, ClickHouseConfig.model_validate({**place, "user": "root", "password": "root"}), users)
    running.stop()


@pytest.fixture
def loads(server: Server, tmp_path: Path) -> Iterator[Loads]:
    """The loading user's own database; looks at it as root."""
    server.allow()
    database = f"test_{secrets.token_hex(4)}"
    made = Loads(server.root.model_copy(update={"database": database}), tmp_path)
    made.destination = ClickHouseDestination(server.config.model_copy(update={"database": database}))
    yield made
    made.destination.close()
    made.store.close()


def _refusal(loads: Loads, history: History, kind: type[OwnLensError]) -> str:
    with pytest.raises(kind) as caught:
        load(loads.destination, history.plan())
    said = str(caught.value)
    assert "\n" not in said
    assert SECRET not in said
    return said


@pytest.mark.parametrize(
    ("user", "password"), [("loader", "wrong"), ("loader", ""), ("nobody", SECRET), ("lo'ader", "x")]
)
def test_a_wrong_login_fails_at_once(server: Server, loads: Loads, user: str, password: str) -> None:
    config = loads.destination.config.model_copy(update={"user": user, "password": SecretStr(password)})
    loads.destination = ClickHouseDestination(config)
    said = _refusal(loads, History(loads, Strategy.APPEND), Rejected)
    assert said == f"samples: clickhouse at {config.place} refused user {user!r}; check the credentials"


def test_a_password_that_was_changed_between_two_runs(server: Server, loads: Loads) -> None:
    """Also when connections with the old one are still open."""
    history = History(loads, Strategy.APPEND)
    history.load()
    server.allow(password="new" + SECRET)
    assert "refused user 'loader'; check the credentials" in _refusal(loads, history, Rejected)
    update = {"password": SecretStr("new" + SECRET)}
    loads.destination = ClickHouseDestination(loads.destination.config.model_copy(update=update))
    history.require()
    history.load()
    history.require()


@pytest.mark.parametrize("level", [1, 2])
def test_a_user_that_may_only_read(server: Server, loads: Loads, level: int) -> None:
    history = History(loads, Strategy.OVERWRITE)
    server.allow(readonly=level)
    for _ in range(2):  # with no database yet, and with a table
        with pytest.raises(Rejected, match=READ_ONLY):
            load(ClickHouseDestination(loads.destination.config), history.plan())
        server.allow()
        history.load()
        server.allow(readonly=level)
    server.allow()
    history.require()
    assert loads.internal_tables() == []


def _change(**settings: object) -> Callable[[Server], Any]:
    @contextmanager
    def fault(server: Server) -> Iterator[None]:
        server.allow(**settings)  # type: ignore[arg-type]
        yield
        server.allow()

    return fault


@contextmanager
def _crowded(server: Server) -> Iterator[None]:
    with server.busy():
        server.allow(max_concurrent_queries_for_all_users=1)
        yield
        server.allow()


FAULTS = {
    "memory": (_change(max_memory_usage=1, max_untracked_memory=0), Retryable, "raise max_memory_usage"),
    "disk": (_change(min_free_disk_bytes_to_perform_insert=10**18), Retryable, "free disk space of the server"),
    "crowd": (_crowded, Retryable, "raise max_concurrent_queries or run fewer loads at once"),
    "password": (_change(password="other"), Rejected, "check the credentials"),
    "read only": (_change(readonly=2), Rejected, "give it a profile with readonly = 0"),
}
POINTS = ("", "part_written", "before_commit", "commit_sent", "before_ledger", "cleanup")
# The strategies differ within the commit only.
CASES = [
    *((Strategy.APPEND, name, POINTS) for name in FAULTS),
    *((each, "password", ("commit_sent", "before_ledger")) for each in STRATEGIES[1:]),
]


@pytest.mark.parametrize(("strategy", "name", "points"), CASES)
def test_a_fault_at_any_moment(
    server: Server,
    loads: Loads,
    monkeypatch: pytest.MonkeyPatch,
    strategy: Strategy,
    name: str,
    points: tuple[str, ...],
) -> None:
    """From a point of the load on, the server refuses everything; when that ends, the load is brought to its end."""
    begin, kind, fix = FAULTS[name]
    history = History(loads, strategy)
    history.load()
    for point in points:
        plan = history.plan()
        with _from(monkeypatch, point, begin(server)) if point else begin(server):
            first = _outcome(loads, plan)
            second = first and _outcome(loads, plan)
        if point == "cleanup":  # what follows the ledger's row is not part of the load
            assert first is None
        else:
            # Inside the commit the first try can only say that its end is unknown.
            assert isinstance(first, (kind, Retryable) if point in POINTS[3:] else kind), point
            assert isinstance(second, kind), point
            assert fix in str(second), point
        for error in filter(None, (first, second)):
            assert str(error).startswith("samples: clickhouse")
            assert "\n" not in str(error)
            assert SECRET not in str(error)
        # Attaching inserts nothing: a full disk stops a commit only where it writes the ledger.
        if point in POINTS[: 2 if name == "disk" else 3]:
            history.require()
        assert load(loads.destination, plan).rows == plan.rows
        history.applied()
        history.require_settled(plan)


def _outcome(loads: Loads, plan: Any) -> OwnLensError | None:
    try:
        load(loads.destination, plan)
    except OwnLensError as error:
        return error
    return None


@contextmanager
def _from(monkeypatch: pytest.MonkeyPatch, point: str, fault: Any) -> Iterator[None]:
    begun: list[str] = []

    def reach(here: str) -> None:
        if here == point and not begun:
            begun.append(here)
            fault.__enter__()

    with monkeypatch.context() as patch:
        patch.setattr(faults, "reach", reach)
        yield
    assert begun
    fault.__exit__(None, None, None)
