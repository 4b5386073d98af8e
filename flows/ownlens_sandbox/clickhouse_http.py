"""A development server: ClickHouse's HTTP protocol in front of the real engine (chDB), in a process of its own.

It carries what the ClickHouse destination and the `clickhouse_connect` client use, with answers and errors as a server
writes them. Like a server it runs requests side by side, refuses a query id that is already running (216), and shows
the clients' query ids in `system.processes` and to KILL QUERY. What differs from a server:

- Query ids: `queryID()` is the engine's own, and so is the id in the answer of KILL QUERY. `log_comment` is taken.
- Users: one is given at the start; `--users` names a JSON file with more, and with the settings of each, such as
  `readonly` or `max_memory_usage`, which the engine enforces. `currentUser()` says `default`; roles and grants do not
  exist.
- Sessions: `session_id` is accepted and ignored, so temporary tables last for one request.
- Requests and answers are held in memory whole: no progress headers, no error in the middle of an answer, and a client
  that goes away cancels nothing.
- `INSERT ... SELECT FROM input()` is refused (48); brotli is not spoken.
- One node: no ON CLUSTER (701), no Replicated engines (225), no `system.query_log` (60).
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import ssl
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from . import clickhouse_protocol as protocol
from .clickhouse_engine import Engine
from .clickhouse_users import Users

_PASSWORD_VARIABLE = "OWNLENS_CLICKHOUSE_SERVER_PASSWORD"
_START_SECONDS = 60
_STOP_SECONDS = 10
_UNFINISHED_SECONDS = 5


class Server(ThreadingHTTPServer):
    """Listens for clients and has the engine that answers them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], engine: Engine, users: Users) -> None:
        self.engine = engine
        self.users = users
        super().__init__(address, _Handler)

    def use_tls(self, certificate: Path, key: Path) -> None:
        """Speak TLS from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake is the request thread's: a silent client must not keep others out.
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: Any) -> None:
        # A client that went away, or did not like the certificate.
        print(f"clickhouse: a connection failed: {sys.exc_info()[1]!r}", file=sys.stderr, flush=True)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 300

    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(self.timeout)
            self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        engine = self.server.engine
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Server-Display-Name": "ownlens-sandbox",
            "X-ClickHouse-Timezone": engine.timezone,
        }
        try:
            body = self._body()
        except ValueError:  # a broken or missing piece: where the next request begins is unknown
            self.close_connection = True
            return
        try:
            body = protocol.decompressed(self.headers.get("Content-Encoding", "").lower(), body)
            request = protocol.parse(self.command, self.path, self.headers, body)
            headers["X-ClickHouse-Query-Id"] = request.query_id
            self._answer(request, headers)
        except OSError:
            self.close_connection = True
        except Exception as error:
            failure = protocol.failure(error, engine.version)
            headers["X-ClickHouse-Exception-Code"] = str(failure.code)
            self._send(failure.status, headers, failure.body)

    do_POST = do_HEAD = do_GET

    def _answer(self, request: protocol.Request, headers: dict[str, str]) -> None:
        if request.is_ping:
            return self._send(200, headers, b"Ok.\n")
        profile = self.server.users.admit(request.user, request.password)
        answer = self.server.engine.run(request, profile)
        headers["X-ClickHouse-Summary"] = protocol.summary(answer.counts)
        if answer.format:
            headers["X-ClickHouse-Format"] = answer.format
        body = answer.body
        if request.compress and body:
            coding, body = protocol.compressed(self.headers.get("Accept-Encoding", ""), body)
            headers |= {"Content-Encoding": coding} if coding else {}
        self._send(200, headers, body)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            if len(body) < size:  # the client went away: half an insert must not be done
                raise ValueError(size)
            return body
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0] or b"broken", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def version_string(self) -> str:
        return "ownlens-sandbox"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: statements may hold values."""


