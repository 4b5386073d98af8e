"""The page on PostgreSQL's types, made from the matrix that the tests load."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from ownlens_clickhouse.columns import column_type
from ownlens_plugins.contracts import Column, parse_type
from ownlens_postgresql.columns import type_name
from ownlens_s3.columns import lake_type

from .type_matrix import EXTENSIONS, GROUPS, MADE, WITHOUT_VALUES, Pair

_START = """# Types of a PostgreSQL source

Made by `make generate` from `tests/engine/type_matrix.py`, every line of which `tests/engine/test_type_matrix.py` loads
from PostgreSQL 15 into the three real stores. It also asks PostgreSQL 15 and 18 for all types that a column may have,
and fails when one is missing here.

- **kept**: each value arrives exactly, in the type of that store. **as text**: each value arrives as `::text` prints
  it, with `DateStyle` ISO, zone UTC and full precision, whatever the database is set to (`money` follows its
  `lc_monetary`).
- *Set aside* are rows whose value the contract's type cannot hold: they go to [quarantine](quarantine.md), with this
  reason, and reach no store.
- **Any pair that is not here** is refused before rows move, with all columns that differ and types that fit:
  `column 'a' is money in the source, which decimal(10,2) cannot take without changing values (use text)`.
  Integers of any width go into integers of any width, and into decimals; every type but `bytea` goes into `text`.
- A domain counts as what lies below it, however many domains that takes, also as the items of an array.
- `char(n)` comes without the blanks at its end, as `::text` prints it and as PostgreSQL compares it: keys are the same
  as those of a `text` or `varchar` column that references it.
- `json` is kept in the form of `jsonb`, with at most 1,000 levels of arrays and objects in each other: the same from
  `json`, `jsonb`, text and files.
- Arrays of one dimension that begin at 1 are `array<T>`; those of several dimensions fit `json` (booleans, numbers,
  texts, uuids, enums, JSON) or `text`.
"""


def types_page() -> str:
    return "\n".join([_START, *_made(), *_groups(), *_rest()])


def _made() -> Iterator[str]:
    yield f"The examples use the extensions {', '.join(f'`{name}`' for name in EXTENSIONS)}, and these types:"
    yield from ("", "```sql", *(f"{statement};" for statement in MADE), "```", "")


def _groups() -> Iterator[str]:
    for name, group in GROUPS.items():
        yield from (f"## {name}", "")
        yield "| source | contract | lake | PostgreSQL | ClickHouse | values that the tests load | set aside |"
        yield "|---|---|---|---|---|---|---|"
        yield from map(_row, group)
        yield ""


def _row(pair: Pair) -> str:
    kind, _ = parse_type(pair.contract)
    how = "as text" if pair.as_text else "kept"
    column = Column("value", kind)
    stores = (
        _lake(lake_type(kind)),
        type_name(kind),
        column_type(column, low_cardinality=False, uuid_as="uuid"),
    )
    cells = [_code(pair.source), _code(pair.contract), *(f"{how}: {_code(store)}" for store in stores)]
    aside = "; ".join(f"{_code(literal)}: {reason}" for literal, reason in pair.refused.items())
    return f"| {' | '.join([*cells, ', '.join(map(_code, pair.kept)), aside])} |"


def _lake(kind: pa.DataType) -> str:
    return f"list<{kind.value_type}>" if pa.types.is_list(kind) else str(kind)


def _code(text: str) -> str:
    # A bar would end the cell, and a line feed the row.
    return f"`{text}`".replace("|", "\\|").replace("\n", "\\n")


def _rest() -> Iterator[str]:
    yield "## Types without values"
    yield ""
    yield f"Nobody can write a value of {', '.join(map(_code, WITHOUT_VALUES))}. A column of them is null, as `text`."
    yield ""
