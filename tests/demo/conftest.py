"""The demo, run twice as a newcomer runs it, and loaded once more by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROWS = 6_000


@dataclass(frozen=True)
class Ran:
    """One finished command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document that `--json` prints on stdout."""
        return json.loads(self.out)


def ownlens(*arguments: str, **environment: str) -> Ran:
    """Run the installed command in a process of its own."""
    command = [str(Path(sys.executable).with_name("ownlens")), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=600)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    # Not below pytest's own folder: another test session closes that to the user whom the servers run as.
    with tempfile.TemporaryDirectory(prefix="ownlens-demo-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def prefect_home(folder: Path) -> str:
    return str(folder / "prefect")


@pytest.fixture(scope="session")
def first_run(folder: Path) -> Ran:
    return ownlens("demo", "--folder", str(folder), "--rows", str(ROWS), "--json")


@pytest.fixture(scope="session")
def second_run(first_run: Ran, folder: Path) -> Ran:
    assert first_run.code == 0, first_run.err
    # Half of a run's time goes into its checks. Here they pass after the first run and after the full refresh; those of
    # a day of changes pass in tests/prefect/test_every_table.py.
    return ownlens("demo", "--folder", str(folder), "--json", OWNLENS_VALIDATE_LOADS="false")


@pytest.fixture(scope="session")
def landed_second(second_run: Ran, folder: Path) -> dict[str, dict[str, tuple[list[Any], list[Any]]]]:
    assert second_run.code == 0, second_run.err
    return compare_all(folder)


@pytest.fixture(scope="session")
def load_options(folder: Path) -> list[str]:
    return ["--profile", "demo", "--config", str(folder / "ownlens.toml")]


def compare_all(folder: Path, tables: Collection[str] = ()) -> dict[str, dict[str, tuple[list[Any], list[Any]]]]:
    """Read tables, every one when none are named, from the source and from every destination."""
    return dict(_compared(folder, tables))


def _compared(folder: Path, tables: Collection[str]) -> Iterator[tuple[str, dict[str, tuple[list[Any], list[Any]]]]]:
    import psycopg

    from ownlens_plugins.contracts import read_contracts
    from ownlens_plugins.registry import Registry
    from ownlens_sandbox.servers import running

    from .landed import demo_profile, landed_rows, open_destinations, source_rows

    with running(folder) as sandbox, psycopg.connect(sandbox.source) as connection:
        profile = demo_profile(folder)
        known = read_contracts(profile.contracts)
        contracts = {table: contract for table, contract in known.items() if table in (tables or known)}
        source = {name: source_rows(connection, contract) for name, contract in contracts.items()}
        with open_destinations(profile) as destinations:
            for name, destination in destinations.items():
                landed = {table: landed_rows(destination, c, Registry()) for table, c in contracts.items()}
                yield name, {table: (source[table], landed[table]) for table in contracts}
