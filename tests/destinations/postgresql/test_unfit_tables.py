"""Tables whose rows could vanish, be there twice or replace one another are refused before rows move, with a cure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_contract
from ownlens_postgresql.destination import PostgreSQLDestination

from .conftest import Store
from .test_references import CHILDREN, PARENTS, child, five, parents

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = {"id": "text", "n": "int32?", "updated_at": "timestamptz"}
TYPES = "id text NOT NULL, n int, updated_at timestamptz NOT NULL"


def contract(strategy: str = "upsert", on_conflict: str = "update", **changes: Any) -> TableContract:
    block = {"strategy": strategy, "on_conflict": on_conflict}
    fields = {"table": "words", "columns": COLUMNS, "destinations": {"postgresql": block}, **changes}
    return sample_contract("reference", **fields)


def words(*ids: str, n: int = 0) -> list[dict[str, Any]]:
    return [{"id": id_, "n": n, "updated_at": MOMENT} for id_ in ids]


def run(store: Store, statements: str) -> None:
    for statement in statements.split("; "):
        store.sql(statement)


def refusal(store: Store, mine: TableContract) -> str:
    with pytest.raises(Rejected) as caught:
        PostgreSQLDestination(store.config).open(store.plan(words("a"), contract=mine))
    message = str(caught.value)
    assert message.startswith(f"{mine.table}: postgresql")
    assert "\n" not in message
    return message


def cured(store: Store, mine: TableContract, message: str) -> None:
    """What the message says to run lets the load through."""
    store.sql(message.rpartition("run ")[2].partition(", or ")[0])
    store.load(words("a", "b"), contract=mine)
    more = words("a", "A") if mine.options_for("postgresql")["strategy"] == "overwrite" else words("A", "B")
    store.load(more, contract=mine, sequence=2)
    expected = more if more[0]["id"] == "a" else words("a", "b", "A", "B")
    assert store.landed(mine) == store.staged(expected, mine)


UNFIT = {
    "unlogged": (f"CREATE UNLOGGED TABLE words ({TYPES}, PRIMARY KEY (id))", "UNLOGGED: a crash of the server empties"),
    "unlogged partition": (
        f"CREATE TABLE words ({TYPES}, PRIMARY KEY (id)) PARTITION BY HASH (id); "
        "CREATE TABLE one PARTITION OF words FOR VALUES WITH (MODULUS 2, REMAINDER 0); "
        "CREATE UNLOGGED TABLE two PARTITION OF words FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "keeps public.two UNLOGGED",
    ),
    "inheritance child": (
        f"CREATE TABLE words ({TYPES}, PRIMARY KEY (id)); CREATE TABLE more () INHERITS (words)",
        "has the inheritance child public.more, in which no unique key",
    ),
    "partial key": (f"CREATE TABLE words ({TYPES}); CREATE UNIQUE INDEX ON words (id) WHERE n > 0", "no unique key"),
    "key over an expression": (f"CREATE TABLE words ({TYPES}); CREATE UNIQUE INDEX ON words ((id || id))", "no unique"),
    "deferrable key": (
        f"CREATE TABLE words ({TYPES}, UNIQUE (id) DEFERRABLE)",
        "has the deferrable constraint words_id_key over",
    ),
    "deferrable key beside another": (
        f"CREATE TABLE words ({TYPES}, PRIMARY KEY (id), UNIQUE (id) DEFERRABLE)",
        "has the deferrable constraint words_id_key over",
    ),
    "invalid key": (
        f"CREATE TABLE words ({TYPES}, UNIQUE (id)); "
        "UPDATE pg_index SET indisvalid = false WHERE indrelid = 'words'::regclass",
        "has no unique key",
    ),
    "exclusion": (f"CREATE TABLE words ({TYPES}, EXCLUDE USING btree (id WITH =))", "has no unique key"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_table_that_would_lose_or_double_rows_is_refused_and_cured(emptied: Store, case: str) -> None:
    statements, reason = UNFIT[case]
    run(emptied, statements)
    owned(emptied)
    message = refusal(emptied, contract())
    assert reason in message
    cured(emptied, contract(), message)


def owned(store: Store) -> None:
    for (name,) in store.sql(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    ):
        store.sql(f"ALTER TABLE public.{name} OWNER TO loader")


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW", "SEQUENCE"])
def test_what_is_no_table_is_refused(store: Store, kind: str) -> None:
    store.sql(f"CREATE {kind} words {'' if kind == 'SEQUENCE' else 'AS SELECT 1 AS id'}")
    assert "is not a table; rename" in refusal(store, contract())


def test_foreign_tables_do_not_commit_with_the_ledger(store: Store) -> None:
    run(store, "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing")
    store.sql(f"CREATE FOREIGN TABLE words ({TYPES}) SERVER nowhere")
    assert "is not a table; rename" in refusal(store, contract())
    store.sql("DROP FOREIGN TABLE words")
    store.sql(f"CREATE TABLE words ({TYPES}) PARTITION BY LIST (id)")
    store.sql("CREATE TABLE near PARTITION OF words DEFAULT")
    store.sql("CREATE FOREIGN TABLE far PARTITION OF words FOR VALUES IN ('z') SERVER nowhere")
    message = refusal(store, contract())
    assert "has the foreign table public.far as a partition, which does not commit with the ledger" in message
    store.sql(message.rpartition("; run ")[2])
    store.sql("ALTER TABLE words ADD UNIQUE (id)")
    assert store.load(words("a"), contract=contract()).inserted == 1


FOLDING = "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"


@pytest.mark.parametrize(
    "strategy", [("append", "error"), ("append", "skip"), ("upsert", "update"), ("overwrite", "update")]
)
@pytest.mark.parametrize(
    "table",
    [
        f"CREATE TABLE words ({TYPES.replace('text', 'text COLLATE folding')}, PRIMARY KEY (id))",
        f"CREATE TABLE words ({TYPES}, PRIMARY KEY (id)); CREATE UNIQUE INDEX ON words (id COLLATE folding)",
    ],
    ids=["column", "index"],
)
def test_a_key_that_takes_different_texts_for_equal_is_refused(
    lesser: Store, strategy: tuple[str, str], table: str
) -> None:
    """On 15 with ICU, which the wheel of 18 is built without."""
    mine = contract(*strategy)
    run(lesser, f"{FOLDING}; {table}")
    owned(lesser)
    message = refusal(lesser, mine)
    assert "compares key column 'id' by a nondeterministic collation: a row would replace another one" in message
    cured(lesser, mine, message)


@pytest.mark.parametrize("collation", ['"C"', '"POSIX"'])
def test_a_key_of_another_collation_is_no_problem(store: Store, collation: str) -> None:
    store.sql(f"CREATE TABLE words ({TYPES.replace('text', f'text COLLATE {collation}')}, PRIMARY KEY (id))")
    store.load(words("a", "A"), contract=contract())
    assert five(store.load(words("A", "b", n=1), contract=contract(), sequence=2)) == (1, 1, 0, 0, 0)


def test_a_key_in_which_nulls_are_equal_is_no_problem(store: Store) -> None:
    store.sql("CREATE TABLE words (id text, n int, updated_at timestamptz NOT NULL, UNIQUE NULLS NOT DISTINCT (id))")
    assert store.load(words("a", "A"), contract=contract()).inserted == 2


def test_a_table_that_inherits_is_used(store: Store) -> None:
    """Rows of its parent are not among its own."""
    store.sql(f"CREATE TABLE elders ({TYPES})")
    store.sql("CREATE TABLE words (PRIMARY KEY (id)) INHERITS (elders)")
    store.sql("INSERT INTO elders VALUES ('a', 9, now())")
    assert store.load(words("a", "A"), contract=contract()).inserted == 2
    assert store.landed(contract()) == store.staged(words("a", "A"), contract())


def test_a_parent_with_inheritance_children_is_refused(store: Store) -> None:
    """A query finds their rows, a foreign key does not."""
    store.load(parents(1), contract=PARENTS)
    store.sql("CREATE TABLE younger () INHERITS (parents)")
    store.sql("INSERT INTO younger VALUES (9, 'p9', now())")
    plan = store.plan([child(1, 9)], contract=CHILDREN)
    with pytest.raises(Rejected, match=r"whose rows no foreign key sees; run ALTER TABLE .* NO INHERIT") as caught:
        store.destination.open(plan)
    store.sql(str(caught.value).rpartition("; run ")[2].partition(", or ")[0])
    assert five(store.load([child(1, 9)], contract=CHILDREN)) == (0, 0, 0, 0, 1)


@pytest.mark.parametrize("table", ["loads", "tables", "quarantine", "spared"])
def test_an_unlogged_ledger_is_refused(emptied: Store, table: str) -> None:
    emptied.load(words("a"), contract=contract())
    emptied.sql(f"ALTER TABLE ownlens.{table} SET UNLOGGED")
    message = refusal(emptied, contract())
    assert f'ledger table "ownlens"."{table}" is UNLOGGED' in message
    emptied.sql(message.rpartition("; run ")[2])
    assert emptied.load(words("b"), contract=contract(), sequence=2).inserted == 1


def test_a_foreign_key_that_is_not_enforced_is_left_alone(store: Store) -> None:
    """PostgreSQL 18: it cannot be validated. Rows without parents wait all the same."""
    store.load(parents(1), contract=PARENTS)
    store.sql(
        "CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents NOT ENFORCED, "
        "n int NOT NULL, updated_at timestamptz NOT NULL)"
    )
    assert five(store.load([child(1, 1), child(2, 9)], contract=CHILDREN)) == (1, 0, 0, 0, 1)


def test_a_published_table_without_a_replica_identity_is_told_how(store: Store) -> None:
    """The server says so with a state of class 55; trying again would not help."""
    store.sql(f"CREATE TABLE words ({TYPES}, UNIQUE (id))")
    store.load(words("a"), contract=contract())
    store.sql("CREATE PUBLICATION p FOR TABLE words")
    with pytest.raises(Rejected, match=r"replica identity .* REPLICA IDENTITY FULL"):
        store.load(words("a", n=2), contract=contract(), sequence=2)
    store.sql("ALTER TABLE words REPLICA IDENTITY FULL")
    assert store.load(words("a", n=2), contract=contract(), sequence=2).updated == 1
