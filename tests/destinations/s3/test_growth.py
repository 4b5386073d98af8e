"""A load opens as many files, and sends as many requests, after hundreds of others as after ten.

Files are counted by the system and requests on the way to the server, delta-rs's own included.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest

from ownlens_plugins.powers import Upkeep
from ownlens_s3.config import S3Config, lake_options
from ownlens_s3.destination import S3Destination
from tests.minio_server import MinioServer
from tests.request_log import request_log

from .histories import pretend
from .loads import Loader, contract_of

WORKER = """
import sys
from pathlib import Path
from tests.destinations.s3.test_growth import run
run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
"""
OPENED = re.compile(r'openat\([^"]*"([^"]*)"')
FEW, MANY = 10, 300


def loader_of(uri: Path, folder: Path, strategy: str) -> Loader:
    return Loader(S3Destination(S3Config(uri=str(uri))), contract_of(strategy, partition="none"), folder)


def bring(loader: Loader, number: int) -> None:
    assert not loader.load(number, loader.rows(5, first=5 * number), parts=1).replayed


def look(loader: Loader, number: int) -> None:
    """Do what a run does that finds nothing new."""
    assert loader.destination.position(loader.contract) == number
    assert loader.destination.find_commit(loader.plan(number, loader.rows(5, first=5 * number), parts=1)) is not None


STEPS = {"bring": bring, "look": look}


def run(folder: Path, strategy: str, sets: int) -> None:
    """Take the steps in this process, between looks for files that are not there and tell the steps apart."""
    loader = loader_of(folder / "lake", folder, strategy)
    loader.plan(sets, loader.rows(5, first=5 * sets), parts=1)

    def take(step: str, number: int) -> int:
        with suppress(FileNotFoundError):
            (folder / f"begin {step} {number - sets}").open()
        STEPS[step](loader, number)
        loader.destination.close()
        with suppress(FileNotFoundError):
            (folder / "end").open()
        return 0

    counted(loader, sets, take)


def with_history(folder: Path, strategy: str, sets: int) -> Loader:
    """Make a table with so many sets in it, the last of them followed by a checkpoint."""
    loader = loader_of(folder / "lake", folder, strategy)
    bring(loader, 1)
    pretend(loader, 2, sets)
    table = loader.destination.delta(loader.contract, lake_options(loader.plans[1])).open()
    assert table is not None
    table.checkpoint(every=1)
    loader.destination.close()
    return loader


def counted(loader: Loader, sets: int, count: Callable[[str, int], int]) -> dict[str, int]:
    """Count what a load and a look cost right after a checkpoint, and right before the next one."""
    found = {"load after": count("bring", sets + 1), "look after": count("look", sets + 1)}
    pretend(loader, sets + 2, sets + 8)
    loader.destination.close()
    before = {"load before": count("bring", sets + 9), "look before": count("look", sets + 9)}
    return found | before


@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_a_load_opens_no_more_files_after_many_others(tmp_path: Path, strategy: str) -> None:
    few, many = (_opened(tmp_path / str(sets), strategy, sets) for sets in (FEW, MANY))
    assert require_alike(few, many)


def _opened(folder: Path, strategy: str, sets: int) -> dict[str, int]:
    with_history(folder, strategy, sets)
    command = ["strace", "-f", "--seccomp-bpf", "-e", "trace=openat", "-o", str(folder / "trace"), sys.executable]
    subprocess.run([*command, "-c", WORKER, str(folder), strategy, str(sets)], check=True, timeout=120)
    found: dict[str, int] = {}
    step = ""
    for name in OPENED.findall((folder / "trace").read_text()):
        if name.startswith((f"{folder}/begin ", f"{folder}/end")):
            step = name.partition("/begin ")[2]
        elif step and name.startswith(f"{folder}/lake"):
            found[step] = found.get(step, 0) + 1
    return found


def require_alike(few: dict[str, int], many: dict[str, int]) -> bool:
    assert few.keys() == many.keys()
    assert all(abs(many[step] - few[step]) <= 2 for step in few), (few, many)
    return len(few) == 4


@pytest.mark.minio
@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_a_load_sends_no_more_requests_after_many_others(minio: MinioServer, tmp_path: Path, strategy: str) -> None:
    with request_log(minio.endpoint, tmp_path / "requests") as requests:

        def sent(loader: Loader) -> Callable[[str, int], int]:
            def count(step: str, number: int) -> int:
                requests.taken()
                STEPS[step](loader, number)
                loader.destination.close()  # the next one is a run of its own
                return len(requests.taken())

            return count

        few, many = (
            _counted_in_bucket(minio, requests.endpoint, tmp_path, strategy, sets, sent) for sets in (FEW, MANY)
        )
    assert require_alike(few, many)


def _counted_in_bucket(
    minio: MinioServer,
    endpoint: str,
    folder: Path,
    strategy: str,
    sets: int,
    sent: Callable[[Loader], Callable[[str, int], int]],
) -> dict[str, int]:
    local = with_history(folder / str(sets), strategy, sets)
    prefix = uuid.uuid4().hex
    root = folder / str(sets) / "lake"
    for file in filter(Path.is_file, root.rglob("*")):
        minio.client().upload_file(str(file), "lake", f"{prefix}/{file.relative_to(root)}")
    settings = {**minio.settings, "endpoint_url": endpoint}
    loader = Loader(S3Destination(S3Config(uri=f"s3://lake/{prefix}", **settings)), local.contract, local.folder)
    loader.plans.update(local.plans)
    try:
        return counted(loader, sets, sent(loader))
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize("by", ["maintenance", "loads"])
def test_log_files_older_than_a_week_go(tmp_path: Path, by: str) -> None:
    """As the files of old versions do. Loads look at every hundredth version, as the whole log is listed for it."""
    loader = with_history(tmp_path, "append", 120)
    log = tmp_path / "lake/tests/samples/_delta_log"
    old = time.time() - 8 * 86_400
    for file in log.iterdir():
        os.utime(file, (old, old))
    if by == "maintenance":
        options = lake_options(loader.plans[1])
        loader.destination.maintain(Upkeep(loader.contract, options, 0, date(2026, 1, 1)))
    else:
        pretend(loader, 121, 199)
        bring(loader, 200)
    assert len([file for file in log.iterdir() if file.stat().st_mtime < time.time() - 7 * 86_400]) <= 3
    assert loader.destination.find_commit(loader.plans[1]) is not None
    bring(loader, 201)
    assert loader.landed().num_rows == (10 if by == "maintenance" else 15)
