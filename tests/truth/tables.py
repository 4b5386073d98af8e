"""The tables of the histories: one for each preset and for each shape of a cursor, and their DDL in the source."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ownlens_plugins.contracts import TableContract, contract_from

STAMPS = {"created_at": "timestamptz", "updated_at": "timestamptz"}


def contract(table: str, preset: str, columns: dict[str, str], **more: Any) -> TableContract:
    document = {"table": table, "domain": "news", "preset": preset, "key": [next(iter(columns))]}
    return contract_from({**document, "path": f"news/{table}", "columns": columns, **more})


# Rows with what no store could hold: an infinite moment, an array of two dimensions, a decimal that is too long.
_CHECKED = {"price": "decimal(8,2)?", "tags": "array<text>?", "seen_at": "timestamptz?"}

SECTIONS = contract("sections", "reference", {"section_id": "int32", "name": "text", "updated_at": "timestamptz"})
CLICKS = contract(
    "clicks",
    "events",
    {"click_id": "int64", "note": "text?", **_CHECKED, "kind": "enum(a, b)?", "created_at": "timestamptz"},
    partition_by="created_at",
    max_rejected=1.0,
)
VISITS = contract(
    "visits",
    "events",
    {"visit_id": "int64", "note": "text?", "at": "timestamp"},
    partition_by="at",
    cursor="at",
    cursor_zone="America/Los_Angeles",
)
ARTICLES = contract(
    "articles",
    "entity",
    {"article_id": "int64", "note": "text?", **_CHECKED, "day": "date", **STAMPS},
    partition_by="day",
    max_rejected=1.0,
    destinations={"clickhouse": {"partition": "none"}},
)
PROFILES = contract(
    "profiles",
    "entity",
    {"profile_id": "int64", "note": "text?", "created_at": "timestamptz", "updated_at": "timestamptz?"},
    cursor=["updated_at", "created_at"],
    destinations={"s3": {"partition": "none"}, "clickhouse": {"partition": "none"}},
)
AUTHORS = contract(
    "authors",
    "entity",
    {"author_id": "int64", "note": "text?", **STAMPS},
    partition_by="created_at",
    deletes="follow",
)
BOOKS = contract(
    "books",
    "entity",
    {"book_id": "int64", "author_id": "int64?", "note": "text?", **STAMPS},
    partition_by="created_at",
    deletes="follow",
    references={"author_id": "authors.author_id"},
)
VIEWS = contract(
    "views",
    "daily",
    {"page_id": "int32", "day": "date", "note": "text?", "updated_at": "timestamptz"},
    key=["page_id", "day"],
    partition_by="day",
)
CONTRACTS = (SECTIONS, CLICKS, VISITS, ARTICLES, PROFILES, AUTHORS, BOOKS, VIEWS)
BY_NAME = {contract.table: contract for contract in CONTRACTS}

_STAMPED = "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()"
_MORE = "price numeric, tags text[], seen_at timestamptz"
DDL = {
    "sections": "section_id int PRIMARY KEY, name text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now()",
    "clicks": f"click_id bigint PRIMARY KEY, note text, {_MORE}, created_at timestamptz NOT NULL DEFAULT now(), "
    "kind text",
    "visits": "visit_id bigint PRIMARY KEY, note text, "
    "at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'America/Los_Angeles')",
    "articles": f"article_id bigint PRIMARY KEY, note text, {_MORE}, day date NOT NULL, {_STAMPED}",
    "profiles": "profile_id bigint PRIMARY KEY, note text, created_at timestamptz NOT NULL DEFAULT now(), "
    "updated_at timestamptz",
    "authors": f"author_id bigint PRIMARY KEY, note text, {_STAMPED}",
    "books": f"book_id bigint PRIMARY KEY, author_id bigint REFERENCES authors, note text, {_STAMPED}",
    "views": "page_id int, day date NOT NULL, note text, updated_at timestamptz NOT NULL DEFAULT now(), "
    "PRIMARY KEY (page_id, day)",
}


def corrected(contract: TableContract) -> TableContract:
    """Return the contract of the clicks as somebody corrects it later: with one more label."""
    columns = tuple(
        replace(column, type=replace(column.type, labels=("a", "b", "c"))) if column.name == "kind" else column
        for column in contract.columns
    )
    return replace(contract, columns=columns)


def create(*contracts: TableContract, schema: str = "public") -> str:
    """Return the statement that creates tables in the source."""
    return ";".join(f"CREATE TABLE {schema}.{c.table} ({DDL[c.table]})" for c in contracts)
