"""Let a process that another library started end with this one, also when this one is killed."""

from __future__ import annotations

import subprocess
import sys

# Holds the process itself, not its number: that could be another's by the time it is used.
_GUARD = """
import os, signal, sys
try:
    guarded = os.pidfd_open(int(sys.argv[1]))
except OSError:
    sys.exit()
sys.stdin.buffer.read()
try:
    signal.pidfd_send_signal(guarded, signal.SIGTERM)
except OSError:
    pass
"""
# Their other ends close with this process, whatever ends it; nobody else has them.
_PIPES: list[subprocess.Popen[bytes]] = []


def end_with_us(pid: int) -> int:
    """Have a child of this process told to end (SIGTERM) as soon as this process is gone; returns its number.

    A small process waits for that. The kernel's own way (PR_SET_PDEATHSIG) is the child's to ask for, and it would end
    with the thread that started it. Elsewhere than on Linux nothing is done.
    """
    if sys.platform == "linux":
        _PIPES.append(
            subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _GUARD, str(pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Signals of the terminal are not meant for it.
                start_new_session=True,
            )
        )
    return pid
