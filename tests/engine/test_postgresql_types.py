"""Values of the real PostgreSQL: each arrives as it is, or its row is set aside, for every type of a contract."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction
from ownlens_plugins.engine.conforming import Conformed
from ownlens_plugins.engine.sources.source import Selection
from ownlens_plugins.errors import SourceInvalid

from ..conftest import Database, new_database
from .conforming_rows import contract_of, storage

D = Decimal
TOKEN = uuid.UUID("12345678-1234-5678-1234-567812345678")
BAD = object()
OUTSIDE = "is infinite or outside the years 1 to 9999"
N_D = "array of several dimensions or with a shifted lower bound; json or text in the contract keeps it"


@pytest.fixture(scope="module")
def shared_database(postgresql_folder: Path) -> Iterator[Database]:
    with new_database(postgresql_folder) as shared:
        # A database's own taste in printing must not reach the values.
        for setting in ("datestyle = 'German'", "extra_float_digits = -5", "intervalstyle = 'iso_8601'"):
            shared.execute(f"ALTER DATABASE {shared.name} SET {setting}")
        yield shared


@pytest.fixture
def database(shared_database: Database) -> Database:
    shared_database.execute("DROP SCHEMA public CASCADE")
    shared_database.execute("CREATE SCHEMA public")
    return shared_database


def extract(database: Database, column: str, wanted: str, values: list[str]) -> tuple[list[Any], list[str]]:
    """Put literals into a column of the source, and return the kept values and the reasons for the others."""
    database.execute(f"CREATE TABLE things (id bigint, value {column})")
    for index, value in enumerate(values):
        database.execute(f"INSERT INTO things VALUES ({index}, {value})")
    contract = contract_of(value=wanted)
    selection = Selection(Extraction.WHOLE, Window(None, None))
    with database.source().snapshot() as snapshot, snapshot.read(contract, selection) as extracted:
        conformed = Conformed(contract, extracted)
        kept = pa.Table.from_batches(conformed.batches(), schema=contract.arrow_schema)
    assert kept.num_rows + len(conformed.refused) == len(values)
    return storage(kept["value"]), [row.reason.removeprefix("value: ") for row in conformed.refused]


@pytest.mark.parametrize(
    ("column", "wanted", "values"),
    [
        ("boolean", "bool?", {"true": True, "false": False, "NULL": None}),
        ("smallint", "int16", {"-32768": -(2**15), "32767": 2**15 - 1}),
        ("bigint", "int64", {"-9223372036854775808": -(2**63), "9223372036854775807": 2**63 - 1}),
        ("bigint", "int16", {"7": 7, "32768": BAD, "-9223372036854775808": BAD}),
        ("integer", "int16?", {"NULL": None, "1099511": BAD}),
        ("oid", "int64", {"4294967295": 2**32 - 1}),
        ("oid", "int32", {"4294967295": BAD, "7": 7}),
        ("numeric", "int64", {"7": 7, "7.0": BAD, "7.5": BAD, "'NaN'": BAD}),
        ("real", "float32", {"0.1": 0.10000000149011612, "'-Infinity'": float("-inf"), "'-0'": -0.0, "1e-45": 2**-149}),
        ("real", "float64", {"0.1": 0.10000000149011612}),
        ("double precision", "float64", {"0.1": 0.1, "'Infinity'": float("inf"), "5e-324": 5e-324}),
        ("numeric(38,10)", "decimal(38,10)", {"9999999999999999999999999999.9999999999": D("9" * 28 + "." + "9" * 10)}),
        ("numeric", "decimal(10,2)", {"1.2": D("1.20"), "1.20": D("1.20"), "1.239": BAD, "123456789": BAD}),
        ("numeric", "decimal(10,2)", {"'NaN'": BAD, "'Infinity'": BAD, "'-Infinity'": BAD, "-0.01": D("-0.01")}),
        ("numeric(5,-2)", "decimal(10,0)", {"12345": D(12300)}),
        ("integer", "decimal(5,2)", {"999": D("999.00"), "1000": BAD}),
        ("text", "text?", {"''": "", "NULL": None, "E'\\\\N'": "\\N", "'NULL'": "NULL", "E'a\\tb\\n🚀'": "a\tb\n🚀"}),
        ("char(5)", "text", {"'ab'": "ab"}),
        ("varchar(3)", "text", {"'ab '": "ab "}),
        ("uuid", "uuid?", {f"'{TOKEN}'": TOKEN.bytes, "NULL": None}),
        ("text", "uuid", {f"'{TOKEN}'": TOKEN.bytes, "'x'": BAD}),
        ("jsonb", "json?", {"'{\"b\": 1, \"a\": 1.10}'": '{"a": 1.10, "b": 1}', "'null'": "null", "NULL": None}),
        ("jsonb", "json", {"'9007199254740993'": "9007199254740993", "'\"a\"'": '"a"'}),
        ("json", "json", {"'{\"b\":1,\"a\":2}'": '{"a": 2, "b": 1}', "'{\"a\":1,\"a\":2}'": BAD, "'\"\\u0000\"'": BAD}),
        ("text", "json", {"'[1,2]'": "[1, 2]", "'nope'": BAD}),
        ("bytea", "bytes?", {"'\\x00ff'": b"\0\xff", "''": b"", "NULL": None}),
        ("interval", "text", {"'1 mon 2 days'": "1 mon 2 days", "'1 year'": "1 year"}),
        ("inet", "text", {"'10.0.0.1/8'": "10.0.0.1/8"}),
        ("int4range", "text", {"'[1,5)'": "[1,5)"}),
        ("timetz", "text", {"'10:00+02'": "10:00:00+02"}),
        ("date", "text", {"'2026-02-01'": "2026-02-01"}),
        ("double precision", "text", {"0.1": "0.1"}),
    ],
)  # fmt: skip
def test_values_arrive_exactly_or_are_set_aside(
    database: Database, column: str, wanted: str, values: dict[str, Any]
) -> None:
    kept, reasons = extract(database, column, wanted, [*values])
    assert kept == [value for value in values.values() if value is not BAD]
    assert len(reasons) == sum(value is BAD for value in values.values())


@pytest.mark.parametrize(
    ("column", "wanted", "values", "reason"),
    [
        ("date", "date", {"'0001-01-01'": date(1, 1, 1), "'9999-12-31'": date(9999, 12, 31)}, OUTSIDE),
        ("timestamp", "timestamp", {"'1600-02-29 01:02:03.000004'": datetime(1600, 2, 29, 1, 2, 3, 4)}, OUTSIDE),
        ("timestamptz", "timestamptz", {"'2026-01-01 00:00+05'": datetime(2025, 12, 31, 19, tzinfo=UTC)}, OUTSIDE),
    ],
)
def test_infinite_and_far_moments_are_set_aside(
    database: Database, column: str, wanted: str, values: dict[str, Any], reason: str
) -> None:
    far = ["'infinity'", "'-infinity'", "'10000-01-01'", "'0001-12-31 BC'", "'4714-11-24 BC'"]
    kept, reasons = extract(database, column, wanted, [*values, *far])
    assert kept == [*values.values()]
    assert reasons == [reason] * 5


def test_the_last_timestamps_that_postgresql_knows_do_not_wrap(database: Database) -> None:
    kept, reasons = extract(database, "timestamptz", "timestamptz?", ["'294276-12-31'", "'290000-01-01'", "NULL"])
    assert (kept, reasons) == ([None], [OUTSIDE] * 2)


def test_24_00_is_set_aside(database: Database) -> None:
    kept, reasons = extract(database, "time", "time", ["'23:59:59.999999'", "'24:00'", "'00:00'"])
    assert (kept, reasons) == ([time(23, 59, 59, 999_999), time(0)], ["is 24:00, which is no time of a day"])


@pytest.mark.parametrize(
    ("column", "wanted", "values"),
    [
        ("integer[]", "array<int32>?", {"'{1,NULL,3}'": [1, None, 3], "'{}'": [], "NULL": None}),
        ("integer[]", "array<int32>", {"'{{1,2},{3,4}}'": BAD, "'[2:3]={5,6}'": BAD, "'{7}'": [7]}),
        ("integer[]", "array<int16>", {"'{70000}'": BAD, "'{7}'": [7]}),
        ("text[]", "array<text>", {"'{\"\",NULL,\"NULL\",\"a,b\"}'": ["", None, "NULL", "a,b"]}),
        ("numeric[]", "array<decimal(5,2)>", {"'{1.1,NULL}'": [D("1.10"), None], "'{NaN}'": BAD, "'{1.239}'": BAD}),
        ("timestamptz[]", "array<timestamptz>", {"'{2026-01-01Z}'": [datetime(2026, 1, 1, tzinfo=UTC)]}),
        ("date[]", "array<date>", {"'{infinity}'": BAD, "'{2026-01-01,NULL}'": [date(2026, 1, 1), None]}),
        ("boolean[]", "array<bool>", {"'{t,f,NULL}'": [True, False, None]}),
        ("double precision[]", "array<float64>", {"'{0.1,Infinity}'": [0.1, float("inf")]}),
    ],
)  # fmt: skip
def test_arrays_of_one_dimension_arrive_and_others_are_set_aside(
    database: Database, column: str, wanted: str, values: dict[str, Any]
) -> None:
    kept, reasons = extract(database, column, wanted, [*values])
    assert kept == [value for value in values.values() if value is not BAD]
    bad = [literal for literal, value in values.items() if value is BAD]
    shapes = [N_D if literal.startswith(("'{{", "'[")) else f"does not fit {wanted} exactly" for literal in bad]
    assert [reason for reason in reasons if reason != OUTSIDE] == [s for s in shapes if OUTSIDE not in reasons]


def test_arrays_of_uuids_arrive(database: Database) -> None:
    kept, reasons = extract(database, "uuid[]", "array<uuid>?", [f"'{{{uuid.UUID(int=1)},NULL}}'", "NULL"])
    assert ([kept[0][0], kept[0][1], kept[1]], reasons) == ([uuid.UUID(int=1), None, None], [])


def test_enums_and_domains_count_as_what_they_are_made_of(database: Database) -> None:
    database.execute("CREATE TYPE mood AS ENUM ('sad', 'glad', 'odd one')")
    database.execute("CREATE DOMAIN cents AS bigint CHECK (VALUE >= 0)")
    database.execute("CREATE DOMAIN day AS date")
    database.execute("CREATE TABLE things (id bigint, a mood, b mood, c cents, d day)")
    database.execute(
        "INSERT INTO things VALUES (1, 'glad', 'odd one', 5, '2026-01-01'), (2, 'odd one', NULL, 5, 'infinity')"
    )
    contract = contract_of(a="enum(sad, glad)", b="text?", c="int32", d="date")
    selection = Selection(Extraction.WHOLE, Window(None, None))
    with database.source().snapshot() as snapshot, snapshot.read(contract, selection) as extracted:
        conformed = Conformed(contract, extracted)
        (batch,) = conformed.batches()
    assert batch.to_pylist() == [{"id": 1, "a": "glad", "b": "odd one", "c": 5, "d": date(2026, 1, 1)}]
    assert [row.reasons for row in conformed.refused] == [
        ("a: is not one of the enum's labels", "d: is infinite or outside the years 1 to 9999")
    ]


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("text", "int32"),
        ("text", "bool"),
        ("boolean", "int16"),
        ("timestamp", "timestamptz"),
        ("timestamptz", "timestamp"),
        ("timestamptz", "date"),
        ("double precision", "float32"),
        ("double precision", "decimal(10,2)"),
        ("money", "decimal(10,2)"),
        ("money", "int64"),
        ("bytea", "text"),
        ("bytea", "uuid"),
        ("interval", "time"),
        ("timetz", "time"),
        ("json", "array<text>"),
        ("integer", "array<int32>"),
        ("integer[]", "int32"),
        ("double precision[]", "array<decimal(10,2)>"),
    ],
)
def test_types_of_another_family_stop_the_table(database: Database, column: str, wanted: str) -> None:
    with pytest.raises(SourceInvalid) as caught:
        extract(database, column, wanted, [])
    message = str(caught.value)
    assert message.startswith("things: column 'value' is ")
    assert f"in the source, which {wanted} cannot take without changing values (use " in message
    assert message.endswith("; correct the contract's type")


def test_refused_rows_show_what_the_source_prints(database: Database) -> None:
    columns = {"d": "date", "ts": "timestamp", "tz": "timestamptz", "t": "time", "n": "numeric", "f": "float8"}
    columns |= {"r": "real", "a": "int[]", "aa": "timestamptz[]", "b": "bytea", "j": "jsonb", "u": "uuid", "x": "text"}
    wanted = {"d": "date?", "ts": "timestamp?", "tz": "timestamptz?", "t": "time?", "n": "decimal(10,2)?"}
    wanted |= {"f": "float64?", "r": "float32?", "a": "array<int32>?", "aa": "array<timestamptz>?", "b": "bytes?"}
    wanted |= {"j": "json?", "u": "uuid?", "x": "text?"}
    database.execute(
        f"CREATE TABLE things (id bigint, {', '.join(f'{name} {kind}' for name, kind in columns.items())})"
    )
    database.execute(
        """INSERT INTO things VALUES
        (NULL, 'infinity', '-infinity', '0044-03-15 10:00:00.5+02 BC', '24:00', '1e20', '1e-7', 1.1, '{{1,2},{NULL,4}}',
         '{}', '\\x00ff', '{"b": [1.50], "a": null}', '12345678-1234-5678-1234-567812345678', E'a\tü"'),
        (NULL, '12345-01-02', '294276-12-31 23:59:59.999999', 'infinity', '23:59:59.000001', 'NaN', 'Infinity', '-0',
         '[0:1]={1,2}', '{{infinity},{-infinity}}', '', 'null', NULL, ''),
        (NULL, '-infinity', '0001-01-01', '4713-01-01 00:00:00+00 BC', NULL, '-0.0000001', '123456789012345680', 'NaN',
         '{}', '{}', NULL, '1e2', NULL, NULL)"""
    )
    contract = contract_of(**wanted)
    selection = Selection(Extraction.WHOLE, Window(None, None))
    with database.source().snapshot() as snapshot, snapshot.read(contract, selection) as extracted:
        conformed = Conformed(contract, extracted)
        assert list(conformed.batches()) == []
    database.execute(
        "SET extra_float_digits = 1; SET datestyle = 'ISO'; SET TimeZone = 'UTC'; SET bytea_output = 'hex'"
    )
    rows = database.execute(f"SELECT {', '.join(f'{name}::text' for name in columns)} FROM things").fetchall()
    empty = {"a": "[]", "aa": "[]"}
    for refused, row in zip(conformed.refused, rows, strict=True):
        expected = dict(zip(columns, row, strict=True))
        expected |= {name: text for name, text in empty.items() if expected[name] == "{}"}
        expected["n"] = expected["n"].replace("NaN", "nan")  # the driver writes numerics itself
        assert json.loads(refused.row) == {"id": None, **expected}
    assert len(conformed.refused[0].reasons) == 7


def test_floats_of_refused_rows_are_printed_as_by_the_source(database: Database) -> None:
    numbers = [
        sign * digits * 10.0**power for power in range(-9, 21) for digits in (1, 1.5, 1.23456) for sign in (1, -1)
    ]
    numbers += [0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 123456789.125]
    database.execute("CREATE TABLE things (id bigint, d float8, r real)")
    database.execute("INSERT INTO things SELECT NULL, n, 0 FROM unnest(%s::float8[]) AS n", (numbers,))
    database.execute("UPDATE things SET r = d WHERE abs(d) BETWEEN 1e-9 AND 1e8")
    database.execute("SET extra_float_digits = 1")
    selection = Selection(Extraction.WHOLE, Window(None, None))
    contract = contract_of(d="float64", r="float32?")
    with database.source().snapshot() as snapshot, snapshot.read(contract, selection) as extracted:
        conformed = Conformed(contract, extracted)
        assert list(conformed.batches()) == []
    rows = database.execute("SELECT d::text, r::text FROM things").fetchall()
    shown = [json.loads(row.row) for row in conformed.refused]
    assert sorted((row["d"], row["r"]) for row in shown) == sorted(rows)
