"""Every type that a column of PostgreSQL may have, in real loads from PostgreSQL 15 into the three real stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, Kind, LogicalType, TableContract, contract_from
from ownlens_plugins.engine.conforming import Conformed
from ownlens_plugins.engine.sources.postgresql_columns import select_expressions
from ownlens_plugins.engine.sources.source import Selection
from ownlens_plugins.errors import SourceInvalid
from tests.postgresql_servers import debian_programs, running_server, wheel_programs
from tests.truth.conftest import cluster, engine, engine_path, holder, make_world, world
from tests.truth.worlds import World

from .conforming_rows import contract_of
from .type_matrix import EXTENSIONS, GROUPS, MADE, WITHOUT_VALUES, Pair, pairs

WHOLE = Selection(Extraction.WHOLE, Window(None, None))
__all__ = ["cluster", "engine", "engine_path", "holder", "make_world", "world"]
# Types of pg_catalog that a column may have: no pseudo-types, and no arrays, which are told by their items.
ALL_TYPES = """
SELECT format_type(oid, NULL) FROM pg_type
WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm', 'e', 'd')
    AND oid NOT IN (SELECT typarray FROM pg_type) AND typname <> '_record'
"""


@pytest.fixture
def prepared(world: World) -> World:
    """A source with every type that the matrix makes for itself."""
    for extension in EXTENSIONS:
        world.execute(f"CREATE EXTENSION {extension}")
    for statement in MADE:
        world.execute(statement)
    return world


def contract_for(chosen: list[Pair]) -> TableContract:
    columns = {"id": "int64", "updated_at": "timestamptz"}
    columns |= {f"c{number}": f"{pair.contract}?" for number, pair in enumerate(chosen)}
    values = {"table": "things", "domain": "tests", "preset": "reference", "key": ["id"], "path": "tests/things"}
    return contract_from({**values, "columns": columns})


def create(world: World, chosen: list[Pair]) -> None:
    columns = ", ".join(f"c{number} {pair.source}" for number, pair in enumerate(chosen))
    world.execute(f"CREATE TABLE things (id bigint PRIMARY KEY, updated_at timestamptz DEFAULT now(), {columns})")


def insert(world: World, key: int, values: dict[str, str]) -> None:
    names, shown = ("".join(f", {each}" for each in part) for part in (values, values.values()))
    world.execute(f"INSERT INTO things (id{names}) VALUES ({key}{shown})")


@pytest.mark.parametrize("group", GROUPS)
def test_values_of_every_type_arrive_exactly_in_all_stores(prepared: World, group: str) -> None:
    chosen = [pair for pair in GROUPS[group] if pair.kept]
    create(prepared, chosen)
    wanted: list[dict[str, Any]] = []
    for key in range(max(len(pair.kept) for pair in chosen) + 1):
        row: dict[str, Any] = {"id": key}
        literals = {}
        for number, pair in enumerate(chosen):
            name, sample = f"c{number}", [*pair.kept.items()][key : key + 1]
            row[name] = sample[0][1] if sample else None
            literals |= {name: sample[0][0]} if sample else {}
        insert(prepared, key, literals)
        wanted.append(row)
    contract = contract_for(chosen)
    (manifest,) = prepared.run(contract)
    assert manifest is not None
    assert manifest.rejected == 0, manifest.reasons
    for store, rows in prepared.contents(contract).items():
        for row, expected in zip(sorted(rows, key=lambda each: each["id"]), wanted, strict=True):
            for name, value in expected.items():
                said = name if name == "id" else f"{chosen[int(name[1:])]}"
                assert same(row[name], value), f"{store}: {said}: {row[name]!r}"


def same(found: Any, wanted: Any) -> bool:
    return type(found) is type(wanted) and bool(found == wanted)


def test_values_that_cannot_be_kept_are_set_aside_with_the_reason(prepared: World) -> None:
    chosen = [pair for pair in pairs() if pair.refused]
    create(prepared, chosen)
    samples = [(f"c{n}", *each) for n, pair in enumerate(chosen) for each in pair.refused.items()]
    for key, (name, literal, _) in enumerate(samples):
        insert(prepared, key, {name: literal})
    contract = contract_for(chosen)
    with prepared.snapshot() as snapshot, snapshot.read(contract, WHOLE) as extracted:
        conformed = Conformed(contract, extracted)
        assert list(conformed.batches()) == []
    reasons = [row.reasons for row in conformed.refused]
    assert reasons == [(f"{name}: {reason}",) for name, _, reason in samples]


EVERY_TYPE = [LogicalType(kind) for kind in Kind if kind not in (Kind.ARRAY, Kind.DECIMAL, Kind.ENUM)]
EVERY_TYPE += [LogicalType(Kind.DECIMAL, precision=10, scale=2), LogicalType(Kind.ENUM, labels=("a",))]
EVERY_TYPE += [LogicalType(Kind.ARRAY, element=item) for item in EVERY_TYPE]


def test_every_other_pair_is_refused_and_following_the_message_loads(prepared: World) -> None:
    """A refusal names a type; a contract with that type can be staged."""
    for number, source in enumerate(sorted({pair.source for pair in pairs()})):
        prepared.execute(f"CREATE TABLE things_{number} (id bigint, value {source})")
        contract = replace(contract_of(value="text?"), table=f"things_{number}")
        with prepared.snapshot() as snapshot:
            for wanted in EVERY_TYPE:
                follow(snapshot, contract, wanted)


def follow(snapshot: Any, contract: TableContract, wanted: LogicalType) -> None:
    changed = with_type(contract, wanted)
    native = snapshot.facts.catalog[contract.table]
    try:
        select_expressions(changed, changed.columns, native, schema="public")
    except SourceInvalid as error:
        (advised,) = str(error).split("(use ")[1].split(")")[:1] if "decimal(p,s)" not in str(error) else ["text"]
        for kind in advised.replace("enum(...", "enum(a)").split(" or "):
            suited = with_type(contract, contract_of(value=kind).column("value").type)
            with snapshot.read(suited, WHOLE) as extracted:
                assert [*Conformed(suited, extracted).batches()] == []
        return
    with snapshot.read(changed, WHOLE) as extracted:
        assert [*Conformed(changed, extracted).batches()] == []


def with_type(contract: TableContract, wanted: LogicalType) -> TableContract:
    columns = tuple(replace(each, type=wanted) if each.name == "value" else each for each in contract.columns)
    return replace(contract, columns=columns)


@pytest.fixture(params=[debian_programs, wheel_programs], ids=["15", "18"])
def every_type(request: pytest.FixtureRequest) -> Iterator[set[str]]:
    programs: Callable[[], Any] = request.param
    with running_server(programs(), tls=False) as server:
        yield {name for (name,) in server.sql(ALL_TYPES)}


def test_no_type_of_postgresql_is_missing(every_type: set[str]) -> None:
    spelled = {"boolean", "character varying", "bit varying", "timestamp without time zone", "time without time zone"}
    known = {base(pair.source) for pair in pairs()} | set(WITHOUT_VALUES) | spelled
    assert every_type - known == set()


def base(source: str) -> str:
    plain = source.split("(")[0]
    return {"char": "character", "bit": "bit"}.get(plain, plain)


def test_types_without_values_come_as_text(world: World) -> None:
    chosen = [Pair(name, "text") for name in WITHOUT_VALUES]
    create(world, chosen)
    insert(world, 1, {})
    contract = contract_for(chosen)
    world.run(contract)
    for rows in world.contents(contract).values():
        assert [{*row.values()} - {row["updated_at"]} for row in rows] == [{1, None}]


def with_updates(table: str, key: str, **columns: Any) -> dict[str, Any]:
    values = {"table": table, "domain": "tests", "preset": "reference", "key": [key], "path": f"tests/{table}"}
    return {**values, "columns": {"updated_at": "timestamptz", **columns}}


PLACES = contract_from(with_updates("places", "code", code="text"))
VISITS = contract_from(with_updates("visits", "id", id="int64", code="text") | {"references": {"code": "places.code"}})


@pytest.mark.parametrize("referencing", ["text", "varchar(9)", "char(6)", "char(9)"])
def test_keys_of_char_match_what_references_them(world: World, referencing: str) -> None:
    world.execute("CREATE TABLE places (code char(6) PRIMARY KEY, updated_at timestamptz DEFAULT now())")
    world.execute(
        f"CREATE TABLE visits (id bigint PRIMARY KEY, updated_at timestamptz DEFAULT now(), code {referencing})"
    )
    world.execute("INSERT INTO places VALUES ('ab'), ('abc')")
    world.execute("INSERT INTO visits VALUES (1, now(), 'ab'), (2, now(), 'abc')")
    world.run(PLACES, VISITS)
    world.execute("UPDATE places SET updated_at = now() WHERE code = 'ab'")
    world.run(PLACES, VISITS)
    for store in world.stores:
        assert sorted(row["code"] for row in world.contents(PLACES)[store]) == ["ab", "abc"]
        assert sorted(row["code"] for row in world.contents(VISITS)[store]) == ["ab", "abc"]


def test_the_deepest_and_longest_json_arrives_in_all_stores(world: World) -> None:
    create(world, [Pair("json", "json"), Pair("jsonb", "json")])
    texts = ["[" * 1000 + "]" * 1000, '{"a":' * 1000 + "1" + "}" * 1000, "7" * 131_072]
    for key, text in enumerate(texts):
        insert(world, key, {"c0": f"'{text}'", "c1": f"'{text}'"})
    contract = contract_for([Pair("json", "json"), Pair("jsonb", "json")])
    world.run(contract)
    wanted = [text.replace(":", ": ") for text in texts]
    for rows in world.contents(contract).values():
        assert [(row["c0"], row["c1"]) for row in sorted(rows, key=lambda row: row["id"])] == [(w, w) for w in wanted]


def test_long_values_arrive_in_all_stores(world: World) -> None:
    chosen = [Pair("text", "text"), Pair("bytea", "bytes"), Pair("int[]", "array<int32>"), Pair("jsonb", "json")]
    create(world, chosen)
    many = "(SELECT array_agg(i) FROM generate_series(1, 1000000) i)"
    values = ("repeat('é', 30000000)", "repeat('x', 20000000)::bytea", many, "to_jsonb(repeat('y', 20000000))")
    insert(world, 1, {f"c{number}": value for number, value in enumerate(values)})
    contract = contract_for(chosen)
    world.run(contract)
    for store in world.stores:
        row = world.landed(store, contract)
        assert [len(row[f"c{number}"][0].as_py()) for number in range(4)] == [30_000_000, 20_000_000, 10**6, 20_000_002]
