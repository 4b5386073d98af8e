"""Tables in one DuckDB file. Each load is one transaction, which holds the rows and the ledger's row."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import duckdb
import pyarrow as pa

import ownlens_plugins as ownlens
from ownlens_plugins.powers import Chore, Upkeep

# DuckDB sees two changes of one row, but not two new rows of one key: the loads of a process take turns.
_TURNS = threading.Lock()
# Contracts cannot use names that begin like this one.
_LEDGER = """CREATE TABLE IF NOT EXISTS _ownlens_ledger (table_name TEXT, sequence BIGINT, digest TEXT,
    counts MAP(TEXT, BIGINT), PRIMARY KEY (table_name, sequence))"""
_FIND = "SELECT sequence, digest, counts FROM _ownlens_ledger WHERE table_name = ? AND sequence >= ? ORDER BY 1 LIMIT 1"
_COLUMNS = "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'main' AND table_name = ?"
_MERGE = """MERGE INTO {table} AS held USING _ownlens_staged AS staged USING ({key})
    WHEN MATCHED AND (staged.{version} > held.{version} OR held.{version} IS NULL) THEN UPDATE
    WHEN NOT MATCHED THEN INSERT"""
_OLD = "FROM {table} WHERE {column} < ?::TIMESTAMPTZ"
_FORGETTABLE = """FROM _ownlens_ledger WHERE table_name = ? AND sequence <= ?
    AND sequence < (SELECT max(sequence) FROM _ownlens_ledger WHERE table_name = ?)"""


class DuckDBConfig(ownlens.StrictModel):
    """`path` names the file, which is created when it is absent."""

    path: str


class DuckDBSession(ownlens.LoadSession):
    """One attempt. It makes nothing before its commit, so that a crash or an abort leaves nothing to clear."""

    writer = ownlens.StagedWriter()

    def __init__(self, destination: "DuckDBDestination", plan: ownlens.LoadPlan) -> None:
        self.destination, self.plan = destination, plan

    def commit(self, _receipts: Sequence[ownlens.Receipt]) -> ownlens.LoadResult:
        with _TURNS, self.destination.transaction(self.plan.table) as db:
            return found(db, self.plan) or applied(db, self.plan)

    def abort(self) -> None:
        """Do nothing: there is nothing to discard."""


class DuckDBDestination(ownlens.Destination[DuckDBConfig, ownlens.DestinationOptions]):
    """A DuckDB file. It admits one process at a time, so every call opens it and closes it again."""

    name = "duckdb"
    config_type = DuckDBConfig
    strategies = frozenset({ownlens.Strategy.APPEND, ownlens.Strategy.UPSERT, ownlens.Strategy.OVERWRITE})

    @contextmanager
    def transaction(self, table: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """Run one transaction in a connection of its own; an error rolls it back.

        Raises:
            Retryable: another process has the file open, or another connection changed the same rows.
            Rejected: DuckDB refuses the table, or a part is damaged.
        """
        with ExitStack() as opened:
            try:
                db = opened.enter_context(duckdb.connect(self.config.path))
                yield db.begin().execute(_LEDGER)
            except duckdb.Error as error:  # before COMMIT: it is certain that nothing landed
                kind = ownlens.Retryable if isinstance(error, duckdb.OperationalError) else ownlens.Rejected
                raise kind(f"{table}: duckdb: {str(error).splitlines()[0]}; mend it and load again") from error
            db.commit()

    def find_commit(self, plan: ownlens.LoadPlan) -> ownlens.LoadResult | None:
        with _TURNS, self.transaction(plan.table) as db:
            return found(db, plan)

    def open(self, plan: ownlens.LoadPlan) -> DuckDBSession:
        self.require_strategy(plan)
        with _TURNS, self.transaction(plan.table) as db:
            db.register("_ownlens_in", pa.RecordBatchReader.from_batches(plan.schema, []))
            db.execute(f"CREATE TABLE IF NOT EXISTS {quoted(plan.table)} AS FROM _ownlens_in")
            types = map(str, db.table("_ownlens_in").types)
            # DuckDB takes names that differ in case only for one: it may have found another table, or renamed a column.
            if db.execute(_COLUMNS, [plan.table]).fetchall() != list(zip(plan.schema.names, types, strict=True)):
                raise ownlens.Rejected(f"{plan.table}: duckdb's table has other columns; rename or drop it, or them")
        return DuckDBSession(self, plan)

    def read(self, plan: ownlens.LoadPlan) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(plan.schema, self.batches(plan))

    def batches(self, plan: ownlens.LoadPlan) -> Iterator[pa.RecordBatch]:
        """Yield the table's rows; the file stays open until the last one."""
        with self.transaction(plan.table) as db:
            db.execute("SET arrow_lossless_conversion = true")  # a uuid as such, not as its text
            if db.execute(_COLUMNS, [plan.table]).fetchall():  # else no load has made the table yet
                yield from db.sql(f"FROM {quoted(plan.table)}").to_arrow_reader().cast(plan.schema)

    def maintain(self, upkeep: Upkeep) -> Sequence[Chore]:
        """Delete rows that are too old, and forget loads; a dry run counts them."""
        table, kept = upkeep.contract.table, upkeep.oldest_kept
        old = _OLD.format(table=quoted(table), column=quoted(str(upkeep.contract.partition_by)))
        work: list[tuple[str, str, list[object]]] = [("retention", old, [kept])] if kept else []
        work.append(("ledger", _FORGETTABLE, [table, upkeep.settled, table]))
        verb = "SELECT count(*)" if upkeep.dry_run else "DELETE"
        with _TURNS, self.transaction(table) as db:
            if not db.execute(_COLUMNS, [table]).fetchall():
                return []
            db.execute("SET TimeZone = 'UTC'")  # a day is one of the contract's, wherever this runs
            done = [Chore(name, db.execute(f"{verb} {which}", values).fetchall()[0][0]) for name, which, values in work]
        return [chore for chore in done if chore.rows]


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def found(db: duckdb.DuckDBPyConnection, plan: ownlens.LoadPlan) -> ownlens.LoadResult | None:
    """Return what the ledger says of a load; one that a newer load has overtaken is done, with 0 rows."""
    entry = db.execute(_FIND, [plan.table, plan.sequence]).fetchone()
    return plan.replay(*entry) if entry else None


