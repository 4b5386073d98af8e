"""Where tables stand: what the newest version of each says by itself, several tables at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.powers import TableState

from .delta import DeltaLake
from .files import FileTable
from .handles import Handle
from .ledger import LedgerEntry, logger, read_entry

# On an object store each table costs a few requests, which wait for nothing but their answers.
_THREADS = 8


def overview(
    contracts: Sequence[TableContract], look: Callable[[TableContract], TableState]
) -> Mapping[str, TableState]:
    """Return the state of each table, as `look` finds it."""

    def looked(contract: TableContract) -> TableState:
        try:
            return look(contract)
        except Exception as error:
            # One table that cannot be read hides no other; what its loads find says why.
            logger.info("%s: not looked at: %s", contract.table, type(error).__name__)
            return TableState()

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="ownlens-overview") as pool:
        return dict(zip([contract.table for contract in contracts], pool.map(looked, contracts), strict=True))


def state_of_delta(lake: DeltaLake) -> TableState:
    """Return what the newest version of a Delta table says; without a table, nothing was loaded."""
    with lake.handles.lent(lake.folder) as table:
        if table is None:
            return TableState(is_sure=True)
        marks = lake.marks(table)
        position = marks.position
        size, strange = _bytes(table), lake.estrangement(table)
        if strange:
            trouble = f"{lake.contract.table}: {strange}, or replace it with --full-refresh"
            return TableState(position, bytes=size, trouble=trouble)
        if not position:
            return TableState(bytes=size, is_sure=True)
        entry = read_entry(lake.folder, position)
        # The log decides; an entry that is not of the load which it marks is of a table of before.
        is_own = entry is not None and not marks.differs(position, entry.digest)
        return _state(position, entry if is_own else None, size, is_sure=not marks.has_gaps)


def _bytes(table: Handle) -> int:
    # As it is: pyarrow would import pandas to look whether this is one of its tables.
    return sum(table.get_add_actions(flatten=True).column("size_bytes").to_pylist())


def state_of_files(files: FileTable) -> TableState:
    """Return what the newest manifest says."""
    if (current := files.current()) is None:
        return TableState(is_sure=True)
    size = sum(file.bytes for file in current.files)
    return _state(current.sequence, current.entry, size, is_sure=not files.lost(current))


def _state(position: int, entry: LedgerEntry | None, size: int, *, is_sure: bool) -> TableState:
    if entry is None:
        return TableState(position, bytes=size, is_sure=is_sure)
    loaded_at = datetime.fromisoformat(entry.committed_at)
    return TableState(position, entry.digest, loaded_at, entry.rows, bytes=size, is_sure=is_sure)
