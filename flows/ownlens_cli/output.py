"""Standard output and error that never decide over a load: closed, full or unable to spell a name."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO


class _Raw(io.FileIO):
    """Writes as long as somebody reads. What cannot be written any more is dropped, and the reason kept."""

    trouble: OSError | None = None

    def write(self, data: Any) -> int:
        if self.trouble is None:
            try:
                return super().write(data)
            except OSError as error:
                self.trouble = error
        return memoryview(data).nbytes


def guard_output() -> list[_Raw]:
    """Replace stdout and stderr of this process; returns what writes them."""
    raws = []
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        try:
            raw = _Raw(os.dup(stream.fileno()), "w") if stream is not None else None
        except (OSError, ValueError):
            raw = None
        if raw is None or stream is None:  # closed before we began
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # lives as long as we do
            continue
        raws.append(raw)
        setattr(sys, name, _text(raw, stream))
    return raws


def _text(raw: _Raw, stream: TextIO) -> TextIO:
    # A terminal that cannot spell a character shows its number; nothing ends because of it.
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.isatty() or stream is sys.stderr,
        write_through=stream is sys.stderr,
    )


def output_trouble(raws: list[_Raw]) -> str:
    """Flush, and return why not all could be written; a reader that had seen enough is no trouble."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    found = [raw.trouble for raw in raws if raw.trouble is not None and raw.trouble.errno != errno.EPIPE]
    return f"the output cannot be written ({found[0].strerror})" if found else ""
