"""Tables that somebody else made, in ways that no loader would: a load works, or its refusal can be followed."""

from __future__ import annotations

from typing import Any

import pytest

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_contract
from ownlens_postgresql.destination import PostgreSQLDestination

from .conftest import Store
from .test_drift import refreshed
from .test_refreshing import run
from .test_unfit_tables import MOMENT

COLUMNS = {"id": "int64", "n": "int32?", "t": "text?", "updated_at": "timestamptz"}
TYPES = "id bigint, n int, t text, updated_at timestamptz NOT NULL"
STRATEGIES = [("append", "error"), ("append", "skip"), ("upsert", "update"), ("overwrite", "update")]


def contract(strategy: str = "upsert", on_conflict: str = "update", **changes: Any) -> TableContract:
    block = {"strategy": strategy, "on_conflict": on_conflict}
    fields = {"table": "words", "columns": COLUMNS, "destinations": {"postgresql": block}, **changes}
    return sample_contract("reference", **fields)


def words(*ids: int, **values: Any) -> list[dict[str, Any]]:
    return [{"id": id_, "n": id_, "t": f"t{id_}", "updated_at": MOMENT, **values} for id_ in ids]


def made(store: Store, statements: str) -> None:
    run(store, statements)
    for (name,) in store.sql("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 2200"):
        store.sql(f'ALTER TABLE public."{name}" OWNER TO loader')


def refusal(store: Store, mine: TableContract, rows: list[dict[str, Any]], sequence: int = 1) -> str:
    ledger = store.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'loads'") == [(1,)] and store.ledger()
    with pytest.raises(Rejected) as caught:
        load(PostgreSQLDestination(store.config), store.plan(rows, contract=mine, sequence=sequence))
    message = str(caught.value)
    assert message.startswith(f"{mine.table}: postgresql")
    assert "\n" not in message
    assert not ledger or store.ledger() == ledger
    return message


def follow(store: Store, message: str) -> None:
    run(store, message.rpartition("run ")[2], "; ")


# --- tables that are used as they are


def table(more: str = "PRIMARY KEY (id)", **columns: str) -> str:
    """Return a CREATE TABLE with other definitions of some columns."""
    kinds = {"id": "bigint", "n": "int", "t": "text", "updated_at": "timestamptz NOT NULL", **columns}
    return f"CREATE TABLE words ({', '.join(f'{name} {kind}' for name, kind in kinds.items())}, {more})"


PARENT_OF_N = "CREATE TABLE p (n int PRIMARY KEY)|INSERT INTO p SELECT generate_series(1, 9)"
FINE = {
    "key that includes": table("PRIMARY KEY (id) INCLUDE (n)"),
    "identity as the key": table("UNIQUE (id)", id="bigint GENERATED ALWAYS AS IDENTITY"),
    "domains": "CREATE DOMAIN positive AS bigint CHECK (VALUE >= 0)|"
    "CREATE DOMAIN short AS text CHECK (length(VALUE) < 9)|"
    f"CREATE DOMAIN shorter AS short|{table(id='positive', t='shorter')}",
    "partial unique index": f"{table()}|CREATE UNIQUE INDEX ON words (t) WHERE n > 0",
    "exclusion": table("PRIMARY KEY (id), EXCLUDE USING btree (t WITH =)"),
    "deferrable unique": table("PRIMARY KEY (id), UNIQUE (t) DEFERRABLE INITIALLY DEFERRED"),
    "collation": table("PRIMARY KEY (id), UNIQUE (t)", t='text COLLATE "C"'),
    "limited text": table(t="varchar(2)"),
    "limited time": table(updated_at="timestamptz(0) NOT NULL"),
    "checks": f"{table('PRIMARY KEY (id), CHECK (n > 0)')}|ALTER TABLE words ADD CHECK (t <> '') NOT VALID",
    "reference that is not validated": f"{table()}|{PARENT_OF_N}|"
    "ALTER TABLE words ADD FOREIGN KEY (n) REFERENCES p NOT VALID",
    "virtual column": table("PRIMARY KEY (id), twice int GENERATED ALWAYS AS (n * 2) VIRTUAL"),
    "reference that is not enforced": f"{table()}|CREATE TABLE p (n int PRIMARY KEY)|"
    "ALTER TABLE words ADD FOREIGN KEY (n) REFERENCES p NOT ENFORCED",
}
ONLY_18 = {"virtual column", "reference that is not enforced"}


