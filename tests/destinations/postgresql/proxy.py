"""A socket in front of the server that can swallow answers or stop carrying anything."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

PORT = 5432


class Trouble(Enum):
    """What happens on a connection once the client has sent the trigger."""

    SWALLOW = "carry it to the server, but no answer back"
    BLACK_HOLE = "carry nothing any more, in either direction"
    RESET = "close both sides"


class Proxy:
    """Carries connections from a unix socket of its own to the server's. Trouble hits one connection, once."""

    def __init__(self, server: str, folder: str) -> None:
        self.host = folder
        self._server = f"{server}/.s.PGSQL.{PORT}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/.s.PGSQL.{PORT}")
        self._listener.listen()
        self._trouble: tuple[bytes, Trouble] | None = None
        self._open: list[socket.socket] = []
        self.struck = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def strike(self, trigger: bytes, trouble: Trouble) -> None:
        """Prepare trouble for the next connection whose client sends the trigger."""
        self.struck.clear()
        self._trouble = (trigger, trouble)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._open += [client, server]
                silent = threading.Event()
                for work in (self._up, self._down):
                    threading.Thread(target=work, args=(client, server, silent), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                trouble = self._due(data)
                if trouble is Trouble.RESET:
                    break
                if trouble is not None:
                    silent.set()
                if trouble is Trouble.BLACK_HOLE:
                    return
                server.sendall(data)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _due(self, data: bytes) -> Trouble | None:
        if self._trouble is None or self._trouble[0] not in data:
            return None
        _, trouble = self._trouble
        self._trouble = None
        self.struck.set()
        return trouble

    def _down(self, client: socket.socket, server: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if not silent.is_set():
                    client.sendall(data)

    def close(self) -> None:
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def proxy_before(server: str) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="ownlens-proxy-") as folder:
        Path(folder).chmod(0o755)
        proxy = Proxy(server, folder)
        try:
            yield proxy
        finally:
            proxy.close()
