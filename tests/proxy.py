"""A network in front of a server that can lose answers, stop carrying, reset or delay.

It runs in a process of its own: some drivers hold Python's lock while they wait for an answer.
"""

from __future__ import annotations

import multiprocessing
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path

# A path is a unix socket; a pair is a host and a port.
Address = str | tuple[str, int]
_LATE_SECONDS = 1.0
_PROCESSES = multiprocessing.get_context("forkserver")


class Trouble(Enum):
    """What happens on a connection once the client has sent the trigger."""

    SWALLOW = "carry it to the server, but no answer back"
    BLACK_HOLE = "carry nothing any more, in either direction"
    RESET = "close both sides"
    CUT = "carry it to the server, and close both sides instead of answering"
    DELAY = "carry everything, late"


class Proxy:
    """Carries connections to a server. Trouble hits the first connections that send the trigger, `times` of them."""

    def __init__(self, server: Address, listen: Address) -> None:
        self._line, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_serve, args=(server, listen, theirs), daemon=True)
        self._process.start()
        self.port: int = self._line.recv()

    def strike(self, trigger: bytes, trouble: Trouble, *, times: int = 1) -> None:
        """Prepare trouble for the next connections whose client sends what matches the trigger, an expression."""
        self._line.send((trigger, trouble, times))
        self._line.recv()

    @property
    def struck(self) -> bool:
        """Whether the trouble has hit a connection."""
        self._line.send(None)
        return bool(self._line.recv())

    def close(self) -> None:
        """Stop carrying; what still hangs ends, as it would when a network gives up."""
        self._process.kill()
        self._process.join()


def _serve(server: Address, listen: Address, line: Connection) -> None:
    carrier = _Carrier(server, listen)
    line.send(carrier.port)
    while True:
        if (order := line.recv()) is not None:
            carrier.strike(*order)
        line.send(carrier.struck.is_set())


class _Carrier:
    def __init__(self, server: Address, listen: Address) -> None:
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX if isinstance(listen, str) else socket.AF_INET)
        self._listener.bind(listen)
        self._listener.listen(64)
        self._trigger = re.compile(b"(?!)")
        self._trouble = Trouble.RESET
        self._times = 0
        self.struck = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return 0 if self._listener.family == socket.AF_UNIX else int(self._listener.getsockname()[1])

    def strike(self, trigger: bytes, trouble: Trouble, times: int) -> None:
        self.struck.clear()
        self._trigger, self._trouble, self._times = re.compile(trigger, re.DOTALL), trouble, times

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET)
                try:
                    server.connect(self._server)
                except OSError:
                    client.close()
                    continue
                silent = threading.Event()
                for work in (self._up, self._down):
                    threading.Thread(target=work, args=(client, server, silent), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                trouble = self._due(data)
                if trouble is Trouble.RESET:
                    break
                if trouble in {Trouble.SWALLOW, Trouble.BLACK_HOLE, Trouble.CUT}:
                    silent.set()
                if trouble is Trouble.BLACK_HOLE:
                    return
                if trouble is Trouble.DELAY:
                    time.sleep(_LATE_SECONDS)
                server.sendall(data)
                if trouble is Trouble.CUT:
                    time.sleep(_LATE_SECONDS)  # the server must have it all before its client is gone
                    break
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _due(self, data: bytes) -> Trouble | None:
        if self._times <= 0 or not self._trigger.search(data):
            return None
        self._times -= 1
        self.struck.set()
        return self._trouble

    def _down(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if not silent.is_set():
                    client.sendall(data)
        if not silent.is_set():
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


@contextmanager
def tcp_proxy(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy on a free loopback port."""
    proxy = Proxy((host, port), ("127.0.0.1", 0))
    try:
        yield proxy
    finally:
        proxy.close()


@contextmanager
def socket_proxy(server_folder: str, name: str) -> Iterator[tuple[Proxy, str]]:
    """Run a proxy before a unix socket; yields it and the folder in which its own socket of the same name lies."""
    with tempfile.TemporaryDirectory(prefix="ownlens-proxy-") as folder:
        Path(folder).chmod(0o755)
        proxy = Proxy(f"{server_folder}/{name}", f"{folder}/{name}")
        try:
            yield proxy, folder
        finally:
            proxy.close()
