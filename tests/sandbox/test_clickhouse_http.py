"""The development server speaks as a ClickHouse server does, to its own driver and to plain HTTP clients."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import clickhouse_connect
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError
from clickhouse_connect.driver.external import ExternalData

from ownlens_sandbox.clickhouse_http import ClickHouseServer, start_clickhouse
from ownlens_sandbox.clickhouse_statements import NotAsServer, read
from tests.certificates import certify

USER, PASSWORD = "loader", "p@ss:w/%'\"é"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    running = start_clickhouse(tmp_path_factory.mktemp("http") / "engine", user=USER, password=PASSWORD)
    yield running
    running.stop()


@pytest.fixture
def connect(server: ClickHouseServer) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def connect(**options: Any) -> Client:
        login = {"username": USER, "password": PASSWORD, "port": server.port, **options}
        made.append(clickhouse_connect.get_client(host="127.0.0.1", **login))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    client = connect()
    client.command("DROP TABLE IF EXISTS t SYNC")
    client.command("CREATE TABLE t (x Int64, s String, a Array(String)) ENGINE = MergeTree ORDER BY x")
    return client


def _ask(server: ClickHouseServer, sql: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    login = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD.encode().decode("latin-1"), **headers}
    request = urllib.request.Request(f"{server.url}/", data=sql, headers=login)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


ROWS = [[1, "a\n\nb;'\\é", ["it's", ""]], [2, "", []]]


@pytest.mark.parametrize("compression", [True, "lz4", "zstd", "gzip", False])
def test_rows_go_in_and_come_out_in_every_compression(
    client: Client, connect: Callable[..., Client], compression: Any
) -> None:
    compressing = connect(compress=compression)
    assert compressing.insert("t", ROWS, column_names=["x", "s", "a"]).written_rows == 2
    assert [list(row) for row in compressing.query("SELECT x, s, a FROM t ORDER BY x").result_rows] == ROWS


def test_answers_are_compressed_when_asked(connect: Callable[..., Client]) -> None:
    for coding in ("gzip", "zstd", "lz4"):
        client = connect(compress=coding)
        answer = client._backend.request(b"SELECT repeat('x', 100000)", {"enable_http_compression": "1"},
                                         {"Accept-Encoding": coding}, stream=True)  # fmt: skip
        assert answer.headers["Content-Encoding"] == coding
        assert len(answer.read(decode_content=False)) < 2000


def test_parquet_goes_in_and_arrow_comes_out(client: Client) -> None:
    table = pa.table({"x": range(100_000), "s": ["x"] * 100_000})
    file = io.BytesIO()
    pq.write_table(table, file)
    file.seek(0)
    assert client.raw_insert("t", ["x", "s"], file, fmt="Parquet").written_rows == 100_000
    raw = client.raw_insert("t", ["x", "s"], gzip.compress(b"1,a\n2,b\n"), fmt="CSV", compression="gzip")
    assert raw.written_rows == 2
    stream = client.raw_stream("SELECT x, s FROM t ORDER BY x, s", fmt="ArrowStream")
    with stream, pa.ipc.open_stream(stream) as reader:
        batches = list(reader)
    assert sum(batch.num_rows for batch in batches) == 100_002
    assert len(batches) > 1
    assert client.query_arrow("SELECT count() AS n FROM t")["n"].to_pylist() == [100_002]


def test_values_are_bound(client: Client) -> None:
    values = {"n": 41, "s": "a\tb\\n'q'\n", "a": ["it's"], "d": datetime(2020, 1, 1, tzinfo=UTC), "long": "é" * 90_000}
    query = "SELECT {n:Int64} + 1, {s:String}, {a:Array(String)}, {d:DateTime('UTC')}, length({long:String})"
    row = client.query(query, parameters=values).result_rows[0]
    assert row[:3] == (42, "a\tb\\n'q'\n", ["it's"])
    assert row[4] == 180_000
    with pytest.raises(DatabaseError, match="UNKNOWN_QUERY_PARAMETER"):
        client.query("SELECT {missing:Int8}")


def test_external_data_is_a_table(client: Client) -> None:
    data = ExternalData(file_name="e.csv", data=b"1,x\n2,y\n", fmt="CSV", structure=["a UInt32", "b String"])
    assert client.query("SELECT sum(a) FROM e", external_data=data).result_rows == [(3,)]


def test_settings_last_for_one_request(client: Client) -> None:
    limited = {"max_result_rows": 10, "result_overflow_mode": "throw"}
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT * FROM numbers(100)", settings=limited)
    assert caught.value.code == 396
    assert len(client.query("SELECT * FROM numbers(100)").result_rows) == 100


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        (b"SELECT * FROM nowhere", 404, 60, "UNKNOWN_TABLE"),
        (b"SELECT nothing", 404, 47, "UNKNOWN_IDENTIFIER"),
        (b"selec 1", 400, 62, "SYNTAX_ERROR"),
        (b"SELECT 1; SELECT 2", 400, 62, "SYNTAX_ERROR"),
        (b"INSERT INTO t (x) FORMAT CSV\nabc\n", 400, 117, "INCORRECT_DATA"),
        (b"INSERT INTO nowhere FORMAT CSV\n1\n", 404, 60, "UNKNOWN_TABLE"),
        (b"INSERT INTO t SELECT * FROM input('x Int64') FORMAT CSV\n1", 501, 48, "NOT_IMPLEMENTED"),
        (b"SELECT throwIf(number = 2000) FROM numbers(3000)", 500, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)
def test_an_error_is_written_as_a_server_writes_it(
    client: Client, server: ClickHouseServer, sql: bytes, status: int, code: int, name: str
) -> None:
    seen, headers, body = _ask(server, sql)
    assert (seen, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert body.decode().startswith(f"Code: {code}. DB::Exception: ")
    assert f"({name}) (version 2" in body.decode()
    assert body.decode().endswith("(official build))\n")


def test_logins(connect: Callable[..., Client], server: ClickHouseServer) -> None:
    for wrong in ({"password": "x"}, {"username": "eve"}, {"password": ""}):
        with pytest.raises(DatabaseError) as caught:
            connect(**wrong)
        assert caught.value.code == 516
    status, headers, body = _ask(server, b"SELECT 1", **{"X-ClickHouse-Key": "x"})
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert body.startswith(b"Code: 516. DB::Exception: loader: Authentication failed")
    assert _ask(server, b"SELECT 7")[2] == b"7\n"
    with urllib.request.urlopen(f"{server.url}/ping") as answer:
        assert answer.read() == b"Ok.\n"


def test_a_get_request_changes_nothing(client: Client, server: ClickHouseServer) -> None:
    login = f"user={USER}&password={urllib.request.quote(PASSWORD)}"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server.url}/?{login}&query=DROP+TABLE+t")
    assert caught.value.headers["X-ClickHouse-Exception-Code"] == "164"
    caught.value.close()
    with urllib.request.urlopen(f"{server.url}/?{login}&query=SELECT+1") as answer:
        assert answer.read() == b"1\n"


def _sleeping(client: Client, query_id: str) -> list[object]:
    query = "SELECT count() FROM numbers(100) WHERE sleepEachRow(0.1) = 0"
    try:
        return [client.command(query, settings={"query_id": query_id, "max_block_size": 1})]
    except ClickHouseError as error:
        return [error.code]


def _running(client: Client) -> list[str]:
    rows = client.query("SELECT query_id FROM system.processes WHERE query LIKE '%sleepEach' || 'Row%'").result_rows
    return [str(query_id) for (query_id,) in rows]


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_running_query_is_shown_by_its_id_and_can_be_killed(client: Client, connect: Callable[..., Client]) -> None:
    with ThreadPoolExecutor(1) as pool:
        victim = pool.submit(_sleeping, connect(), "victim")
        _wait_for(lambda: _running(client) == ["victim"])
        with pytest.raises(DatabaseError) as caught:
            client.query("SELECT 1", settings={"query_id": "victim"})
        assert caught.value.code == 216
        client.command("KILL QUERY WHERE query_id = 'other' SYNC")
        assert _running(client) == ["victim"]
        client.command("KILL QUERY WHERE query_id = 'victim' SYNC")
        assert victim.result(20) == [394]
    assert _running(client) == []
    assert client.query("SELECT 1", settings={"query_id": "mine"}).query_id == "mine"


def test_requests_run_side_by_side(connect: Callable[..., Client], client: Client) -> None:
    def work(number: int) -> int:
        mine = connect()
        for n in range(10):
            mine.insert("t", [[number * 1000 + n, "m", []]], column_names=["x", "s", "a"])
        return int(mine.command("SELECT count() FROM t"))

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(work, range(8))) == 80


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_acknowledged_rows_are_there_after_a_restart(tmp_path: Path, how: signal.Signals) -> None:
    server = start_clickhouse(tmp_path / "engine")
    acknowledged = 0

    def insert() -> None:
        nonlocal acknowledged
        with closing(clickhouse_connect.get_client(host="127.0.0.1", port=server.port)) as client:
            client.command("CREATE TABLE t (x Int64) ENGINE = MergeTree ORDER BY x")
            with suppress(ClickHouseError):
                while True:
                    client.insert("t", [[acknowledged]], column_names=["x"])
                    acknowledged += 1

    worker = threading.Thread(target=insert)
    worker.start()
    _wait_for(lambda: acknowledged > 20)
    os.kill(server.pid, how)
    worker.join(20)
    server.stop()
    again = start_clickhouse(tmp_path / "engine")
    with closing(clickhouse_connect.get_client(host="127.0.0.1", port=again.port)) as client:
        # The last one may have been written without its answer.
        assert client.command("SELECT uniqExact(x) FROM t") in (acknowledged, acknowledged + 1)
    again.stop()


def test_a_folder_is_opened_once_and_the_error_says_where_to_look(server: ClickHouseServer, tmp_path: Path) -> None:
    folder = Path(str(server.process.args[4]))  # type: ignore[index]
    with pytest.raises(RuntimeError, match="no server could be started"):
        start_clickhouse(folder, log=tmp_path / "log")
    assert "lock" in (tmp_path / "log").read_text()


_STARTS_AND_DIES = """
import os, sys
from pathlib import Path
from ownlens_sandbox.clickhouse_http import start_clickhouse
server = start_clickhouse(Path(sys.argv[1]), detached=sys.argv[2] == "detached")
print(server.pid, server.port, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["attached", "detached"])
def test_a_server_ends_with_a_killed_parent_unless_it_is_detached(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", _STARTS_AND_DIES, str(tmp_path / "engine"), how]
    places = os.pathsep.join(filter(None, sys.path))
    starter = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": places})
    pid, port = map(int, starter.stdout.split())
    if how == "attached":
        _wait_for(lambda: not _answers(port))
        return
    assert _answers(port)
    os.kill(pid, signal.SIGTERM)
    _wait_for(lambda: not _answers(port))


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return bool(answer.read() == b"Ok.\n")
    except OSError:
        return False


def test_tls_is_checked_against_its_authority(tmp_path: Path) -> None:
    made = certify(tmp_path)
    server = start_clickhouse(tmp_path / "engine", tls=(made.certificate, made.key), log=tmp_path / "log")
    options: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "secure": True}
    try:
        with closing(clickhouse_connect.get_client(**options, ca_cert=str(made.authority))) as client:
            assert client.command("SELECT 7") == 7
        with closing(clickhouse_connect.get_client(**options, verify=False)) as client:
            assert client.command("SELECT 7") == 7
        with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
            clickhouse_connect.get_client(**options)
        with pytest.raises((OSError, ssl.SSLError)):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/ping", timeout=5)
    finally:
        server.stop()


