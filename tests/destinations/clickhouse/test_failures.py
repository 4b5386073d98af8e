"""Each way a store can be wrong is one line that names the table, ClickHouse and the fix, and no secret."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, ProgrammingError
from pydantic import SecretStr, ValidationError

from ownlens_clickhouse.client import pool_for
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_clickhouse.failures import reported, unknown_outcome
from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import CommitUnknown, OwnLensError, Rejected, Retryable
from ownlens_plugins.testing import make_plan, sample_rows, sample_table

from .loads import Loads, contract_for

# One test opens the engine in other processes.
ENGINE_STAYS_OPEN = False
SECRET = "p@ss/w%rd:'\""


def _unreachable(**settings: object) -> ClickHouseDestination:
    return ClickHouseDestination(
        ClickHouseConfig.model_validate({"host": "127.0.0.1", "password": SecretStr(SECRET), **settings})
    )


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _plan(destination: ClickHouseDestination, folder: Path) -> LoadPlan:
    contract = contract_for(Strategy.APPEND)
    return make_plan(destination, contract, sample_table(contract, sample_rows(3)), folder)


def test_a_server_that_does_not_run(tmp_path: Path) -> None:
    destination = _unreachable(port=_closed_port())
    with pytest.raises(Retryable) as caught:
        load(destination, _plan(destination, tmp_path))
    place = destination.config.place
    assert str(caught.value) == (
        f"samples: clickhouse at {place} cannot be reached (OperationalError); "
        "check that the server runs, its host and its port"
    )
    assert caught.value.__cause__ is None
    with pytest.raises(Retryable, match=r"^clickhouse: clickhouse at"):
        destination.check()


def test_a_server_that_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        destination = _unreachable(port=silent.getsockname()[1], answer_timeout=1, connect_timeout=1)
        start = time.monotonic()
        with pytest.raises(Retryable, match=r"^samples: clickhouse at .* cannot be reached"):
            load(destination, _plan(destination, tmp_path))
        assert time.monotonic() - start < 20


def test_a_host_that_does_not_exist(tmp_path: Path) -> None:
    destination = _unreachable(host="no-such-host.invalid", port=1)
    with pytest.raises(Retryable) as caught:
        load(destination, _plan(destination, tmp_path))
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


_OPEN = """
import sys, json
from pathlib import Path
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.errors import OwnLensError
try:
    ClickHouseDestination(ClickHouseConfig(interface="chdb", path=Path(sys.argv[1]))).check()
    print("opened")
except OwnLensError as error:
    print(type(error).__name__, error)