def applied(db: duckdb.DuckDBPyConnection, plan: ownlens.LoadPlan) -> ownlens.LoadResult:
    """Change the table, write the ledger's row, and return what was counted."""
    table, version, *key = map(quoted, [plan.table, str(plan.contract.version_by), *plan.contract.key])
    db.register("_ownlens_in", plan.reader())
    staged = db.execute("CREATE TEMP TABLE _ownlens_staged AS FROM _ownlens_in").rowcount
    if staged != plan.rows:
        raise ownlens.Rejected(f"{plan.table}: duckdb read {staged} of {plan.rows} staged rows; stage the table again")
    if plan.strategy is ownlens.Strategy.OVERWRITE:
        db.execute(f"DELETE FROM {table}")
    before = len(db.sql(f"FROM {table}"))
    change = _MERGE if plan.strategy is ownlens.Strategy.UPSERT else "INSERT INTO {table} FROM _ownlens_staged"
    changed = db.execute(change.format(table=table, key=", ".join(key), version=version)).rowcount
    inserted = len(db.sql(f"FROM {table}")) - before
    counts = {"rows": staged, "inserted": inserted, "updated": changed - inserted, "unchanged": staged - changed}
    db.execute("INSERT INTO _ownlens_ledger VALUES (?, ?, ?, ?)", [plan.table, plan.sequence, plan.digest, counts])
    return ownlens.LoadResult(plan.load_id, plan.digest, **counts)


@ownlens.hookimpl
def ownlens_destinations() -> list[type]:
    """Tell OwnLens what is here."""
    return [DuckDBDestination]
