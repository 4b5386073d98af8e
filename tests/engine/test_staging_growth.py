"""What a run costs in the staging area is the same after ten sets as after ten thousand: requests, files and memory.

The history is made cheaply: manifests of sets that were loaded long ago, and a few real sets on top of them.
"""

from __future__ import annotations

import gc
import io
import json
import re
import socket
import sys
import tarfile
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction
from ownlens_plugins.engine.manifest import Manifest
from ownlens_plugins.engine.running import load_table
from ownlens_plugins.engine.scrubbing import Scrubber
from ownlens_plugins.engine.staged_log import manifest_name
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.standing import Asking
from ownlens_plugins.engine.surveying import survey
from ownlens_plugins.engine.windows import StageRequest, met_again
from ownlens_plugins.registry import Registry

from ..minio_server import MinioServer, running_minio
from .sqlite_destination import SqliteDestination
from .staging_rows import REFRESH, START, extracted, reads, row, stage

HOUR = timedelta(hours=1)
LOOK_BACK = 2 * HOUR
FEW, MANY, MOST = 10, 1_000, 10_000
Cost = Counter[str]
Measure = Callable[[Callable[[], Any]], Cost]
_REQUEST = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.1\r\n", re.MULTILINE)


def moment(number: int) -> datetime:
    return START + number * HOUR


def request(area: StagingArea, number: int) -> StageRequest:
    log, start = area.log("reads"), moment(number) - LOOK_BACK
    known = met_again(log, start)
    return StageRequest(Extraction.WINDOW, Window(start, moment(number)), after=log[-1].sequence, known=known)


def stamped(number: int) -> dict[str, Any]:
    return {**row(number), "created_at": moment(number)}


def run(area: StagingArea, registry: Registry, store: SqliteDestination, number: int) -> int:
    """Do what a run does in an hour; return how many rows it brought. A second run of the hour finds nothing new."""
    asked = request(area, number)
    if area.stage(reads(), extracted([stamped(number)]), asked) is None:
        area.note("reads", asked)
    return load_table(store, reads(), area, registry).rows


def history(template: Manifest, sets: int) -> Iterator[tuple[str, bytes]]:
    """Yield the objects of sets that are far behind, as hourly runs have left them."""
    values = json.loads(replace(template, full_refresh=False).to_json())
    for number in range(1, sets + 1):
        end = START - (sets - number + 100) * HOUR
        start, hour_before = ((end - length).isoformat() for length in (LOOK_BACK, HOUR))
        values |= {"sequence": number, "previous": number - 1, "recent": [*range(max(1, number - 2), number)]}
        values |= {"window": {"start": hour_before, "end": end.isoformat()}, "newest": end.isoformat()}
        yield manifest_name("reads", number), json.dumps({**values, "recent_from": start}).encode()


def template(registry: Registry, folder: Path) -> Manifest:
    return stage(StagingArea(str(folder / "template"), registry), reads(), [row(1)], REFRESH)


def grown(area: StagingArea, registry: Registry, store: SqliteDestination) -> None:
    """Put the sets of some hours on top, all of which are loaded; measured is the hour after them."""
    latest = area.latest("reads")
    assert latest is not None
    stage(area, reads(), [stamped(0)], replace(REFRESH, after=latest.sequence, window=Window(None, moment(0))))
    for number in (1, 2, 3):
        run(area, registry, store, number)


def costs(area: StagingArea, registry: Registry, store: SqliteDestination, measure: Measure) -> dict[str, Cost]:
    asking = Asking(area, registry, Scrubber([]), validates=True)
    run(area, registry, store, 4)  # one before, so that nothing is done for the first time
    return {
        "one new set": measure(lambda: _is(1, run(area, registry, store, 5))),
        "nothing new": measure(lambda: _is(0, run(area, registry, store, 5))),
        "status": measure(lambda: _is(True, survey(asking, {"sqlite": store}, [reads()])[0].position > 4)),
    }


def _is(expected: Any, value: Any) -> None:
    assert value == expected


# -- a local folder ---------------------------------------------------------------------------------------------------

_OPENED: list[Cost] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _OPENED and "staging" in str(arguments[0]):
        _OPENED[-1]["opened"] += 1
    if event in ("os.scandir", "os.listdir") and _OPENED and "staging" in str(arguments[0]):
        _OPENED[-1]["listed"] += 1


@contextmanager
def listening() -> Iterator[Cost]:
    if not hasattr(_hear, "hears"):
        sys.addaudithook(_hear)  # for good: it cannot be taken away
        _hear.hears = True  # type: ignore[attr-defined]
    _OPENED.append(Counter())
    try:
        yield _OPENED[-1]
    finally:
        _OPENED.clear()


