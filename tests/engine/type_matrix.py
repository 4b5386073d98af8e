"""The types of PostgreSQL that a column may have, with the contract types that take them, and what arrives.

`test_type_matrix.py` loads all of it into the three real stores; docs/types.md is made from it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

D = Decimal
OUTSIDE = "is infinite or outside the years 1 to 9999"
ODD = "array of several dimensions or with a shifted lower bound; json or text in the contract keeps it"
ODD_JSON = "array with a shifted lower bound, NaN, infinity or a negative zero, which JSON cannot hold"
NO_TIME = "is 24:00, which is no time of a day"
TOKEN = uuid.UUID("12345678-1234-5678-1234-567812345678")
INF = float("inf")


@dataclass(frozen=True, slots=True)
class Pair:
    """A type of the source and a type that a contract may give it.

    `kept` maps literals of SQL to what every store then holds; `refused` those whose rows are set aside to the reason.
    `as_text` says that values come as PostgreSQL prints them.
    """

    source: str
    contract: str
    kept: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    as_text: bool = False


def _fit(contract: str) -> str:
    return f"does not fit {contract} exactly"


def _printed(source: str, *values: str) -> Pair:
    """Return a pair of a type whose literals PostgreSQL prints as they are written."""
    return Pair(source, "text", {literal(value): value for value in values}, as_text=True)


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# What has to be there before a table with these types can be made.
MADE = (
    "CREATE TYPE mood AS ENUM ('sad', 'glad', 'odd one')",
    "CREATE TYPE pair AS (a integer, b text)",
    "CREATE DOMAIN cents AS bigint CHECK (VALUE >= 0)",
    "CREATE DOMAIN price AS cents CHECK (VALUE < 1000000)",
    "CREATE DOMAIN code AS char(4)",
    "CREATE DOMAIN amount AS numeric(10,2)",
    "CREATE DOMAIN total AS amount",
    "CREATE DOMAIN label AS varchar(10)",
    "CREATE DOMAIN feeling AS mood",
    "CREATE DOMAIN day AS date",
    "CREATE DOMAIN stamp AS timestamptz",
    "CREATE DOMAIN token AS uuid",
    "CREATE DOMAIN blob AS bytea",
    "CREATE DOMAIN doc AS jsonb",
    "CREATE DOMAIN ints AS integer[]",
    "CREATE DOMAIN few AS ints CHECK (array_length(VALUE, 1) < 9)",
    "CREATE DOMAIN entry AS pair",
    "CREATE TYPE centrange AS RANGE (subtype = cents)",
    "CREATE SCHEMA odd",
    "CREATE TYPE odd.date AS ENUM ('blind', 'double')",
    "CREATE TYPE odd.int4 AS (a integer)",
)
EXTENSIONS = ("citext", "hstore", "ltree", "cube", "seg", "isn", "lo", "intarray")

_INT32, _INT64 = 2**31, 2**63
NUMBERS = (
    Pair("boolean", "bool", {"true": True, "false": False}),
    Pair("boolean", "text", {"true": "true"}, as_text=True),
    Pair("smallint", "int16", {"-32768": -32768, "32767": 32767}),
    Pair("integer", "int32", {"-2147483648": -_INT32, "2147483647": _INT32 - 1}),
    Pair("integer", "int16", {"7": 7}, {"32768": _fit("int16")}),
    Pair("bigint", "int64", {"-9223372036854775808": -_INT64, "9223372036854775807": _INT64 - 1}),
    Pair("bigint", "int32", {"7": 7}, {"2147483648": _fit("int32")}),
    Pair("bigint", "decimal(20,2)", {"7": D("7.00")}),
    Pair("bigint", "text", {"-7": "-7"}, as_text=True),
    Pair("oid", "int64", {"4294967295": 4294967295}),
    Pair("real", "float32", {"0.1": 0.10000000149011612, "'-Infinity'": -INF, "1e-45": 2**-149}),
    Pair("real", "float64", {"0.1": 0.10000000149011612, "'Infinity'": INF}),
    Pair("double precision", "float64", {"0.1": 0.1, "5e-324": 5e-324, "'Infinity'": INF, "1.5e308": 1.5e308}),
    Pair("double precision", "text", {"0.1": "0.1", "1e300": "1e+300"}, as_text=True),
    Pair("numeric", "decimal(10,2)", {"1.2": D("1.20"), "-0.01": D("-0.01")},
         {"1.239": _fit("decimal(10,2)"), "1e9": _fit("decimal(10,2)"), "'NaN'": _fit("decimal(10,2)"),
          "'Infinity'": _fit("decimal(10,2)")}),
    Pair("numeric", "int64", {"7": 7}, {"7.5": _fit("int64"), "'NaN'": _fit("int64")}),
    Pair("numeric", "text", {"1e40": "1" + "0" * 40, "1.500": "1.500", "'NaN'": "NaN"}, as_text=True),
    Pair("numeric(38,10)", "decimal(38,10)", {"9999999999999999999999999999.9999999999": D("9" * 28 + "." + "9" * 10)}),
    Pair("numeric(5,2)", "decimal(5,2)", {"-999.99": D("-999.99")}),
    Pair("numeric(5,-2)", "decimal(7,0)", {"12345": D(12300)}),
    Pair("numeric(3,5)", "decimal(5,5)", {"0.00123": D("0.00123")}),
    _printed("money", "$1.50", "-$92,233,720,368,547,758.08"),
)  # fmt: skip
TEXTS = (
    Pair("text", "text", {"''": "", "'NULL'": "NULL", "'ab  '": "ab  ", "E'a\\tb\\n🚀é'": "a\tb\n🚀é"}),
    Pair("text", "enum(a, b)", {"'a'": "a"}, {"'c'": "is not one of the enum's labels"}),
    Pair("text", "uuid", {f"'{TOKEN}'": TOKEN}, {"'x'": "is not a UUID"}),
    Pair("text", "json", {"'[1,2]'": "[1, 2]"}, {"'nope'": "is not JSON"}),
    Pair("varchar(5)", "text", {"'ab '": "ab "}),
    Pair("varchar", "text", {"'x'": "x"}),
    # Without the blanks at the end, which PostgreSQL itself does not compare.
    Pair("char(5)", "text", {"'ab'": "ab", "'  '": "", "' é'": " é"}),
    Pair("char(3)", "enum(a, b)", {"'a'": "a"}, {"'c'": "is not one of the enum's labels"}),
    Pair("char(36)", "uuid", {f"'{TOKEN}'": TOKEN}),
    Pair('"char"', "text", {"'x'": "x", "''": ""}, as_text=True),
    Pair("name", "text", {"'Abc'": "Abc"}, as_text=True),
    Pair("citext", "text", {"'AbC '": "AbC "}, as_text=True),
    Pair("citext", "enum(a, b)", {"'a'": "a"}, {"'A'": "is not one of the enum's labels"}),
    Pair("bytea", "bytes", {"'\\x00ff'": b"\0\xff", "''": b""}),
    Pair("uuid", "uuid", {f"'{TOKEN}'": TOKEN}),
    Pair("uuid", "text", {f"'{TOKEN}'": str(TOKEN)}, as_text=True),
    Pair("mood", "enum(sad, glad, odd one)", {"'odd one'": "odd one"}),
    Pair("mood", "enum(sad, glad)", {"'sad'": "sad"}, {"'odd one'": "is not one of the enum's labels"}),
    Pair("mood", "text", {"'glad'": "glad"}, as_text=True),
    Pair("bit(3)", "text", {"B'101'": "101"}, as_text=True),
    Pair("bit varying(9)", "text", {"B'10'": "10", "B''": ""}, as_text=True),
    Pair("xml", "text", {"'<a>1</a>'": "<a>1</a>"}, as_text=True),
    Pair("jsonb", "json", {"'{\"b\": 1, \"a\": 1.10}'": '{"a": 1.10, "b": 1}', "'null'": "null"}),
    Pair("json", "json", {"'{\"b\":1,\"a\":1.10}'": '{"a": 1.10, "b": 1}'},
         {"'{\"a\":1,\"a\":2}'": "repeats a key in an object, which jsonb would drop",
          "'\"\\u0000\"'": "holds a NUL character, which jsonb cannot keep"}),
    Pair("json", "text", {"'{\"b\":1,\"a\":1.10}'": '{"b":1,"a":1.10}'}, as_text=True),
    Pair("jsonb", "text", {"'{\"b\":1}'": '{"b": 1}'}, as_text=True),
    _printed("jsonpath", '$."a"[*]'),
)  # fmt: skip
TIMES = (
    Pair("date", "date", {"'0001-01-01'": date(1, 1, 1), "'9999-12-31'": date(9999, 12, 31)},
         {"'infinity'": OUTSIDE, "'0044-03-15 BC'": OUTSIDE, "'10000-01-01'": OUTSIDE}),
    Pair("date", "text", {"'2026-02-01'": "2026-02-01", "'infinity'": "infinity"}, as_text=True),
    Pair("time", "time", {"'23:59:59.999999'": time(23, 59, 59, 999_999)}, {"'24:00'": NO_TIME}),
    Pair("time(3)", "time", {"'01:02:03.4567'": time(1, 2, 3, 457_000)}),
    Pair("time with time zone", "text", {"'10:00+02'": "10:00:00+02"}, as_text=True),
    Pair("timestamp", "timestamp", {"'1600-02-29 01:02:03.000004'": datetime(1600, 2, 29, 1, 2, 3, 4)},
         {"'-infinity'": OUTSIDE, "'10000-01-01'": OUTSIDE}),
    Pair("timestamp(0)", "timestamp", {"'2026-01-01 00:00:00.6'": datetime(2026, 1, 1, 0, 0, 1)}),
    Pair("timestamp with time zone", "timestamptz", {"'2026-01-01 00:00+05'": datetime(2025, 12, 31, 19, tzinfo=UTC)},
         {"'infinity'": OUTSIDE, "'294276-12-31'": OUTSIDE}),
    Pair("timestamptz(3)", "timestamptz", {"'2026-01-01 00:00:00.0004Z'": datetime(2026, 1, 1, tzinfo=UTC)}),
    Pair("timestamptz", "text", {"'2026-01-01 00:00+05'": "2025-12-31 19:00:00+00"}, as_text=True),
    _printed("interval", "1 mon 2 days", "-1 days", "1 year 00:00:01.5"),
    _printed("interval day to second", "2 days 01:00:00"),
)  # fmt: skip
OTHERS = (
    Pair("inet", "text", {"'10.0.0.1/8'": "10.0.0.1/8", "'::1'": "::1/128"}, as_text=True),
    _printed("cidr", "10.0.0.0/8"),
    _printed("macaddr", "08:00:2b:01:02:03"),
    _printed("macaddr8", "08:00:2b:01:02:03:04:05"),
    _printed("point", "(0.1,-2)"),
    _printed("line", "{1,-1,0}"),
    _printed("lseg", "[(0,0),(1,1)]"),
    _printed("box", "(1,1),(0,0)"),
    _printed("path", "[(0,0),(1,1)]", "((0,0),(1,1))"),
    _printed("polygon", "((0,0),(1,1),(1,0))"),
    _printed("circle", "<(0,0),1.5>"),
    *(_printed(f"int{size}range", "[1,5)", "empty") for size in (4, 8)),
    _printed("numrange", "[1.50,2.5]", "(,)"),
    _printed("daterange", "[2026-01-01,2026-02-01)"),
    _printed("tsrange", '["2026-01-01 00:00:00",infinity]'),
    _printed("tstzrange", '["2026-01-01 00:00:00+00",)'),
    *(_printed(f"int{size}multirange", "{[1,3),[5,7)}") for size in (4, 8)),
    _printed("nummultirange", "{[1.5,2]}"),
    _printed("datemultirange", "{[2026-01-01,2026-02-01)}"),
    _printed("tsmultirange", "{}"),
    _printed("tstzmultirange", "{}"),
    _printed("centrange", "[1,5)"),
    _printed("tsvector", "'a':1 'cat':2B"),
    _printed("tsquery", "'a' & !'b'"),
    _printed("pg_lsn", "16/B374D848"),
    _printed("pg_snapshot", "10:20:10,14"),
    _printed("txid_snapshot", "10:20:10,14"),
    _printed("xid", "4294967295"),
    _printed("xid8", "18446744073709551615"),
    _printed("cid", "7"),
    _printed("tid", "(0,1)"),
    _printed("aclitem", "postgres=r/postgres"),
    _printed("refcursor", "c"),
    _printed("int2vector", "1 2"),
    _printed("oidvector", "1 2"),
    *(_printed(f"reg{of}", value) for of, value in {
        "class": "pg_class", "type": "integer", "proc": "now", "procedure": "now()", "oper": "||/",
        "operator": "+(integer,integer)", "namespace": "pg_catalog", "role": "postgres", "config": "english",
        "dictionary": "simple", "collation": '"C"'}.items()),
    _printed("pair", '(1,"a b")'),
    _printed("hstore", '"a"=>"1", "b"=>NULL'),
    _printed("ltree", "a.b.c"),
    _printed("lquery", "a.*"),
    _printed("cube", "(1, 2)"),
    _printed("seg", "1 .. 2"),
    _printed("isbn", "0-201-63361-2"),
    _printed("lo", "77"),
    _printed("odd.date", "blind"),
    _printed("odd.int4", "(1)"),
)  # fmt: skip
ARRAYS = (
    Pair("integer[]", "array<int32>", {"'{1,NULL,3}'": [1, None, 3], "'{}'": []},
         {"'{{1,2},{3,4}}'": ODD, "'[2:3]={5,6}'": ODD}),
    Pair("integer[]", "array<int16>", {"'{7}'": [7]}, {"'{70000}'": _fit("array<int16>")}),
    Pair("integer[]", "json", {"'{{1,2},{NULL,4}}'": "[[1, 2], [null, 4]]", "'{}'": "[]"}, {"'[2:3]={5,6}'": ODD_JSON}),
    Pair("integer[]", "text", {"'{{1,2},{NULL,4}}'": "{{1,2},{NULL,4}}", "'[2:3]={5,6}'": "[2:3]={5,6}"}, as_text=True),
    Pair("bigint[][]", "array<int64>", {"'{9223372036854775807}'": [_INT64 - 1]}, {"'{{1}}'": ODD}),
    Pair("smallint[3]", "array<int16>", {"'{1}'": [1]}),
    Pair("boolean[]", "array<bool>", {"'{t,f,NULL}'": [True, False, None]}),
    Pair("real[]", "array<float32>", {"'{0.5,NULL,-Infinity}'": [0.5, None, -INF]}),
    Pair("double precision[]", "array<float64>", {"'{0.1,Infinity}'": [0.1, INF]}),
    Pair("double precision[]", "json", {"'{{0.1,1e20}}'": "[[0.1, 100000000000000000000]]"},
         {"'{NaN}'": ODD_JSON, "'{-Infinity}'": ODD_JSON, "'{1,-0}'": ODD_JSON}),
    Pair("numeric[]", "array<decimal(5,2)>", {"'{1.1,NULL}'": [D("1.10"), None]},
         {"'{NaN}'": _fit("array<decimal(5,2)>"), "'{1.239}'": _fit("array<decimal(5,2)>")}),
    Pair("numeric[]", "json", {"'{1.10,-0.5}'": "[1.10, -0.5]"}, {"'{NaN}'": ODD_JSON}),
    Pair("numeric[]", "array<int64>", {"'{7}'": [7]}, {"'{7.5}'": _fit("array<int64>")}),
    Pair("oid[]", "array<int64>", {"'{4294967295}'": [4294967295]}),
    Pair("text[]", "array<text>", {"'{\"\",NULL,\"NULL\",\"a,b\"}'": ["", None, "NULL", "a,b"]}),
    Pair("text[]", "json", {"'{{a},{\"\"}}'": '[["a"], [""]]'}),
    Pair("varchar(3)[]", "array<text>", {"'{abc}'": ["abc"]}),
    Pair("char(3)[]", "array<text>", {"'{a,NULL}'": ["a", None]}),
    Pair("citext[]", "array<text>", {"'{Ab}'": ["Ab"]}, as_text=True),
    Pair("name[]", "array<text>", {"'{a}'": ["a"]}, as_text=True),
    Pair("mood[]", "array<text>", {"'{sad,NULL}'": ["sad", None]}, {"'{{sad}}'": ODD}, as_text=True),
    Pair("mood[]", "json", {"'{{sad},{\"odd one\"}}'": '[["sad"], ["odd one"]]'}),
    Pair("uuid[]", "array<uuid>", {f"'{{{TOKEN},NULL}}'": [TOKEN, None]}),
    Pair("date[]", "array<date>", {"'{2026-01-01,NULL}'": [date(2026, 1, 1), None]}, {"'{infinity}'": OUTSIDE}),
    Pair("time[]", "array<time>", {"'{01:02}'": [time(1, 2)]}, {"'{24:00}'": NO_TIME}),
    Pair("timestamp[]", "array<timestamp>", {"'{2026-01-01}'": [datetime(2026, 1, 1)]}, {"'{infinity}'": OUTSIDE}),
    Pair("timestamptz[]", "array<timestamptz>", {"'{2026-01-01Z}'": [datetime(2026, 1, 1, tzinfo=UTC)]}),
    Pair("jsonb[]", "json", {"array['{\"a\": 1}'::jsonb]": '[{"a": 1}]'}),
    Pair("json[]", "json", {"array['{\"b\":1,\"a\":2}'::json]": '[{"a": 2, "b": 1}]'}),
    Pair("jsonb[]", "array<text>", {"array['{\"a\":1}'::jsonb]": ['{"a": 1}']}, as_text=True),
    Pair("bytea[]", "text", {"array['\\x00ff'::bytea]": '{"\\\\x00ff"}'}, as_text=True),
    *(Pair(f"{of}[]", "array<text>", {f"array[{literal(value)}::{of}]": [value]}, as_text=True) for of, value in {
        "inet": "10.0.0.1/32", "interval": "1 mon", "money": "$1.50", "point": "(1,2)", "int4range": "[1,5)",
        "pair": "(1,a)", "tsvector": "'a':1", "xml": "<a/>", "bit(2)": "10", '"char"': "x", "timetz": "10:00:00+02",
        "pg_lsn": "16/B374D848", "hstore": '"a"=>"1"', "ltree": "a.b", "macaddr": "08:00:2b:01:02:03"}.items()),
)  # fmt: skip
DOMAINS = (
    Pair("cents", "int64", {"5": 5}),
    Pair("price", "int64", {"5": 5}),
    Pair("price", "int16", {"5": 5}, {"70000": _fit("int16")}),
    Pair("price", "decimal(10,2)", {"5": D("5.00")}),
    Pair("price", "text", {"5": "5"}, as_text=True),
    Pair("code", "text", {"'ab'": "ab"}),
    Pair("total", "decimal(10,2)", {"1.5": D("1.50")}),
    Pair("label", "text", {"'a '": "a "}),
    Pair("feeling", "enum(sad, glad, odd one)", {"'glad'": "glad"}),
    Pair("day", "date", {"'2026-01-01'": date(2026, 1, 1)}, {"'infinity'": OUTSIDE}),
    Pair("stamp", "timestamptz", {"'2026-01-01Z'": datetime(2026, 1, 1, tzinfo=UTC)}),
    Pair("token", "uuid", {f"'{TOKEN}'": TOKEN}),
    Pair("blob", "bytes", {"'\\x00ff'": b"\0\xff"}),
    Pair("doc", "json", {"'{\"a\":1}'": '{"a": 1}'}),
    Pair("entry", "text", {"'(1,x)'": "(1,x)"}, as_text=True),
    Pair("ints", "array<int32>", {"'{1,NULL}'": [1, None]}, {"'{{1}}'": ODD}),
    Pair("few", "array<int32>", {"'{1,NULL}'": [1, None]}, {"'[0:0]={1}'": ODD}),
    Pair("few", "json", {"'{{1}}'": "[[1]]"}),
    Pair("cents[]", "array<int64>", {"'{1,NULL}'": [1, None], "'{}'": []}, {"'{{1}}'": ODD}),
    Pair("price[]", "array<int64>", {"'{1,NULL}'": [1, None]}),
    Pair("price[]", "json", {"'{{1}}'": "[[1]]"}),
    Pair("total[]", "array<decimal(10,2)>", {"'{1.5}'": [D("1.50")]}),
    Pair("label[]", "array<text>", {"'{\"a \"}'": ["a "]}),
    Pair("code[]", "array<text>", {"'{ab}'": ["ab"]}),
    Pair("day[]", "array<date>", {"'{2026-01-01}'": [date(2026, 1, 1)]}, {"'{infinity}'": OUTSIDE}),
    Pair("stamp[]", "array<timestamptz>", {"'{2026-01-01Z}'": [datetime(2026, 1, 1, tzinfo=UTC)]}),
    Pair("token[]", "array<uuid>", {f"'{{{TOKEN}}}'": [TOKEN]}),
    Pair("feeling[]", "array<text>", {"'{sad}'": ["sad"]}, as_text=True),
    Pair("ints[]", "array<text>", {"array['{1,2}'::ints]": ["{1,2}"]}, as_text=True),
    Pair("ints[]", "text", {"array['{1,2}'::ints]": '{"{1,2}"}'}, as_text=True),
)  # fmt: skip
GROUPS: Mapping[str, tuple[Pair, ...]] = {
    "Numbers": NUMBERS,
    "Texts, bytes, JSON": TEXTS,
    "Times": TIMES,
    "Arrays": ARRAYS,
    "Domains": DOMAINS,
    "Everything else": OTHERS,
}
# Columns may have these types, but no value of them can be written.
WITHOUT_VALUES = (
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
)


def pairs() -> Iterator[Pair]:
    for group in GROUPS.values():
        yield from group