@dataclass(frozen=True)
class ClickHouseServer:
    """A running development server. `stop` ends it and gives its folder free."""

    url: str
    port: int
    pid: int
    process: subprocess.Popen[str] = field(repr=False)

    def stop(self) -> None:
        """Let statements end for some seconds, and then the process."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


def start_clickhouse(
    path: Path,
    *,
    user: str = "default",
    password: str = "",
    users: Path | None = None,
    port: int = 0,
    tls: tuple[Path, Path] | None = None,
    log: Path | None = None,
    detached: bool = False,
) -> ClickHouseServer:
    """Start a server on a data folder, made if absent, and wait until it answers.

    Args:
        path: Only one process may have it open.
        user: The only user, unless `users` names more.
        password: Goes to the process in its environment, not on its command line.
        users: A JSON file as `clickhouse_users.Users` describes it; what is written to it counts at once.
        port: On the loopback interface; 0 for a free one.
        tls: Certificate and key, as PEM files.
        log: Where its errors go; when absent to this process's stderr, or nowhere when detached.
        detached: Let it outlive this process and its terminal. Otherwise it ends with this process, even a killed one.

    Raises:
        RuntimeError: it does not start, for instance because another process has the folder or the port.
    """
    command = [sys.executable, "-m", "ownlens_sandbox.clickhouse_http", "--path", str(path), "--port", str(port)]
    command += ["--user", user, "--password-env", _PASSWORD_VARIABLE]
    command += ["--users", str(users)] if users else []
    command += ["--tls-cert", str(tls[0]), "--tls-key", str(tls[1])] if tls else []
    command += [] if detached else ["--until-stdin-ends"]
    places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, _PASSWORD_VARIABLE: password, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    with open(log or os.devnull, "ab") as errors:
        process = subprocess.Popen(
            command,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors if log or detached else None,
            start_new_session=detached,
        )
    ready = _first_line(process)
    if not ready:
        process.kill()
        process.wait()
        where = log or "stderr"
        raise RuntimeError(f"clickhouse: no server could be started on {path}; {where} says why")
    actual = int(json.loads(ready)["port"])
    return ClickHouseServer(f"{'https' if tls else 'http'}://127.0.0.1:{actual}", actual, process.pid, process)


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:  # not `select`, which knows no file above the 1024th
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(_START_SECONDS) else ""


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    status = 1
    try:
        _serve(_arguments())
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        # The interpreter would wait for statements that have not ended, and for the engine's threads.
        sys.stderr.flush()
        os._exit(status)


def _serve(wanted: argparse.Namespace) -> None:
    if wanted.until_stdin_ends:
        # Before anything else: whoever starts this may be gone while the engine opens its folder.
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    engine = Engine(wanted.path)
    users = Users(wanted.user, os.environ.pop(wanted.password_env or "", ""), wanted.users)
    server = Server((wanted.host, wanted.port), engine, users)
    if wanted.tls_cert:
        server.use_tls(wanted.tls_cert, wanted.tls_key)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stop(server))
    ready = {"port": server.server_address[1], "pid": os.getpid(), "version": engine.version}
    with suppress(BrokenPipeError):  # nobody reads it any more; a detached server goes on
        print(json.dumps(ready), flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    engine.wait(_UNFINISHED_SECONDS)
    engine.close()


def _stop(server: Server) -> None:
    # `shutdown` waits for the loop that this thread is in.
    threading.Thread(target=server.shutdown, daemon=True).start()
    # Whatever hangs: rows that were acknowledged are on disk.
    last = threading.Timer(_STOP_SECONDS, os._exit, [1])
    last.daemon = True
    last.start()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ownlens_sandbox.clickhouse_http", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--path", type=Path, required=True, help="data folder, made if absent")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--user", default="default")
    parser.add_argument("--password-env", help="environment variable that holds the password")
    parser.add_argument("--users", type=Path, help="JSON file with more users and their settings, read at each request")
    parser.add_argument("--tls-cert", type=Path, help="PEM file; needs --tls-key")
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--until-stdin-ends", action="store_true", help="end when standard input does")
    wanted = parser.parse_args()
    if bool(wanted.tls_cert) != bool(wanted.tls_key):
        parser.error("--tls-cert and --tls-key belong together")
    return wanted


def _end_with_stdin() -> None:
    # Whoever started this process has died, however it did.
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
