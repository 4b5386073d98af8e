"""A web server that keeps what is posted to it: the far end of a notification."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Inbox:
    """The bodies that were posted, oldest first."""

    address: str = ""
    messages: list[str] = field(default_factory=list)

    def holding(self, text: str) -> list[str]:
        return [message for message in self.messages if text in message]


@contextmanager
def receiving() -> Iterator[Inbox]:
    """Receive notifications on a free port of this machine."""
    inbox = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            inbox.messages.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox.address = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield inbox
    server.shutdown()
