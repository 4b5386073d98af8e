"""A load opens as many files after hundreds of others as after ten: counted by the system, delta-rs's own included."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination

from .loads import Loader, contract_of

WORKER = """
import sys
from pathlib import Path
from tests.destinations.s3.test_growth import run
run(Path(sys.argv[1]), *map(int, sys.argv[2:]))
"""
OPENED = re.compile(r'openat\([^"]*"([^"]*)"')


def run(folder: Path, first: int, last: int, strategy: int) -> None:
    """Load the sets from `first` to `last`."""
    destination = S3Destination(S3Config(uri=str(folder / "lake")))
    loader = Loader(destination, contract_of(("append", "upsert")[strategy], partition="none"), folder)
    for number in range(first, last + 1):
        assert not loader.load(number, loader.rows(5, first=5 * number), parts=1).replayed


def opened(folder: Path, number: int, strategy: int) -> int:
    """Load one set in a process of its own; return how many files of the lake it opened, those of upserts aside."""
    trace = folder / f"trace-{number}"
    command = ["strace", "-f", "-e", "trace=openat", "-o", str(trace), sys.executable, "-c", WORKER, str(folder)]
    subprocess.run([*command, str(number), str(number), str(strategy)], check=True, timeout=120)
    names = OPENED.findall(trace.read_text())
    lake = str(folder / "lake")
    return sum(name.startswith(lake) and "/part-" not in name for name in names)


@pytest.mark.parametrize("strategy", [0, 1])
def test_a_load_opens_no_more_files_after_many_others(tmp_path: Path, strategy: int) -> None:
    """Each count is that of a set right before a checkpoint, when most commits are read, and of one after it."""
    run(tmp_path, 1, 18, strategy)
    few = [opened(tmp_path, number, strategy) for number in (19, 20, 21)]
    run(tmp_path, 22, 58, strategy)
    many = [opened(tmp_path, number, strategy) for number in (59, 60, 61)]
    assert max(many) <= max(few) + 5, (few, many)
