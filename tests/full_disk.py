"""A full disk: strace lets the system answer a server's calls with "no space left on device"."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_ATTACH_SECONDS = 30


@contextmanager
def full_disk(process: int, calls: str, *, file: Path | None = None) -> Iterator[None]:
    """Refuse some calls of a running process, its threads and its children; those on one file when it is named."""
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:error=ENOSPC", *(["-P", str(file)] if file else [])]
    command = [_strace(), "-f", "-qq", "-o", "/dev/null", "-p", str(process), *inject]
    with subprocess.Popen(command) as tracer:
        try:
            until = time.monotonic() + _ATTACH_SECONDS
            while not _is_traced(process):
                assert tracer.poll() is None, "strace could not attach to the server"
                assert time.monotonic() < until, "strace did not attach to the server"
                time.sleep(0.02)
            yield
        finally:
            tracer.terminate()


def _is_traced(process: int) -> bool:
    try:
        states = [(thread / "status").read_text() for thread in Path(f"/proc/{process}/task").iterdir()]
    except FileNotFoundError:  # a thread ended in that moment
        return False
    return not any("TracerPid:\t0\n" in state for state in states)


def _strace() -> str:
    """Return strace; skip the test without it, or fail where every test has to run."""
    if program := shutil.which("strace"):
        return program
    reason = "no full disk: install strace"
    if os.environ.get("CI", "").casefold() in {"1", "true"}:
        pytest.fail(reason)
    pytest.skip(reason)
