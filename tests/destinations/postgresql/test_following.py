"""What a refusal advises is done, statements word for word as it says them, and the load passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from ownlens_plugins.api import Covers
from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import OwnLensError, Rejected
from ownlens_postgresql.destination import PostgreSQLDestination

from .conftest import Store
from .test_drift import refreshed
from .test_maintenance import maintain
from .test_other_peoples_tables import COLUMNS, TYPES, contract, made, words
from .test_refreshing import run
from .test_targets import make

TABLE = f"CREATE TABLE words ({TYPES}, PRIMARY KEY (id))"
# Where the statement ends that a message says to run.
ENDS = (", or ", "; or ", ", and load", " first", " for ")


def again(store: Store, mine: TableContract, rows: list[dict[str, Any]], sequence: int = 1, **changes: Any) -> Any:
    """Load as a new process would."""
    plan = replace(store.plan(rows, contract=mine, sequence=sequence), **changes)
    return load(PostgreSQLDestination(store.config), plan)


def refusal(store: Store, mine: TableContract, rows: list[dict[str, Any]], sequence: int = 1, **changes: Any) -> str:
    with pytest.raises(OwnLensError) as caught:
        again(store, mine, rows, sequence, **changes)
    message = str(caught.value)
    assert message.startswith(f"{mine.table}: postgresql")
    assert "\n" not in message
    return message


def advised(message: str, verb: str) -> str:
    """Return the statement of a message that begins with a verb."""
    statement = message[message.index(f"run {verb}") + len("run ") :]
    return min((statement.partition(end)[0] for end in ENDS), key=len)


# --- settings of the contract


@pytest.mark.parametrize("setting", ["skip", "update"])
@pytest.mark.parametrize("strategy", ["append", "upsert"])
def test_set_on_conflict(emptied: Store, strategy: str, setting: str) -> None:
    mine = contract(strategy, "error")
    again(emptied, mine, words(1))
    assert "set on_conflict: skip or update, or remove the duplicate" in refusal(emptied, mine, words(1, 2), 2)
    assert again(emptied, contract(strategy, setting), words(1, 2), 2).inserted == 1


def test_on_conflict_is_not_to_blame_for_the_rows_of_a_trigger(emptied: Store) -> None:
    """Its table may have a key of the same name."""
    again(emptied, contract(), [])
    make(
        emptied,
        "CREATE TABLE public.audit (id bigint PRIMARY KEY)",
        "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO public.audit VALUES (NEW.id); RETURN NEW; END $$",
        "CREATE TRIGGER g AFTER INSERT OR UPDATE ON public.words FOR EACH ROW EXECUTE FUNCTION public.f()",
    )
    again(emptied, contract(), words(1), 2)
    message = refusal(emptied, contract(), words(1, n=7), 3)
    assert "on_conflict" not in message
    run(emptied, advised(message, "ALTER TABLE"))
    assert again(emptied, contract(), words(1, n=7), 3).updated == 1


PARENTS = {
    "inheritance child": "CREATE TABLE parents (code text UNIQUE)|CREATE TABLE younger () INHERITS (parents)",
    "no such column": "CREATE TABLE parents (id int PRIMARY KEY)",
    "another type": "CREATE TABLE parents (code int PRIMARY KEY)",
    "not unique": "CREATE TABLE parents (code text)",
    "divided": "CREATE TABLE parents (code text, n int) PARTITION BY LIST (n)",
    "view": "CREATE VIEW parents AS SELECT 't1'::text AS code",
    "owner": f"CREATE TABLE parents (code text UNIQUE)|{TABLE}",
}


@pytest.mark.parametrize("case", PARENTS)
def test_set_foreign_keys_to_ignore(lesser: Store, case: str) -> None:
    made(lesser, PARENTS[case])
    if case == "owner":
        run(lesser, "ALTER TABLE words OWNER TO postgres|GRANT SELECT, INSERT, UPDATE ON words TO loader")
    references = {"references": {"t": "parents.code"}}
    message = refusal(lesser, contract(**references), words(1))
    assert "set foreign_keys: ignore" in message
    assert ("ADD UNIQUE" in message) == (case == "not unique")  # which is for what can have it
    block = {"postgresql": {"strategy": "upsert", "foreign_keys": "ignore"}}
    assert again(lesser, contract(**references, destinations=block), words(1)).inserted == 1


@pytest.mark.parametrize(
    ("case", "advice", "cure"),
    [
        ("another type", "make them alike", "ALTER TABLE parents ALTER code TYPE text"),
        ("no such column", "load parents with this column", "ALTER TABLE parents ADD code text UNIQUE"),
    ],
)
def test_correct_the_parent(emptied: Store, case: str, advice: str, cure: str) -> None:
    made(emptied, PARENTS[case])
    mine = contract(references={"t": "parents.code"})
    assert advice in refusal(emptied, mine, words(1))
    emptied.sql(cure)
    assert again(emptied, mine, words(1)).rejected == 1


AWAY = f"CREATE TABLE parents (n int PRIMARY KEY)|{TABLE}|ALTER TABLE words ADD FOREIGN KEY (n) REFERENCES parents"


def test_set_foreign_keys_to_enforce(emptied: Store) -> None:
    made(emptied, AWAY)
    references = {"references": {"n": "parents.n"}}
    block = {"postgresql": {"strategy": "upsert", "foreign_keys": "ignore"}}
    assert "set foreign_keys: enforce" in refusal(emptied, contract(**references, destinations=block), words(1))
    assert again(emptied, contract(**references), words(1)).rejected == 1


def test_load_the_referenced_rows_first(emptied: Store) -> None:
    made(
        emptied,
        f"CREATE TABLE parents (n int, t text, PRIMARY KEY (n, t))|{TABLE}|"
        "ALTER TABLE words ADD FOREIGN KEY (n, t) REFERENCES parents",
    )
    assert "load the referenced rows first" in refusal(emptied, contract(), words(1))
    emptied.sql("INSERT INTO parents VALUES (1, 't1')")
    assert again(emptied, contract(), words(1)).inserted == 1


FROZEN = {"schema_policy": "freeze"}
FEWER = {name: kind for name, kind in COLUMNS.items() if name != "t"}


@pytest.mark.parametrize(("before", "after"), [(FEWER, COLUMNS), (COLUMNS, FEWER)], ids=["lacks", "left"])
def test_set_schema_policy_to_evolve(emptied: Store, before: dict[str, str], after: dict[str, str]) -> None:
    again(emptied, contract(columns=before), words(1))
    message = refusal(emptied, contract(columns=after, **FROZEN), words(2), 2)
    assert "set schema_policy: evolve" in message
    assert again(emptied, contract(columns=after, schema_policy="evolve"), words(2), 2).inserted == 1


def test_add_the_column_that_a_frozen_table_lacks(emptied: Store) -> None:
    again(emptied, contract(columns=FEWER), words(1))
    assert "lacks column 't'; add it" in refusal(emptied, contract(**FROZEN), words(2), 2)
    emptied.sql("ALTER TABLE words ADD t text")
    assert again(emptied, contract(**FROZEN), words(2), 2).inserted == 1


def test_a_frozen_table_s_check_of_labels_is_dropped_as_it_says(emptied: Store) -> None:
    again(emptied, contract(columns={**COLUMNS, "t": "enum(t1)"}), words(1))
    wider = contract(columns={**COLUMNS, "t": "enum(t1, t2)"}, **FROZEN)
    run(emptied, advised(refusal(emptied, wider, words(2), 2), "ALTER TABLE"))
    assert again(emptied, wider, words(2), 2).inserted == 1


@pytest.mark.parametrize("way", ["add the label", "change these rows in the source and here"])
def test_a_label_that_rows_have(emptied: Store, way: str) -> None:
    again(emptied, contract(columns={**COLUMNS, "t": "enum(t1)"}), words(1))
    mine = contract(columns={**COLUMNS, "t": "enum(t2)"})
    assert way in refusal(emptied, mine, words(2), 2)
    if way == "add the label":
        mine = contract(columns={**COLUMNS, "t": "enum(t1, t2)"})
    else:
        run(emptied, "ALTER TABLE words DROP CONSTRAINT " + label_check(emptied) + "|UPDATE words SET t = 't2'")
    assert again(emptied, mine, words(2), 2).inserted == 1


def label_check(store: Store) -> str:
    found = store.sql("SELECT quote_ident(conname) FROM pg_constraint WHERE conname LIKE 'ownlens_labels%'")
    return str(found[0][0])


# The table, the contract's columns that are refused, the advice, and the columns that follow it; None: another way.
CORRECTED: dict[str, tuple[str, dict[str, str], str, dict[str, str | None]]] = {
    "type": (TABLE.replace("n int", "n date"), {}, "change the contract", {"n": "date?"}),
    "null": (TABLE.replace("n int", "n int NOT NULL"), FROZEN, "make it int32 in the contract", {"n": "int32"}),
    "no null in a new column": (
        TABLE.replace("t text,", ""),
        {"t": "text"},
        "make it text? in the contract",
        {"t": "text?"},
    ),
    "computed": (
        TABLE.replace("n int", "n int GENERATED ALWAYS AS (1) STORED"),
        {},
        "take it out of the contract",
        {"n": None},
    ),
    "identity": (
        TABLE.replace("n int", "n int GENERATED BY DEFAULT AS IDENTITY"),
        {},
        "say so in the contract",
        {"n": "int32"},
    ),
    "required": (TABLE.replace("n int", "n int, more int NOT NULL"), {}, "add it there", {"more": "int32"}),
}


@pytest.mark.parametrize("case", CORRECTED)
def test_a_contract_that_is_corrected(emptied: Store, case: str) -> None:
    table, wrong, advice, right = CORRECTED[case]
    made(emptied, table)
    fields = wrong if "schema_policy" in wrong else {"columns": {**COLUMNS, **wrong}}
    rows = words(1, more=1, n=None if case == "type" else 1)
    assert advice in refusal(emptied, contract(**fields), rows)
    columns = {name: kind for name, kind in {**COLUMNS, **right}.items() if kind is not None}
    assert again(emptied, contract(**{**fields, "columns": columns}), rows).inserted == 1


# --- things of others


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW", "SEQUENCE"])
def test_rename_what_is_no_table_or_the_contract_s(lesser: Store, kind: str) -> None:
    lesser.sql(f"CREATE {kind} words {'' if kind == 'SEQUENCE' else 'AS SELECT 1 AS id'}")
    message = refusal(lesser, contract(), words(1))
    assert "rename what has its name, or rename the contract's table" in message
    assert again(lesser, contract(table="other"), words(1)).inserted == 1
    lesser.sql(f"ALTER {kind} words RENAME TO away")
    assert again(lesser, contract(), words(1)).inserted == 1


def test_rename_a_table_whose_partitions_do_not_fit(emptied: Store) -> None:
    made(emptied, f"CREATE TABLE words ({TYPES}) PARTITION BY LIST ((n + 1))")
    assert "; rename the table, so that the load makes one" in refusal(emptied, contract(), words(1))
    emptied.sql("ALTER TABLE words RENAME TO away")
    assert again(emptied, contract(), words(1)).inserted == 1


def test_add_the_columns_that_a_partition_lacks_to_its_table(emptied: Store) -> None:
    made(
        emptied,
        "CREATE TABLE whole (id bigint, n int, updated_at timestamptz NOT NULL, PRIMARY KEY (id)) "
        "PARTITION BY RANGE (id)|CREATE TABLE words PARTITION OF whole FOR VALUES FROM (0) TO (100)",
    )
    statement = advised(refusal(emptied, contract(), words(1)), "ALTER TABLE")
    run(emptied, f"{statement} t text")
    assert again(emptied, contract(), words(1)).inserted == 1


def test_correct_the_rows_in_the_source(emptied: Store) -> None:
    made(emptied, TABLE.replace("n int", "n int CHECK (n > 0)"))
    assert "correct the rows in the source, or the contract" in refusal(emptied, contract(), words(1, n=0))
    assert again(emptied, contract(), words(1)).inserted == 1


def test_drop_the_computed_column_that_uses_a_wider_one(emptied: Store) -> None:
    made(emptied, TABLE.replace("n int", "n int, g int GENERATED ALWAYS AS (n + 1) STORED"))
    wide = contract(columns={**COLUMNS, "n": "int64?"})
    run(emptied, advised(refusal(emptied, wide, words(1)), "ALTER TABLE"))
    assert again(emptied, wide, words(1, n=2**40)).inserted == 1


@pytest.mark.parametrize("view", ["shown", "_ownlens_validation_29990101000000_x"])
def test_run_drop_view(emptied: Store, view: str) -> None:
    again(emptied, contract(), words(1))
    emptied.sql(f"CREATE VIEW {view} AS SELECT * FROM words")
    wide = contract(columns={**COLUMNS, "n": "int64?"})
    run(emptied, advised(refusal(emptied, wide, words(2), 2), "DROP VIEW"))
    assert again(emptied, wide, words(2, n=2**40), 2).inserted == 1


@pytest.mark.parametrize("event", ["INSERT", "DELETE"])
def test_disable_the_trigger_that_swallows(emptied: Store, event: str) -> None:
    again(emptied, contract(), words(1, 2))
    make(
        emptied,
        "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        f"CREATE TRIGGER g BEFORE {event} ON public.words FOR EACH ROW EXECUTE FUNCTION public.f()",
    )
    assert "disable it for the loader" in refusal(emptied, contract(), words(3), 2, covers=Covers())
    make(emptied, "ALTER TABLE public.words DISABLE TRIGGER g")
    assert again(emptied, contract(), words(3), 2, covers=Covers()).deleted == 2


def test_run_alter_function(emptied: Store) -> None:
    again(emptied, contract(), [])
    make(
        emptied,
        "CREATE TABLE public.audit (id bigint)",
        "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NEW; END $$",
        "CREATE TRIGGER g BEFORE INSERT ON public.words FOR EACH ROW EXECUTE FUNCTION public.f()",
    )
    statement = advised(refusal(emptied, contract(), words(1), 2), "ALTER FUNCTION")
    make(emptied, f"{statement.replace('...', 'public.f()')} = public")
    assert again(emptied, contract(), words(1), 2).inserted == 1


def test_give_a_published_table_a_primary_key(emptied: Store) -> None:
    made(emptied, f"CREATE TABLE words ({TYPES}, UNIQUE (id))|CREATE PUBLICATION p FOR TABLE words")
    assert "give the table a PRIMARY KEY, or run" in refusal(emptied, contract(), words(1))
    emptied.sql("ALTER TABLE words ADD PRIMARY KEY (id)")
    assert again(emptied, contract(), words(1)).inserted == 1
    emptied.sql("DROP PUBLICATION p")


@pytest.mark.parametrize("way", ["SET GENERATED BY DEFAULT", "DROP EXPRESSION", "take the column out"])
def test_a_column_that_is_generated_since_the_load_was_opened(emptied: Store, way: str) -> None:
    emptied.load(words(1), contract=contract())
    identity = "SET NOT NULL|ALTER TABLE words ALTER n ADD GENERATED ALWAYS AS IDENTITY"
    computed = "DROP NOT NULL|ALTER TABLE words DROP n|ALTER TABLE words ADD n int GENERATED ALWAYS AS (7) STORED"
    made(emptied, f"ALTER TABLE words ALTER n {identity if 'DEFAULT' in way else computed}")
    with pytest.raises(Rejected, match=way):
        emptied.load(words(1, n=2), contract=contract(), sequence=2)
    mine = contract(columns={**COLUMNS, "n": "int32"} if "DEFAULT" in way else COLUMNS)
    if way.startswith("take"):
        mine = contract(columns={name: kind for name, kind in COLUMNS.items() if name != "n"})
    else:
        emptied.sql(f"ALTER TABLE words ALTER n {way}")
    assert again(emptied, mine, words(1, n=2, t="new"), 2).updated == 1


def test_put_the_loaded_table_back(emptied: Store) -> None:
    again(emptied, contract(), words(1, 2))
    run(emptied, "ALTER TABLE words RENAME TO away|CREATE TABLE words (LIKE away INCLUDING ALL)")
    run(emptied, "INSERT INTO words SELECT * FROM away WHERE id = 1|ALTER TABLE words OWNER TO loader")
    assert "put the loaded one back" in refusal(emptied, contract(), words(3), 2)
    run(emptied, "DROP TABLE words|ALTER TABLE away RENAME TO words")
    assert again(emptied, contract(), words(3), 2).inserted == 1


def test_replace_partition_becomes_one_of_the_strategies_that_it_says(emptied: Store) -> None:
    with pytest.raises(ValidationError, match="use strategy: upsert or overwrite"):
        again(emptied, contract("replace_partition", "update", partition_by="updated_at"), words(1))
    for number, strategy in enumerate((Strategy.UPSERT, Strategy.OVERWRITE), start=1):
        assert again(emptied, contract(strategy.value), words(number), number).inserted == 1


def test_follow_what_maintenance_says_of_another_table(emptied: Store) -> None:
    mine = contract()
    again(emptied, mine, words(1, 2))
    run(emptied, "ALTER TABLE words RENAME TO away|CREATE TABLE words (LIKE away INCLUDING ALL)")
    run(emptied, "INSERT INTO words SELECT * FROM away WHERE id = 1|ALTER TABLE words OWNER TO loader")
    for way in ("put the loaded one back", "load it with --full-refresh"):
        with pytest.raises(Rejected, match=way):
            maintain(emptied, mine)
        if way.startswith("put"):
            run(emptied, "ALTER TABLE words RENAME TO other|ALTER TABLE away RENAME TO words")
        else:
            refreshed(emptied, mine, words(3), 2)
        assert maintain(emptied, mine, destination=PostgreSQLDestination(emptied.config)) == {}
        run(emptied, "DROP TABLE words|ALTER TABLE other RENAME TO words" if way.startswith("put") else "SELECT 1")
