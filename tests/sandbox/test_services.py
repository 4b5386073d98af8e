"""Processes that outlive their starter: found by their lock, never by a pid that another process may have by now."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ownlens_sandbox import services
from ownlens_sandbox.services import SandboxError, Service, alone, free_port

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service("sleeper", tmp_path)
    yield made
    made.stop()


def test_a_process_is_found_again_and_stopped(service: Service) -> None:
    assert service.pid() is None
    service.start(["sleep", "60"], os.environ)
    pid = Service("sleeper", service.folder).pid()
    assert pid
    assert os.getsid(pid) == pid, "a terminal's end would reach it"
    assert not service.stop()
    assert service.pid() is None


def test_it_outlives_the_process_that_started_it(service: Service) -> None:
    starter = (
        "import os, sys, pathlib; from ownlens_sandbox.services import Service; "
        "Service('sleeper', pathlib.Path(sys.argv[1])).start(['sleep', '60'], os.environ); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", starter, str(service.folder)], timeout=60)
    assert service.pid()


def test_it_is_not_started_twice(service: Service) -> None:
    service.start(["sleep", "60"], os.environ)
    with pytest.raises(SandboxError, match="sleeper: it runs already"):
        service.start(["sleep", "60"], os.environ)


def test_a_pid_that_another_process_has_by_now_is_left_alone(service: Service) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as innocent:
        service.start(["true"], os.environ)
        service_ended(service)
        (service.folder / "run" / "sleeper.pid").write_text(str(innocent.pid))
        assert service.pid() is None
        assert not service.stop()
        assert innocent.poll() is None
        innocent.kill()


def service_ended(service: Service) -> None:
    until = time.monotonic() + 20
    while service.pid() is not None:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_one_that_does_not_listen_is_killed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_STOP_SECONDS", 0.3)
    service.start([sys.executable, "-c", STUBBORN], os.environ)
    service.wait_until(lambda: b"up" in service.log.read_bytes())
    assert service.stop()
    assert service.pid() is None


def test_the_farewell_is_its_own(tmp_path: Path) -> None:
    said = "import signal; signal.signal(signal.SIGINT, lambda *_: print('bye', flush=True) or exit()); "
    service = Service("polite", tmp_path, signal.SIGINT)
    service.start([sys.executable, "-c", f"{said}print('up', flush=True); signal.pause()"], os.environ)
    service.wait_until(lambda: b"up" in service.log.read_bytes())
    assert not service.stop()
    assert b"bye" in service.log.read_bytes()


def test_one_that_ends_at_once_is_told_with_its_log(service: Service) -> None:
    service.start(["sh", "-c", "echo no licence >&2; exit 3"], os.environ)
    with pytest.raises(SandboxError, match=r"sleeper: it ended before it answered; .*log/sleeper\.log says why"):
        service.wait_until(lambda: False, seconds=20)
    assert "no licence" in service.log.read_text()


def test_one_that_never_answers_is_told(service: Service) -> None:
    service.start(["sleep", "60"], os.environ)
    with pytest.raises(SandboxError, match="no answer within 0 s"):
        service.wait_until(lambda: False, seconds=0.1)


def test_a_program_that_is_missing_is_named(service: Service) -> None:
    with pytest.raises(SandboxError, match="sleeper: /no/such/program does not start"):
        service.start(["/no/such/program"], os.environ)
    assert service.pid() is None


def test_two_commands_do_not_work_on_one_folder(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(SandboxError, match="another command"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_a_port_is_kept_while_it_is_free() -> None:
    wanted = free_port()
    assert free_port(wanted) == wanted
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", wanted))
        taken.listen()
        assert free_port(wanted) != wanted