@pytest.mark.parametrize(("strategy", "on_conflict"), STRATEGIES)
@pytest.mark.parametrize("case", FINE)
def test_odd_tables_are_used_as_they_are(either: Store, case: str, strategy: str, on_conflict: str) -> None:
    if case in ONLY_18 and either.sql("SELECT current_setting('server_version_num')::int < 180000") == [(True,)]:
        pytest.skip("PostgreSQL 18 has it")
    mine = contract(strategy, on_conflict)
    for domain in ("shorter", "short", "positive"):
        either.sql(f"DROP DOMAIN IF EXISTS {domain}")
    made(either, FINE[case])
    either.load(words(1, 2, 3), contract=mine)
    more = words(4, 5) if strategy == "append" else words(3, 4, 5, n=6)
    either.load(more, contract=mine, sequence=2)
    kept = {"append": [1, 2, 3], "upsert": [1, 2], "overwrite": []}[strategy]
    expected = [*words(*kept), *(row for row in more if row["id"] not in kept)]
    assert either.landed(mine) == either.staged(expected, mine)
    refreshed(either, mine, words(1, 9), 3)
    assert either.landed(mine) == either.staged(words(1, 9), mine)


# --- tables that are refused before rows move

UNFIT: dict[str, tuple[str, str]] = {
    "identity outside of the key": (
        table(n="int GENERATED ALWAYS AS IDENTITY"),
        "always generates identity column 'n'",
    ),
    "stored column": (
        table(n="int GENERATED ALWAYS AS (id) STORED"),
        "generates column 'n' itself",
    ),
    "rule": (
        f'CREATE TABLE words ({TYPES}, PRIMARY KEY (id))|CREATE RULE "r\'1" AS ON INSERT TO words DO INSTEAD NOTHING',
        'has the rule "r\'1"',
    ),
    "partial key": (f"CREATE TABLE words ({TYPES})|CREATE UNIQUE INDEX ON words (id) WHERE n > 0", "no unique key"),
    "required columns": (
        f"CREATE TABLE words ({TYPES}, PRIMARY KEY (id), more int NOT NULL, yet text NOT NULL)",
        "requires column 'more', which the contract lacks; it requires column 'yet'",
    ),
    "primary key of its own": (
        f'CREATE TABLE words (number uuid CONSTRAINT "its own" PRIMARY KEY, {TYPES}, UNIQUE (id))',
        "requires column 'number', which the contract lacks",
    ),
    "primary key of two columns of its own": (
        f"CREATE TABLE words (a int, b int, {TYPES}, UNIQUE (id), PRIMARY KEY (a, b))",
        "requires column 'a', which the contract lacks; it requires column 'b'",
    ),
    "replica identity of its own": (
        f"CREATE TABLE words (number uuid NOT NULL CONSTRAINT u UNIQUE, {TYPES}, PRIMARY KEY (id))|"
        "ALTER TABLE words REPLICA IDENTITY USING INDEX u",
        "requires column 'number', which the contract lacks",
    ),
    "divided by another column": (
        "CREATE TABLE words (id bigint, n int, t text, updated_at timestamptz NOT NULL) PARTITION BY LIST (id)|"
        "CREATE TABLE part PARTITION OF words DEFAULT",
        "has no unique key",
    ),
}
UNFIT_18: dict[str, tuple[str, str]] = {
    "virtual column": (
        table(n="int GENERATED ALWAYS AS (1) VIRTUAL"),
        "generates column 'n' itself",
    ),
    "temporal key": (
        f"CREATE TABLE words ({TYPES}, room int4range, "
        "during int4range DEFAULT int4range(1, 9), UNIQUE (room, during WITHOUT OVERLAPS))",
        "no unique key",
    ),
}