def test_the_ready_line_is_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ownlens_sandbox.clickhouse_http", "--path", str(tmp_path / "engine")]
    places = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": places}) as made:
        assert made.stdout is not None
        ready = json.loads(made.stdout.readline())
        assert ready["pid"] == made.pid
        assert _answers(ready["port"])
        made.terminate()
        assert made.wait(20) == 0


@pytest.mark.parametrize(
    ("sql", "text", "form", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n\n1\n", b"INSERT INTO t ", "CSV", b"\n1\n"),
        (b"INSERT INTO `FORMAT x` (`a)`) FORMAT Native \r\nx", b"INSERT INTO `FORMAT x` (`a)`) ", "Native", b"x"),
        (b"/* FORMAT y */ insert into t (format) settings a=1 format JSONEachRow {}", None, "JSONEachRow", b"{}"),
        (b"INSERT INTO t VALUES (1, ' FORMAT CSV ')", None, None, None),
        (b"INSERT INTO t SELECT 1 FORMAT Native", None, "Native", None),
        (b"SELECT 'FORMAT x' FORMAT TSV;", None, "TSV", None),
    ],
)
def test_statements_are_read(sql: bytes, text: bytes | None, form: str | None, data: bytes | None) -> None:
    found = read(sql)
    assert (found.format, found.data) == (form, data)
    if text:
        assert found.text == text


def test_several_statements_are_refused() -> None:
    with pytest.raises(NotAsServer, match="Code: 62"):
        read(b"SELECT ';' ; -- all\n SELECT 2")
    assert read(b"SELECT ';' ; -- all\n").has_result
