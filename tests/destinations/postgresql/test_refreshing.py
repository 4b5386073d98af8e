"""A full refresh replaces a table's schema in place: what others made stays, or is named and can be taken away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from ownlens_plugins.contracts import Strategy, TableContract
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_contract
from ownlens_postgresql.destination import PostgreSQLDestination

from .conftest import Store
from .test_drift import NEW, OLD, columns, contract_of, refreshed, rows_of
from .test_tables import columns_of

TEXT, NUMBER, WITHOUT = (contract_of(columns(**values)) for values in ({"v": "text?"}, {"v": "int64?"}, {}))
FUNCTION = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"

# What uses column v: the statements that make it, as `|` parts them, and how the refusal calls it.
IN_THE_WAY = {
    "view": ("CREATE VIEW shown AS SELECT id, v FROM samples", "view public.shown"),
    "view of a view": (
        "CREATE VIEW shown AS SELECT id, v FROM samples|CREATE VIEW again AS SELECT v FROM shown",
        "view public.again, view public.shown",
    ),
    "materialized view": (
        'CREATE MATERIALIZED VIEW "S e" AS SELECT v FROM samples',
        'materialized view public."S e"',
    ),
    "rule": (
        "CREATE TABLE log (v text)|CREATE RULE r AS ON UPDATE TO samples DO ALSO INSERT INTO log VALUES (NEW.v)",
        "the rule r",
    ),
    "trigger": (
        f"{FUNCTION}|CREATE TRIGGER g BEFORE UPDATE OF v ON samples FOR EACH ROW EXECUTE FUNCTION f()",
        "trigger g",
    ),
    "policy": ("CREATE POLICY p ON samples USING (v <> 'x')", "policy p"),
    "generated column": (
        "ALTER TABLE samples ADD g text GENERATED ALWAYS AS (upper(v)) STORED",
        "generated column g",
    ),
    "publication": (
        "DROP PUBLICATION IF EXISTS pub|CREATE PUBLICATION pub FOR TABLE samples WHERE (v <> 'x')",
        "publication pub",
    ),
    "function": (
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(v) FROM samples; END",
        "function public.f()",
    ),
    "check": ("ALTER TABLE samples ADD CONSTRAINT sharp CHECK (v <> '')", "check sharp"),
    "check over two columns": ("ALTER TABLE samples ADD CONSTRAINT sharp CHECK (v <> '' OR id > 0)", "check sharp"),
    "index over an expression": ("CREATE INDEX i ON samples (lower(v))", "index public.i"),
    "partial index": ("CREATE INDEX i ON samples (id) WHERE v <> ''", "index public.i"),
    "index with an operator class": ("CREATE INDEX i ON samples (v text_pattern_ops)", "index public.i"),
    "index with a collation": ('CREATE INDEX i ON samples (v COLLATE "C")', "index public.i"),
    "exclusion constraint": (
        "ALTER TABLE samples ADD CONSTRAINT x EXCLUDE USING btree (v WITH =)",
        "exclusion constraint x",
    ),
    "reference of another table": (
        "ALTER TABLE samples ADD UNIQUE (v)|CREATE TABLE theirs (v text CONSTRAINT to_v REFERENCES samples (v))|"
        "GRANT SELECT ON theirs TO loader",
        "reference to_v of public.theirs",
    ),
    "foreign key of another making": (
        "CREATE TABLE parents (v text PRIMARY KEY)|INSERT INTO parents VALUES ('a')|"
        "ALTER TABLE samples ADD CONSTRAINT away FOREIGN KEY (v) REFERENCES parents",
        "foreign key away",
    ),
}
ONLY_CONVERTED = {"default": ("ALTER TABLE samples ALTER v SET DEFAULT 'x'", "default v")}
ONLY_GONE = {
    "index": ("CREATE INDEX i ON samples (v)", "index public.i"),
    "unique key": ("ALTER TABLE samples ADD CONSTRAINT u UNIQUE (v, id)", "unique key u"),
    "statistics": ("CREATE STATISTICS st ON id, v FROM samples", "statistics public.st"),
}


def run(store: Store, statements: str, sign: str = "|") -> None:
    with store.session() as connection:
        connection.execute("SET search_path = public")
        for statement in statements.split(sign):
            connection.execute(statement.encode())


def through(store: Store, contract: TableContract, named: str, *, refresh: bool = True) -> None:
    """A load is refused with a name, and passes once what it says to run was run."""
    rows, before = rows_of(contract, range(1, 5), NEW), columns_of(store)
    rows = [{**row, "v": row["id"]} for row in rows] if "v" in contract.column_names else rows
    plan = store.plan(rows, contract=contract, sequence=2, strategy=Strategy.OVERWRITE if refresh else None)
    plan = replace(plan, full_refresh=refresh)
    with pytest.raises(Rejected) as caught:
        PostgreSQLDestination(store.config).open(plan)
    message = str(caught.value)
    assert named in message
    assert "\n" not in message
    assert columns_of(store) == before
    run(store, message.rpartition("run ")[2].partition(", and load")[0], "; ")
    if "rule" in named:
        store.sql("DROP RULE r ON samples")
    if refresh:
        refreshed(store, contract, rows, 2)
        assert store.landed(contract) == store.staged(rows, contract)
    else:
        store.load(rows, contract=contract, sequence=2)
    assert columns_of(store).get("v", ("bigint", False)) == ("bigint", False)


@pytest.mark.parametrize("thing", [*IN_THE_WAY, *ONLY_CONVERTED])
def test_what_uses_a_column_of_another_kind_is_named_and_can_be_dropped(either: Store, thing: str) -> None:
    statements, named = {**IN_THE_WAY, **ONLY_CONVERTED}[thing]
    either.load(rows_of(TEXT, range(1), OLD), contract=TEXT)
    run(either, statements)
    through(either, NUMBER, named)


@pytest.mark.parametrize("refresh", [True, False], ids=["refresh", "drop"])
@pytest.mark.parametrize("thing", [*IN_THE_WAY, *ONLY_GONE])
def test_what_uses_a_column_that_goes_is_named_and_can_be_dropped(emptied: Store, thing: str, refresh: bool) -> None:
    statements, named = {**IN_THE_WAY, **ONLY_GONE}[thing]
    emptied.load(rows_of(TEXT, range(1), OLD), contract=TEXT)
    run(emptied, statements)
    through(emptied, WITHOUT if refresh else contract_of(columns(), "evolve, drop_columns"), named, refresh=refresh)
    assert "v" not in columns_of(emptied)


OF_OTHERS = [
    "CREATE VIEW shown AS SELECT id, day FROM samples",
    "CREATE INDEX plain ON samples (v)",
    "CREATE INDEX sharp ON samples (lower(w)) WHERE id > 0",
    "CREATE STATISTICS st ON id, v FROM samples",
    "COMMENT ON TABLE samples IS 'ours'",
    "COMMENT ON COLUMN samples.v IS 'a word'",
    "GRANT SELECT (v) ON samples TO PUBLIC",
    "GRANT SELECT ON samples TO pg_monitor",
    "CREATE TABLE theirs (id bigint REFERENCES samples)",
    "GRANT SELECT ON theirs TO loader",
    "ALTER TABLE samples ADD own int DEFAULT 7, ADD more text, ADD g bigint GENERATED ALWAYS AS (id) STORED",
    "ALTER TABLE samples ADD CONSTRAINT positive CHECK (id >= 0)",
    "ALTER TABLE samples ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON samples USING (id > 0)",
    FUNCTION,
    "CREATE TRIGGER g AFTER UPDATE OF w ON samples FOR EACH ROW EXECUTE FUNCTION f()",
    "ALTER TABLE samples SET (fillfactor = 80)",
]
LEFT = """
SELECT c.oid::bigint, c.relowner::regrole::text, c.relacl::text, c.reloptions::text, c.relrowsecurity,
    obj_description(c.oid), col_description(c.oid, a.attnum), a.attacl::text, pg_get_viewdef('shown'::regclass),
    ARRAY(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid ORDER BY 1),
    ARRAY(SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
          WHERE c.oid IN (conrelid, confrelid) AND contype <> 'n' ORDER BY 1),
    ARRAY(SELECT tgname::text FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal),
    ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = c.oid),
    ARRAY(SELECT stxname::text FROM pg_statistic_ext WHERE stxrelid = c.oid)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'v' WHERE c.oid = 'samples'::regclass