@pytest.mark.parametrize("full_refresh", [False, True], ids=["load", "refresh"])
@pytest.mark.parametrize("case", UNFIT)
def test_a_table_that_cannot_be_loaded_says_what_to_run(either: Store, case: str, full_refresh: bool) -> None:
    statements, reason = UNFIT[case]
    unfit(either, statements, reason, full_refresh=full_refresh)


@pytest.mark.parametrize("case", UNFIT_18)
def test_what_only_18_has(emptied18: Store, case: str) -> None:
    unfit(emptied18, *UNFIT_18[case], full_refresh=False)


def unfit(store: Store, statements: str, reason: str, *, full_refresh: bool) -> None:
    mine = contract()
    made(store, statements)
    if full_refresh and "unique key" in reason:
        refreshed(store, mine, words(1, 2), 1)
        return
    message = refusal(store, mine, words(1, 2))
    assert reason in message
    follow(store, message)
    store.load(words(1, 2), contract=mine)
    assert store.load(words(2, 3, n=7), contract=mine, sequence=2).updated == 1
    expected = words(1) + words(2, 3, n=7)
    assert store.landed(mine) == store.staged(expected, mine)


def test_nobody_is_told_to_let_the_key_be_null(either: Store) -> None:
    made(either, "CREATE TABLE words (t text)")
    message = refusal(either, contract(), words(1))
    assert "lacks column 'id', which is not nullable; it lacks column 'updated_at'" in message
    assert "int64?" not in message
    assert "make it timestamptz? in the contract, or load it with --full-refresh" in message
    refreshed(either, contract(), words(1), 1)
    assert either.landed(contract()) == either.staged(words(1), contract())


def test_a_table_divided_by_a_column_outside_of_the_key_is_no_riddle(either: Store) -> None:
    made(either, f"CREATE TABLE words ({TYPES}) PARTITION BY LIST (n)|CREATE TABLE part PARTITION OF words DEFAULT")
    message = refusal(either, contract(), words(1))
    assert 'is partitioned by ("n"), so that PostgreSQL cannot keep ("id") unique' in message
    with pytest.raises(Rejected, match="is partitioned by"):
        refreshed(either, contract(), words(1), 1)
    both = contract(key=["id", "n"], columns={**COLUMNS, "n": "int32"})
    follow(either, refusal(either, both, words(1)))
    assert either.load(words(1), contract=both).inserted == 1


@pytest.mark.parametrize("full_refresh", [False, True], ids=["load", "refresh"])
def test_a_partition_gets_no_columns_of_its_own(either: Store, full_refresh: bool) -> None:
    made(
        either,
        "CREATE TABLE whole (id bigint, n int, updated_at timestamptz NOT NULL, PRIMARY KEY (id)) "
        "PARTITION BY RANGE (id)|CREATE TABLE words PARTITION OF whole FOR VALUES FROM (0) TO (100)",
    )
    message = refusal(either, contract(), words(1))
    assert "lacks columns 't', and is a partition" in message
    follow(either, message)
    if full_refresh:
        refreshed(either, contract(), words(1), 1)
    else:
        either.load(words(1), contract=contract())
    assert either.landed(contract()) == either.staged(words(1), contract())


def test_columns_of_a_partition_are_not_altered_in_it(either: Store) -> None:
    made(
        either,
        "CREATE TABLE whole (id bigint, n int, t int, updated_at timestamptz NOT NULL, PRIMARY KEY (id)) "
        "PARTITION BY RANGE (id)|CREATE TABLE words PARTITION OF whole FOR VALUES FROM (0) TO (100)",
    )
    with pytest.raises(Rejected, match="column 't' of a table that has them from another one") as caught:
        refreshed(either, contract(), words(1), 1)
    run(either, str(caught.value).rpartition("run ")[2].partition(", and load")[0])
    refreshed(either, contract(), words(1), 1)
    assert either.landed(contract()) == either.staged(words(1), contract())


