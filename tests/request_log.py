"""A way to a server that writes down each HTTP request: `python -m tests.request_log HOST PORT FILE` prints its port.

A process of its own, because some drivers hold Python's lock while they wait for an answer.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_REQUEST = re.compile(rb"(GET|PUT|HEAD|POST|DELETE) (/\S*) HTTP/1\.1\r\n")


@dataclass(frozen=True)
class RequestLog:
    """The requests that went through `endpoint`, in `file`, one a line: method and path."""

    endpoint: str
    file: Path

    def taken(self) -> list[str]:
        """Return the requests since the last call."""
        lines = self.file.read_text().splitlines()
        self.file.write_text("")
        return lines


@contextmanager
def request_log(endpoint: str, file: Path) -> Iterator[RequestLog]:
    """Carry requests to a server at `endpoint`, an `http://` address, for as long as this runs."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    command = [sys.executable, "-m", "tests.request_log", host, port, str(file)]
    file.write_text("")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield RequestLog(f"http://127.0.0.1:{int(process.stdout.readline())}", file)
        finally:
            process.kill()


async def _serve(host: str, port: int, file: Path) -> None:
    async def carry(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        source, server = await asyncio.open_connection(host, port)
        await asyncio.gather(_pass_on(client, server, file), _pass_on(source, answer, None))

    listener = await asyncio.start_server(carry, "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, file: Path | None) -> None:
    try:
        while data := await source.read(65_536):
            if file is not None and (found := _REQUEST.findall(data)):
                with file.open("ab") as log:
                    log.writelines(b"%s %s\n" % request for request in found)
            sink.write(data)
            await sink.drain()
        sink.write_eof()
    except OSError:
        sink.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
