"""The development server speaks as a ClickHouse server does, to its own driver and to plain HTTP clients."""

from __future__ import annotations

import base64
import gzip
import io
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
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

from .clickhouse_requests import PASSWORD, USER, ask, wait_for


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


def test_an_insert_may_have_settings_of_its_own(client: Client, server: ClickHouseServer) -> None:
    sql = b"INSERT INTO t (x) SETTINGS max_threads = 1 FORMAT CSV\n41\n"
    assert ask(server, sql)[0] == 200
    assert client.query("SELECT x FROM t").result_rows == [(41,)]


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
    seen, headers, body = ask(server, sql)
    assert (seen, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert body.decode().startswith(f"Code: {code}. DB::Exception: ")
    assert f"({name}) (version 2" in body.decode()
    assert body.decode().endswith("(official build))\n")


@pytest.mark.parametrize("coding", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_half_a_request_is_not_run(client: Client, server: ClickHouseServer, coding: str) -> None:
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    rows = b"1,a,[]\n2,b,[]\n"
    body = rows if "Length" in coding else b"%x\r\n%s\r\n" % (len(rows), rows)
    query = "INSERT%20INTO%20t%20FORMAT%20CSV"
    head = f"POST /?query={query} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n{coding}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(head.encode() + body)
        line.shutdown(socket.SHUT_WR)
        assert line.recv(1000) == b""
    assert client.command("SELECT count() FROM t") == 0


def test_logins(connect: Callable[..., Client], server: ClickHouseServer) -> None:
    for wrong in ({"password": "x"}, {"username": "eve"}, {"password": ""}):
        with pytest.raises(DatabaseError) as caught:
            connect(**wrong)
        assert caught.value.code == 516
    status, headers, body = ask(server, b"SELECT 1", **{"X-ClickHouse-Key": "x"})
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert body.startswith(b"Code: 516. DB::Exception: loader: Authentication failed")
    assert ask(server, b"SELECT 7")[2] == b"7\n"
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


def test_a_running_query_is_shown_by_its_id_and_can_be_killed(client: Client, connect: Callable[..., Client]) -> None:
    with ThreadPoolExecutor(1) as pool:
        victim = pool.submit(_sleeping, connect(), "victim")
        wait_for(lambda: _running(client) == ["victim"])
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


@pytest.mark.parametrize(
    ("sql", "around"),
    [
        (b"INSERT INTO t (x) SETTINGS a=1, b='x' FORMAT CSV\n", (b"INSERT INTO t (x) ", b"SETTINGS a=1, b='x' ")),
        (b"INSERT INTO settings (settings) FORMAT CSV\n", (b"INSERT INTO settings (settings) ", b"")),
        (b"INSERT INTO t FORMAT CSV\nsettings=1", (b"INSERT INTO t ", b"")),
    ],
)
def test_the_place_of_an_inserts_rows_is_found(sql: bytes, around: tuple[bytes, bytes]) -> None:
    assert read(sql).around_source == around


def test_several_statements_are_refused() -> None:
    with pytest.raises(NotAsServer, match="Code: 62"):
        read(b"SELECT ';' ; -- all\n SELECT 2")
    assert read(b"SELECT ';' ; -- all\n").has_result