def test_the_column_of_the_partitions_is_named(either: Store) -> None:
    made(
        either,
        "CREATE TABLE words (id int, n int, t text, updated_at timestamptz NOT NULL, PRIMARY KEY (id)) "
        "PARTITION BY RANGE (id)|CREATE TABLE part PARTITION OF words FOR VALUES FROM (0) TO (100)",
    )
    with pytest.raises(Rejected, match="'id', by which the table is partitioned; run DROP TABLE") as caught:
        refreshed(either, contract(), words(1), 1)
    run(either, str(caught.value).rpartition("run ")[2].partition(", and load")[0])
    refreshed(either, contract(), words(1), 1)
    assert either.landed(contract()) == either.staged(words(1), contract())


# --- constraints that rows violate


def test_a_foreign_key_that_the_contract_does_not_know_is_named(either: Store) -> None:
    made(
        either,
        f"CREATE TABLE parents (n int PRIMARY KEY)|CREATE TABLE words ({TYPES}, PRIMARY KEY (id), "
        "CONSTRAINT away FOREIGN KEY (n) REFERENCES parents)|INSERT INTO parents VALUES (1)",
    )
    other = {"references": {"t": "texts.t"}}
    for mine in (contract(), contract(**other)):
        message = refusal(either, mine, words(1, 2))
        assert "constraint away" in message
        assert "add n: parents.n to the contract's references" in message
    known = contract(references={"n": "parents.n"})
    assert either.load(words(1, 2), contract=known).rejected == 1
    follow(either, message)
    assert either.load(words(3), contract=contract(), sequence=2).inserted >= 1


def test_a_deferred_foreign_key_is_named_at_the_commit(either: Store) -> None:
    made(
        either,
        f"CREATE TABLE parents (n int PRIMARY KEY)|CREATE TABLE words ({TYPES}, PRIMARY KEY (id), "
        "CONSTRAINT away FOREIGN KEY (n) REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
    )
    message = refusal(either, contract(references={"t": "texts.t"}), words(1))
    assert "add n: parents.n to the contract's references" in message
    follow(either, message)
    assert either.load(words(1), contract=contract()).inserted == 1


@pytest.mark.parametrize(
    "unique",
    [
        "CONSTRAINT u UNIQUE (t)",
        "CONSTRAINT u UNIQUE (t) DEFERRABLE INITIALLY DEFERRED",
        "CONSTRAINT u EXCLUDE USING btree (t WITH =)",
        "",
    ],
)
@pytest.mark.parametrize("strategy", ["upsert", "append"])
def test_another_unique_column_is_named_and_on_conflict_is_not_to_blame(
    either: Store, unique: str, strategy: str
) -> None:
    made(
        either,
        f"CREATE TABLE words ({TYPES}, PRIMARY KEY (id){', ' * bool(unique)}{unique})"
        + ("" if unique else "|CREATE UNIQUE INDEX u ON words (t) WHERE n > 0"),
    )
    mine = contract(strategy, "error" if strategy == "append" else "update")
    message = refusal(either, mine, words(1, 2, t="same"))
    assert 'have the same ("t"), which is not the contract\'s key' in message
    assert "on_conflict" not in message
    follow(either, message)
    assert either.load(words(1, 2, t="same"), contract=mine).inserted == 2


def test_the_key_itself_is_on_conflict_s_affair(either: Store) -> None:
    mine = contract("append", "error")
    either.load(words(1), contract=mine)
    assert "set on_conflict: skip or update" in refusal(either, mine, words(1), sequence=2)


