"""A year of loads in less than an hour: `python -m benchmarks.year` (needs a C compiler; outside of CI).

One events table is loaded every hour, one entity, one reference and one daily table every night, and maintenance runs
after them, into a local lake, PostgreSQL and the embedded ClickHouse. `year_clock.c` gives this process, the source and
the destination's server a clock that goes from a year ago to now; files get the time of the simulated day in which they
were written. At the end all rows are compared with the source, what has grown is counted, and a query of one day is
timed beside the same query of a table that was written at once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.year_queries import compare_queries
from benchmarks.year_world import YearWorld

CLOCK = Path(__file__).with_name("year_clock.c")
DAY, HOUR = 86_400, 3_600
COUNTED = (1, 30, 90, 180, 270, 365)


@dataclass
class Clock:
    """The time of day of this process and of its servers: the real one less `behind` seconds, as `file` says."""

    file: Path
    behind: int

    def forward(self, seconds: int) -> None:
        """Go on. The file is mapped by everybody who reads it, so it is written in place."""
        self.behind -= seconds
        with self.file.open("r+b") as file:
            file.write(struct.pack("q", -self.behind))


def main() -> int:
    """Run the year; print what was counted on some days as JSON lines, then the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.year", description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--hours", type=int, default=24, help="hourly loads a day")
    parser.add_argument("--stores", default="s3,postgresql,clickhouse", help="separated by commas")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        return _live(arguments.folder, Clock(arguments.folder / "clock", arguments.days * DAY), arguments)
    with tempfile.TemporaryDirectory(prefix="year") as folder:
        Path(folder).chmod(0o755)  # the servers run as another user when root measures
        return _in_another_time(Path(folder), arguments.days)


def _in_another_time(folder: Path, days: int) -> int:
    library, clock = folder / "clock.so", folder / "clock"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, CLOCK, "-ldl"], check=True)
    clock.write_bytes(struct.pack("q", -days * DAY))
    clock.chmod(0o644)
    command = [sys.executable, "-m", "benchmarks.year", *sys.argv[1:], "--folder", str(folder)]
    moved = {**os.environ, "LD_PRELOAD": str(library), "YEAR_CLOCK": str(clock)}
    return subprocess.run(command, check=False, env=moved).returncode


def _live(folder: Path, clock: Clock, arguments: argparse.Namespace) -> int:
    with YearWorld.opened(folder, arguments.stores.split(",")) as world:
        for day in range(1, arguments.days + 1):
            hours = [_hour(world, clock) for _ in range(arguments.hours)]
            clock.forward(DAY - arguments.hours * HOUR)
            night, upkeep = _timed(lambda day=day: world.night(day)), _timed(world.maintain)
            _stamp(folder, clock)
            if day in COUNTED or day == arguments.days:
                seconds = {"hour": statistics.median(hours), "night": night, "maintenance": upkeep}
                _tell(day=day, seconds=seconds, resident_mb=_resident(), **world.counted())
        problems = world.differences()
        _tell(differences=problems)
        _tell(query_of_one_day_after_a_year_and_fresh=compare_queries(world))
    return 1 if problems else 0


def _hour(world: YearWorld, clock: Clock) -> float:
    clock.forward(HOUR)
    return _timed(world.hour)


def _timed(step: Callable[[], object]) -> float:
    begun = time.monotonic()
    step()
    return round(time.monotonic() - begun, 3)


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _tell(**found: object) -> None:
    print(json.dumps(found), flush=True)


def _stamp(folder: Path, clock: Clock) -> None:
    """Give the files of this day the simulated time: what is old is judged by it, by OwnLens and by delta-rs."""
    mark = folder / "mark"
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    newer = ["-newer", str(mark)] if mark.exists() else []
    moment = subprocess.run(["date", "+%s"], env=plain, capture_output=True, text=True, check=True).stdout
    touch = ["-exec", "touch", "-d", f"@{int(moment) - clock.behind}", "{}", "+"]
    places = [str(folder / name) for name in ("lake", "staging")]
    subprocess.run(["find", *places, "-type", "f", *newer, *touch], env=plain, check=True)
    subprocess.run(["touch", str(mark)], env=plain, check=True)


if __name__ == "__main__":
    sys.exit(main())