"""


def test_what_others_made_stays_through_a_full_refresh(either: Store) -> None:
    old, new = (
        contract_of(columns(v="text", w="text?", z="text")),
        contract_of(columns(v="int64", w="text?", y="int32")),
    )
    either.load(rows_of(old, range(3), OLD), contract=old)
    run(either, "|".join(OF_OTHERS))
    before = either.sql(LEFT)
    refreshed(either, new, rows_of(new, range(1, 4), NEW), 2)
    assert either.sql(LEFT) == before
    assert either.landed(new) == either.staged(rows_of(new, range(1, 4), NEW), new)
    assert {"own", "more", "g"} < set(columns_of(either))
    assert columns_of(either)["v"] == ("bigint", True)
    assert either.load(rows_of(new, range(4, 5), NEW), contract=new, sequence=3).inserted == 1


def test_rows_that_others_reference_stay_and_are_exempt(either: Store) -> None:
    old, new = contract_of(columns(v="enum(a)", w="int32")), contract_of(columns(v="enum(b)", w="text", x="int32"))
    either.load(rows_of(old, range(3), OLD), contract=old)
    run(
        either,
        "CREATE TABLE theirs (id bigint REFERENCES samples ON DELETE CASCADE)|"
        "GRANT SELECT ON theirs TO loader|INSERT INTO theirs VALUES (0), (1)",
    )
    result = refreshed(either, new, rows_of(new, range(1, 4), NEW), 2)
    assert (result.inserted, result.updated, result.deleted, result.spared) == (1, 2, 0, 1)
    assert either.sql("SELECT id, v, w, x FROM samples WHERE id = 0") == [(0, "a", None, None)]
    assert either.sql("SELECT count(*) FROM theirs") == [(2,)]
    either.sql("DELETE FROM theirs")
    result = refreshed(either, new, rows_of(new, range(1, 4), NEW), 3)
    assert (result.unchanged, result.deleted, result.spared) == (3, 1, 0)
    assert columns_of(either)["x"] == ("integer", True)


KEYS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (columns(v="int64"), columns(v="int64") | {"key": ["v"]}),
    (columns(v="int64"), columns(v="int64") | {"key": ["id", "day"]}),
    (columns(v="int64") | {"key": ["id", "day"]}, columns(v="int64")),
    (columns(v="int64"), {"columns": {"v": "int64", "day": "date", "updated_at": "timestamptz"}, "key": ["v"]}),
    (columns(), {"columns": {"id": "text", "day": "date", "updated_at": "timestamptz"}}),
]


@pytest.mark.parametrize(("before", "after"), KEYS)
def test_another_key_replaces_all_rows_and_names_who_references_the_old_one(
    either: Store, before: dict[str, Any], after: dict[str, Any]
) -> None:
    old, new = contract_of(before), contract_of(after)
    either.load([{**row, "v": 5} for row in rows_of(old, range(3), OLD)], contract=old)
    key = ", ".join(old.key)
    kinds = ", ".join(f"{name} {'date' if name == 'day' else 'bigint'}" for name in old.key)
    run(either, f"CREATE TABLE theirs ({kinds}, CONSTRAINT to_us FOREIGN KEY ({key}) REFERENCES samples ({key}))")
    rows = [
        {**row, "id": str(row["id"])} if str(new.column(new.key[0])) == "text" else {**row, "v": row["id"]}
        for row in rows_of(sample_contract(**columns(v="int64")), range(1, 5), NEW)
    ]
    with pytest.raises(Rejected, match=r"reference to_us of public\.theirs uses") as caught:
        refreshed(either, new, rows, 2)
    run(either, str(caught.value).rpartition("run ")[2].partition(", and load")[0])
    result = refreshed(either, new, rows, 2)
    assert (result.inserted, result.updated, result.deleted) == (4, 0, 3)
    assert either.landed(new) == either.staged(rows, new)
    assert either.load(rows[:1], contract=new, sequence=3).inserted == 0


def test_a_table_of_another_role_is_left_to_it(either: Store) -> None:
    either.load(rows_of(TEXT, range(1), OLD), contract=TEXT)
    run(either, "ALTER TABLE samples OWNER TO CURRENT_USER|GRANT ALL ON samples TO loader")
    for number, contract in enumerate([NUMBER, contract_of(columns(v="int64") | {"key": ["v"]})], start=2):
        rows = rows_of(contract, range(1, 4), NEW)
        with pytest.raises(Rejected, match="belongs to another role, which must run ") as caught:
            refreshed(either, contract, rows, number)
        run(either, str(caught.value).partition("must run ")[2], "; ")
        refreshed(either, contract, rows, number)
        assert either.landed(contract) == either.staged(rows, contract)


def test_a_table_that_others_made_takes_a_full_refresh_first(either: Store) -> None:
    run(
        either,
        "CREATE TABLE samples (id int, v varchar(3), more text)|ALTER TABLE samples OWNER TO loader|"
        "INSERT INTO samples VALUES (1, 'a', 'x'), (1, 'b', 'y')",
    )
    rows = rows_of(NUMBER, range(3), NEW)
    assert refreshed(either, NUMBER, rows, 1).inserted == 3
    assert either.landed(NUMBER) == either.staged(rows, NUMBER)
    assert "more" in columns_of(either)


@pytest.mark.parametrize("kind", ["character(3)", "theirs", "varchar(9)"])
def test_our_own_check_of_labels_does_not_stand_in_the_way(either: Store, kind: str) -> None:
    """Somebody gave the column of an enum another type."""
    labelled = contract_of(columns(v="enum(a, b)?"))
    rows = [{**row, "v": "a"} for row in rows_of(labelled, range(1, 5), OLD)]
    either.load(rows, contract=labelled)
    run(either, f"DROP DOMAIN IF EXISTS theirs|CREATE DOMAIN theirs AS char(3)|ALTER TABLE samples ALTER v TYPE {kind}")
    refreshed(either, labelled, rows, 2)
    assert either.landed(labelled) == either.staged(rows, labelled)
    with pytest.raises(psycopg.errors.CheckViolation):
        either.sql("UPDATE samples SET v = 'c'")


def test_the_position_is_the_highest_sequence(either: Store) -> None:
    assert either.destination.position(TEXT) == 0
    for number in (1, 4):
        either.load(rows_of(TEXT, range(number), OLD), contract=TEXT, sequence=number)
    assert PostgreSQLDestination(either.config).position(TEXT) == 4
    assert either.destination.position(sample_contract(table="another")) == 0