def opened(step: Callable[[], Any]) -> Cost:
    with listening() as found:
        step()
    return Counter(found)


def locally(folder: Path, registry: Registry, sets: int) -> tuple[StagingArea, SqliteDestination]:
    area = StagingArea(str(folder / str(sets) / "staging"), registry)
    store = SqliteDestination.__new__(SqliteDestination)
    store.__init__(SqliteDestination.config_type(path=str(folder / f"{sets}.sqlite")))  # type: ignore[misc]
    (Path(area.uri) / "reads" / "manifests").mkdir(parents=True)
    for name, content in history(template(registry, folder / str(sets)), sets):
        (Path(area.uri) / name).write_bytes(content)
    grown(area, registry, store)
    return area, store


def test_a_local_folder_opens_as_many_files_after_ten_thousand_sets(tmp_path: Path, registry: Registry) -> None:
    few, most = (costs(*_place(tmp_path, registry, sets), opened) for sets in (FEW, MOST))
    assert few == most
    assert 0 < few["nothing new"]["opened"] < 30, few


def test_memory_stays_that_of_the_sets_that_are_read(tmp_path: Path, registry: Registry) -> None:
    few, many = (costs(*_place(tmp_path, registry, sets), allocated) for sets in (FEW, MANY))
    for step, cost in many.items():
        # The names of a folder are listed by the system as a whole: 100 bytes each.
        assert cost["bytes"] <= few[step]["bytes"] * 1.2 + 150 * MANY, (step, few, many)


def _place(folder: Path, registry: Registry, sets: int) -> tuple[StagingArea, Registry, SqliteDestination]:
    area, store = locally(folder, registry, sets)
    return area, registry, store


def allocated(step: Callable[[], Any]) -> Cost:
    gc.collect()
    tracemalloc.start()
    try:
        step()
        return Counter(bytes=tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


# -- an object store --------------------------------------------------------------------------------------------------


class Counting:
    """Carries connections to a server and counts the requests by kind, and the bytes of both directions."""

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition("://")[2].partition(":")
        self._server, self.cost = (host, int(port)), Cost()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                server = socket.create_connection(self._server)
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._count(data, asks=asks)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def _count(self, data: bytes, *, asks: bool) -> None:
        self.cost["sent" if asks else "received"] += len(data)
        for method, path in _REQUEST.findall(data) if asks else ():
            self.cost["LIST" if b"list-type=2" in path else method.decode()] += 1

    def measure(self, step: Callable[[], Any]) -> Cost:
        self.cost = Counter()
        step()
        return Counter(self.cost)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        server.client().create_bucket(Bucket="staging")
        yield server


@pytest.fixture
def counting(minio: MinioServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    proxy = Counting(minio.endpoint)
    for name, value in {**minio.variables, "AWS_ENDPOINT_URL": proxy.endpoint}.items():
        monkeypatch.setenv(name, value)
    yield proxy
    proxy.close()


def put_all(minio: MinioServer, prefix: str, objects: Iterator[tuple[str, bytes]]) -> None:
    """Put many small objects as one archive, which MinIO unpacks; in pieces, as each must be answered in time."""
    while some := list(islice(objects, 2_000)):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in some:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        said = {"Snowball-Auto-Extract": "true", "Minio-Snowball-Prefix": prefix}
        minio.client().put_object(Bucket="staging", Key="history.tar", Body=archive.getvalue(), Metadata=said)


@pytest.mark.minio
def test_an_object_store_gets_as_many_requests_after_ten_thousand_sets(
    minio: MinioServer, counting: Counting, tmp_path: Path, registry: Registry
) -> None:
    found = {}
    for sets in (FEW, MANY, MOST):
        area = StagingArea(f"s3://staging/{sets:05d}", registry)
        store = SqliteDestination(SqliteDestination.config_type(path=str(tmp_path / f"{sets}.sqlite")))
        put_all(minio, f"{sets:05d}", history(template(registry, tmp_path / str(sets)), sets))
        grown(area, registry, store)
        found[sets] = costs(area, registry, store, counting.measure)
    requests = {sets: {step: _requests(cost) for step, cost in cost_of.items()} for sets, cost_of in found.items()}
    assert requests[FEW] == requests[MANY] == requests[MOST], requests
    for step, cost in found[MOST].items():
        for way in ("sent", "received"):
            assert cost[way] <= found[FEW][step][way] * 1.1, (step, found)


def _requests(cost: Cost) -> dict[str, int]:
    return {kind: count for kind, count in cost.items() if kind not in ("sent", "received")}
