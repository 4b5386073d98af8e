"""Tables and columns with the oddest names that a contract may have, in a PostgreSQL source of their own."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql

from ownlens_plugins.contracts.reading import file_name

TABLES = (
    "Order Details",
    "order details",
    "日本語",
    "$x",
    "a/b",
    "a%2Fb",
    "..",
    ".",
    ".hidden",
    "x" * 63,
    "é" * 31,
    "😀" * 15,
    "O'Hara",
    'say "hi"',
    "schema.table",
    "100%",
    "%s %(x)s",
    "{table}",
    "{",
    "[red]x[/]",
    "[/x]",
    ":smile:",
    " leading",
    "trailing ",
    "select",
    "User",
    "user",
    unicodedata.normalize("NFC", "café"),
    unicodedata.normalize("NFD", "café"),
    "a,b",
    "-x",
    "--tables",
    "a~b",
    "a~7Eb",
    "a|b",
    "back\\slash",
    "`tick`",
    "semi; DROP TABLE x",
    "a#b?c&d",
    "source",
    "staged",
    "CON",
    "null",
    "*",
)
# Names that SQL, Python, Great Expectations, pandas or a template could take for something else.
COLUMNS = (
    "Order Date",
    "日本語",
    "{x}",
    "%(x)s",
    "a.b",
    "a,b",
    'say "hi"',
    "O'Hara",
    "index",
    "select",
    "[b]",
    "$x",
    "back\\slash",
    " leading",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "x" * 63,
)


def contract(table: str, *, preset: str = "entity", **more: Any) -> dict[str, Any]:
    number = TABLES.index(table)
    columns = {"id": "int64", "note": "text?", "created_at": "timestamptz", "updated_at": "timestamptz"}
    document = {"table": table, "domain": "odd", "preset": preset, "key": ["id"], "path": f"odd/t{number}"}
    check = {"expect_column_value_lengths_to_be_between": {"column": "note", "min_value": 1}}
    more = {"partition_by": "created_at", "max_rejected": 1.0, **more}
    return {**document, "columns": columns, "checks": [check], **more}


def wide(table: str, key: str) -> dict[str, Any]:
    """Return a contract all of whose columns have odd names."""
    columns = {key: "int64"} | dict.fromkeys(COLUMNS, "text?") | {"Order Date": "timestamptz"}
    checked = [name for name in columns if '"' not in name]
    checks = [{"expect_column_values_to_not_be_null": {"column": name}} for name in checked]
    return {
        "table": table,
        "domain": "odd",
        "preset": "entity",
        "key": [key],
        "path": f"odd/{table}",
        "partition_by": "Order Date",
        "version_by": "Order Date",
        "columns": columns,
        "checks": checks,
    }


@dataclass(frozen=True)
class Naming:
    """A project folder, and a database that is source and destination."""

    folder: Path
    database: dict[str, Any]

    @property
    def config(self) -> str:
        return str(self.folder / "ownlens.toml")

    def run(self, *arguments: str) -> int:
        """Run a command line in this process, with this project's configuration where it takes one."""
        from ownlens_cli.main import run

        if arguments[0] == "contracts":
            return run([*arguments, "--contracts", str(self.folder / "contracts")])
        place = 2 if arguments[0] == "quarantine" else 1
        return run([*arguments[:place], "--config", self.config, *arguments[place:]])

    def add_row(self, table: str, *values: Any) -> None:
        """Insert a row into a table of the source, stamped now."""
        text = sql.SQL("INSERT INTO {} VALUES ({}, now())")
        listed = sql.SQL(", ").join(map(sql.Literal, values))
        with self.connect() as connection:
            connection.execute(text.format(sql.Identifier("origin", table), listed))

    def connect(self) -> psycopg.Connection[Any]:
        names = {"database": "dbname"}
        login = {names.get(name, name): value for name, value in self.database.items()}
        return psycopg.connect(**login, autocommit=True)

    def write(self, *contracts: dict[str, Any]) -> None:
        """Write contracts, and make the table of each in the source with two rows."""
        folder = self.folder / "contracts" / "odd"
        folder.mkdir(parents=True, exist_ok=True)
        with self.connect() as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS origin")
            for document in contracts:
                text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
                (folder / file_name(document["table"])).write_text(text, encoding="utf-8")
                _make(connection, document)

    def write_config(self) -> None:
        address = "\n".join(f"{name} = {json.dumps(value)}" for name, value in self.database.items())
        (self.folder / "ownlens.toml").write_text(
            f"""
[profiles.default]
contracts = "{self.folder}/contracts"
staging = "{self.folder}/staging"
log_file = "{self.folder}/ownlens.log"
retries = 0
[profiles.default.source]
kind = "postgresql"
{address}
schema = "origin"
[profiles.default.destinations.s3]
uri = "{self.folder}/lake"
[profiles.default.destinations.postgresql]
{address}
schema = "landed"
[profiles.default.destinations.clickhouse]
interface = "chdb"
path = "{self.folder}/clickhouse"
"""
        )


def _make(connection: psycopg.Connection[Any], document: dict[str, Any]) -> None:
    types = {"int64": "bigint", "timestamptz": "timestamptz"}
    columns = {name: types.get(kind, "text") for name, kind in document["columns"].items()}
    table = sql.Identifier("origin", document["table"])
    defined = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns.items()]
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(defined)))
    for number in (1, 2):
        values = [_value(kind, name, number) for name, kind in columns.items()]
        listed = sql.SQL(", ").join(map(sql.Literal, values))
        connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(table, listed))


def _value(kind: str, name: str, number: int) -> Any:
    if kind == "bigint":
        return number
    return datetime.now(UTC) - timedelta(hours=number) if kind == "timestamptz" else f"{name} {number}"
