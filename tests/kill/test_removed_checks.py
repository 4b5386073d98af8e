"""Each check that exactly once hangs on, taken out of a copy of the code: the test that notices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Removal:
    """`edits` are (file below destinations/, code, what stands there instead); `noticed_by` is a test's address."""

    edits: tuple[tuple[str, str, str], ...]
    noticed_by: str


_FIND = "if done := self._ledger.find(connection, plan):"
_CLAIM = "if not self._ledger.claim(connection, plan):"
_RECORDED = "if done := self._lake.recorded(table, self.plan):\n                return"
_UUID = "if target.uuid_of(target.table) != entry.stage:\n        target.store.run(sql.exchange"
SUITES = {
    "postgresql": "postgresql/test_conformance.py::TestPostgreSQL",
    "lake": "s3/test_conformance.py::TestDelta",
    "clickhouse": "clickhouse/test_conformance.py::TestEmbedded",
}
REMOVALS = {
    # The ledger's row is looked for and then claimed: either alone is enough, so both go.
    "ledger check, postgresql": Removal(
        (
            ("ownlens_postgresql/session.py", _FIND, "if done := False:"),
            ("ownlens_postgresql/session.py", _CLAIM, f"{_CLAIM[:-1]} and False:"),
        ),
        f"{SUITES['postgresql']}::test_a_commit_of_a_committed_load_changes_nothing[upsert]",
    ),
    "marker check, lake": Removal(
        (("ownlens_s3/session.py", _RECORDED, _RECORDED.replace("self._lake.recorded(table, self.plan)", "False")),),
        f"{SUITES['lake']}::test_a_commit_of_a_committed_load_changes_nothing[append]",
    ),
    "count assertion, lake": Removal(
        (("ownlens_s3/writer.py", "if rows != plan.rows:", "if False:"),),
        f"{SUITES['lake']}::test_lost_rows_are_noticed_inside_the_commit[append]",
    ),
    "count assertion, postgresql": Removal(
        (("ownlens_postgresql/applying.py", "if found != self.plan.rows:", "if False:"),),
        f"{SUITES['postgresql']}::test_lost_rows_are_noticed_inside_the_commit[append]",
    ),
    "count assertion, clickhouse": Removal(
        (("ownlens_clickhouse/session.py", "if rows != plan.rows or uuid is None:", "if uuid is None:"),),
        f"{SUITES['clickhouse']}::test_lost_rows_are_noticed_inside_the_commit[append]",
    ),
    "uuid check, clickhouse": Removal(
        (("ownlens_clickhouse/applying.py", _UUID, f"if True:{_UUID.partition(':')[2]}"),),
        "clickhouse/test_recovery.py::test_a_failure_at_any_point_is_repaired_by_the_next_run"
        "[chdb-after_commit-shared-overwrite]",
    ),
    # The pause, of another length in each process, lets rivals commit between the look and the commit.
    "same handle, lake": Removal(
        (
            (
                "ownlens_s3/session.py",
                "        before = table.version()\n",
                "        time.sleep(time.time_ns() % 10**9 / 1e9)\n        table = self._table()\n"
                "        before = table.version()\n",
            ),
        ),
        f"{SUITES['lake']}::test_processes_race_with_one_set[append]",
    ),
    "same handle for look-up and merge, lake": Removal(
        (
            (
                "ownlens_s3/merging.py",
                "        merging = _Merge(",
                "        table = DeltaTable(table.table_uri)\n        merging = _Merge(",
            ),
            (
                "ownlens_s3/delta.py",
                "        require_present(self.folder, patched.files, self.contract.table)\n",
                "        table = DeltaTable(table.table_uri)\n",
            ),
        ),
        "s3/test_moved.py::test_a_rival_that_commits_between_the_look_up_and_the_merge",
    ),
    "identity check, lake": Removal(
        (("ownlens_s3/session.py", "self._lake.require_own(table, self.plan)", "pass"),),
        "s3/test_dropped.py::test_a_table_that_is_exchanged_while_a_load_runs",
    ),
}


@pytest.mark.parametrize("name", REMOVALS)
def test_a_removed_check_is_noticed(tmp_path: Path, name: str) -> None:
    removal = REMOVALS[name]
    copy = tmp_path / "destinations"
    shutil.copytree(ROOT / "destinations", copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert _run(removal.noticed_by, copy) == 0, "the test must pass before the check is removed"
    for file, code, instead in removal.edits:
        text = (copy / file).read_text()
        assert text.count(code) == 1, f"{file} has no {code!r} to remove"
        (copy / file).write_text(text.replace(code, instead))
    assert _run(removal.noticed_by, copy) == 1, f"nobody notices that the {name} is gone"


def _run(test: str, packages: Path) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    env = {
        **os.environ,
        "PYTHONPATH": str(packages),
        "PYTEST_ADDOPTS": "",
        "PYTEST_DEBUG_TEMPROOT": str(packages.parent),
    }
    done = subprocess.run(
        [*command, f"tests/destinations/{test}"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=200
    )
    return done.returncode
