"""Whether the Delta table that is there is the one that the ledger knows, with all the rows of its loads.

The marks of loads alone do not say so: they stay in the log when another program takes the rows back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from deltalake import DeltaTable

from .folder import TableFolder
from .ledger import LEDGER, LedgerEntry, read_entry

Commit = Mapping[str, Any]
# What the commits carry that write all rows anew in wider types: they take nothing back.
WIDENED = "ownlens_widened"


def table_id(table: DeltaTable) -> str:
    """Return the id that a Delta table keeps for as long as it lives."""
    return str(table.metadata().id)


def estrangement(folder: TableFolder, table: DeltaTable, position: int | None) -> str | None:
    """Return in words why the table is not what its loads left, or None when it is.

    `position` is the highest sequence that is marked in the table's own log.
    """
    if position is None:
        # The first load of a folder takes a table that is there as it is; so does any load of an empty one.
        strange = bool(table.file_uris()) and folder.has_files(LEDGER)
        return (_UNMARKED if _is_known(folder, table) else _ANOTHER) if strange else None
    entry = read_entry(folder, position)
    if entry is None:  # a crash prevented it
        return None
    if entry.table_id not in ("", table_id(table)):
        # An entry of a table of before stays until the load is committed to the new one and entered in turn.
        return None if _committed_here(table, position) else _ANOTHER
    return _taken_back(table, entry)


_ANOTHER = "the table in s3 is not the one that was loaded before; put that one back"

_UNMARKED = (
    "the table in s3 has lost the marks of its loads, as a checkpoint does with delta.setTransactionRetentionDuration; "
    "restore an older copy of its folder"
)


def _is_known(folder: TableFolder, table: DeltaTable) -> bool:
    """Tell whether the newest ledger entry is of this very table."""
    newest = folder.read(folder.entries(LEDGER)[-1].name) or b"{}"
    return bool(json.loads(newest).get("table_id") == table_id(table))


def _committed_here(table: DeltaTable, sequence: int) -> bool:
    own = (commit["ownlens"] for commit in table.history() if _is_load(commit))
    return any(load.get("sequence") == sequence and load.get("table_id") == table_id(table) for load in own)


def _taken_back(table: DeltaTable, entry: LedgerEntry) -> str | None:
    """Look through the commits since the newest load for one that took rows of loads back."""
    if entry.table_version is None or table.version() <= entry.table_version + 1:
        return None  # nothing came after the load's own commit, as after nearly every load
    commits = table.history(limit=table.version() - entry.table_version)
    guilty = _undoing(sorted(commits, key=lambda commit: commit["version"]))
    if guilty is None:
        return None
    doing = f"{guilty['operation']}, version {guilty['version']}"
    return f"another program took the table in s3 back behind its loads ({doing}); redo what was undone"


def _undoing(commits: Sequence[Commit]) -> Commit | None:
    """Return the commit of another program since which loads are missing, or None when all of them are there."""
    loads: set[str] = set()
    there: set[str] = set()
    after: dict[int, set[str]] = {}
    guilty = None
    for commit in commits:
        if _is_load(commit):
            load = commit["ownlens"]["load_id"]
            fresh = commit["ownlens"].get("strategy") == "overwrite"
            loads, there = ({load}, {load}) if fresh else (loads | {load}, there | {load})
        elif (left := _left_by(commit, commits, after)) is not None:
            there, guilty = left, commit
        after[commit["version"]] = there
    return guilty if loads - there else None


def _is_load(commit: Commit) -> bool:
    return isinstance(commit.get("ownlens"), dict)


def _left_by(commit: Commit, commits: Sequence[Commit], after: Mapping[int, set[str]]) -> set[str] | None:
    """Return the loads whose rows another program's commit left; None when it takes no rows of loads back.

    Deletes and updates are the owner's right; a restore, or another table's rows in the place of these, are not.
    """
    if WIDENED in commit:
        return None
    operation, parameters = str(commit.get("operation", "")).upper(), commit.get("operationParameters") or {}
    if operation == "RESTORE":
        return after.get(_restored_version(parameters, commits), set())
    whole = operation == "WRITE" and str(parameters.get("mode")) == "Overwrite" and not parameters.get("predicate")
    return set() if whole or "REPLACE TABLE" in operation else None


def _restored_version(parameters: Mapping[str, Any], commits: Sequence[Commit]) -> int:
    if (version := parameters.get("version")) is not None:
        return int(version)
    moment = _milliseconds(parameters.get("datetime") or parameters.get("timestamp"))
    return max((commit["version"] for commit in commits if commit.get("timestamp", 0) <= moment), default=-1)


def _milliseconds(moment: Any) -> float:
    """Return a restore's moment in the log's own unit: delta-rs writes numbers there, Spark writes text."""
    text = str(moment)
    try:
        return float(text) if text.isdigit() else datetime.fromisoformat(text).timestamp() * 1000
    except ValueError:
        return -1