def test_rows_of_others_that_reference_what_a_load_changes_are_named(either: Store) -> None:
    made(
        either,
        f"CREATE TABLE words ({TYPES}, PRIMARY KEY (id), UNIQUE (t))|"
        "CREATE TABLE theirs (t text CONSTRAINT to_t REFERENCES words (t))",
    )
    either.load(words(1), contract=contract())
    either.sql("INSERT INTO theirs VALUES ('t1')")
    message = refusal(either, contract(), words(1, t="new"), sequence=2)
    assert 'rows of public.theirs reference ("t") of rows that the load changes' in message
    follow(either, message)
    assert either.load(words(1, t="new"), contract=contract(), sequence=2).updated == 1


def test_a_table_whose_rows_nobody_may_see_keeps_what_it_references(either: Store) -> None:
    either.load(words(1, 2), contract=contract())
    run(either, "CREATE TABLE theirs (id bigint REFERENCES words)|INSERT INTO theirs VALUES (1)")
    message = refusal(either, contract("overwrite"), words(3), sequence=2)
    assert "cannot see which rows public.theirs references" in message
    follow(either, message)
    assert either.load(words(3), contract=contract("overwrite"), sequence=2).spared == 1


# --- parents of others


def test_a_padded_parent_is_compared_as_its_foreign_key_does(either: Store) -> None:
    made(either, "CREATE TABLE parents (code char(5) PRIMARY KEY)|INSERT INTO parents VALUES ('ab')")
    mine = contract(references={"t": "parents.code"})
    assert either.load(words(1, t="ab   ") + words(2, t="ab") + words(3, t="abc"), contract=mine).rejected == 1
    assert either.sql("SELECT count(*) FROM pg_constraint WHERE conrelid = 'words'::regclass AND contype = 'f'") == [
        (1,)
    ]
    either.sql("INSERT INTO parents VALUES ('abc')")
    assert either.load([], contract=mine, sequence=2).released == 1


PARENTS = {
    "another type": ("CREATE TABLE parents (code int PRIMARY KEY)", "it is integer, and 't' is text", ""),
    "no such column": (
        "CREATE TABLE parents (id int PRIMARY KEY)",
        "which it has not got",
        "ALTER TABLE parents ADD code text UNIQUE",
    ),
    "not unique": ("CREATE TABLE parents (code text)", "which no unique key holds alone", "run"),
    "deferrable": ("CREATE TABLE parents (code text UNIQUE DEFERRABLE)", "which no unique key holds alone", "run"),
}


@pytest.mark.parametrize("case", PARENTS)
def test_a_parent_that_no_foreign_key_can_name_is_refused(either: Store, case: str) -> None:
    statements, reason, cure = PARENTS[case]
    made(either, statements)
    references = {"references": {"t": "parents.code"}}
    message = refusal(either, contract(**references), words(1))
    assert reason in message
    if cure:
        follow(either, message if cure == "run" else f"run {cure}")
        assert either.load(words(1), contract=contract(**references)).rejected == 1
        return
    block = {"postgresql": {"strategy": "upsert", "foreign_keys": "ignore"}}
    assert either.load(words(1), contract=contract(**references, destinations=block)).inserted == 1


def test_a_child_by_period_keeps_its_parent(emptied18: Store) -> None:
    """PostgreSQL 18: PERIOD asks that ranges overlap, and not that they are equal."""
    store = emptied18
    made(
        store,
        f"{table('PRIMARY KEY (id), room int4range DEFAULT int4range(1, 2), during int4range')}|"
        "ALTER TABLE words ADD UNIQUE (room, during WITHOUT OVERLAPS)|"
        "CREATE TABLE theirs (room int4range, during int4range, "
        "FOREIGN KEY (room, PERIOD during) REFERENCES words (room, PERIOD during))",
    )
    store.load(words(1, 2), contract=contract())
    store.sql("UPDATE words SET during = int4range(id::int * 10, id::int * 10 + 9)")
    store.sql("INSERT INTO theirs VALUES (int4range(1, 2), int4range(12, 14))")
    result = store.load(words(3), contract=contract("overwrite"), sequence=2)
    assert (result.inserted, result.deleted, result.spared) == (1, 1, 1)