"""


def _open_elsewhere(path: Path) -> str:
    places = os.pathsep.join(place for place in sys.path if place)
    child = subprocess.run(
        [sys.executable, "-c", _OPEN, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": places},
        timeout=60,
        check=True,
    )
    return child.stdout.splitlines()[-1]


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = _open_elsewhere(tmp_path / "file")
    assert said.startswith("Rejected clickhouse: clickhouse path ")
    assert said.endswith("is a file; name a folder for the embedded engine")


def test_a_folder_that_cannot_be_made() -> None:
    assert _open_elsewhere(Path("/proc/ownlens")).startswith("Retryable clickhouse: clickhouse cannot open /proc/ownl")


def test_a_folder_that_another_process_has_open_until_it_closes(loads: Loads) -> None:
    loads.destination.check()
    said = _open_elsewhere(Path(str(loads.config.path)))
    assert said.startswith("Retryable clickhouse: clickhouse cannot open ")
    assert "no other process has it open" in said

    loads.destination.close()
    assert _open_elsewhere(Path(str(loads.config.path))) == "opened"

    loads.destination.check()


def test_a_second_engine_in_one_process(loads: Loads, tmp_path: Path) -> None:
    loads.destination.check()
    other = ClickHouseDestination(ClickHouseConfig(interface="chdb", path=tmp_path / "other"))
    with pytest.raises(Rejected, match="this process has another embedded engine open; close it first"):
        other.check()


def test_a_destination_may_be_used_again_after_it_was_closed(loads: Loads) -> None:
    contract = contract_for(Strategy.APPEND)
    loads.load(contract, sample_rows(3))
    loads.destination.close()
    assert loads.load(contract, sample_rows(3), sequence=2).rows == 3
    loads.destination.close()
    loads.destination.close()
    assert len(loads.landed(contract)) == 6


def test_a_database_that_cannot_exchange_tables(loads: Loads) -> None:
    loads.run(f"CREATE DATABASE {loads.config.database} ENGINE = Memory")
    with pytest.raises(Rejected, match=r"^samples: clickhouse database 'test_\d+' has engine Memory, which cannot"):
        loads.load(contract_for(Strategy.APPEND), sample_rows(3))


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (516, Rejected, "refused user 'default'; check the credentials"),
        (497, Rejected, "lacks a privilege on 'ownlens'"),
        (164, Rejected, "lets user 'default' only read, or not change settings; give it a profile with readonly = 0"),
        (241, Retryable, "could not do it now (SOME_NAME, code 241: the reason); raise max_memory_usage or run"),
        (75, Retryable, "could not do it now (SOME_NAME, code 75); free disk space of the server, and run the load"),
        (60, Retryable, "could not do it now"),
        (216, Retryable, "could not do it now"),
        (6, Rejected, "refused (SOME_NAME, code 6); correct the contract or the table"),
    ],
)
def test_what_the_codes_of_clickhouse_mean(code: int, kind: type[OwnLensError], said: str) -> None:
    answer = f"Code: {code}. DB::Exception: the reason\nin two lines. (SOME_NAME) (version 26.9)"
    answer = answer.replace("\nin two lines", "") if code == 241 else answer
    with pytest.raises(kind) as caught, reported(ClickHouseConfig(), "samples"):
        raise DatabaseError(answer, code=code)
    assert str(caught.value).startswith("samples: clickhouse ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_that_a_user_may_not_change() -> None:
    """The driver itself refuses to send one that the server calls read-only."""
    said = r"^samples: clickhouse .* not change settings; give it a profile with readonly = 0$"
    with pytest.raises(Rejected, match=said), reported(ClickHouseConfig(), "samples"):
        raise ProgrammingError("Setting async_insert is readonly")


def test_row_values_stay_out_of_messages(loads: Loads) -> None:
    loads.run(f"CREATE DATABASE {loads.config.database}")
    with pytest.raises(Rejected) as caught, reported(loads.config, "samples"):
        loads.sql("SELECT toInt32('jane.doe@example.org')")
    assert "jane" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_error_after_the_commit_was_sent_is_an_unknown_outcome() -> None:
    for error in (OperationalError("reset"), Retryable("x"), KeyError("x"), CommitUnknown("x")):
        with pytest.raises(CommitUnknown), unknown_outcome("samples"):
            raise error


def test_a_connection_that_failed_is_not_used_again(loads: Loads) -> None:
    pool = pool_for(loads.config)
    with pytest.raises(OperationalError), pool.client() as client:
        raise OperationalError("reset by peer")
    with pool.client() as other:
        assert other is not client


def test_the_writer_travels_without_showing_its_secret(loads: Loads) -> None:
    plan = loads.plan(contract_for(Strategy.APPEND), sample_rows(5), parts=1)
    with loads.destination.open(plan) as attempt:
        writer = pickle.loads(pickle.dumps(attempt.writer))
        assert attempt.commit([writer.write(plan.parts[0])]).inserted == 5
    config = ClickHouseConfig(password=SecretStr(SECRET))
    assert SECRET not in f"{config!r} {config}"
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interface": "chdb"}, "interface chdb needs path"),
        ({"path": "x"}, "path is for interface chdb"),
        ({"prot": 1}, "Extra inputs"),
        ({"ca_cert": "x"}, "ca_cert and verify are for TLS; set secure = true"),
        ({"verify": False}, "ca_cert and verify are for TLS; set secure = true"),
        ({"secure": True, "verify": False, "ca_cert": "x"}, "verify: false would leave ca_cert unused"),
        ({"compression": "br"}, "Input should be 'auto', 'lz4', 'zstd', 'gzip' or 'none'"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClickHouseConfig.model_validate(settings)


def test_importing_the_plugin_loads_no_driver() -> None:
    code = "import ownlens_clickhouse, sys; print({'chdb', 'clickhouse_connect'} & set(sys.modules))"
    places = os.pathsep.join(place for place in sys.path if place)
    child = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": places},
    )
    assert child.stdout.strip() == "set()"
