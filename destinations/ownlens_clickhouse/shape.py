"""A table as the store describes it, in ClickHouse's own words: what staged rows must fit, and what its owner added."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import sql
from .described import Described, columns_of, describe

if TYPE_CHECKING:
    from .client import Store

# A quoted string, a quoted name, or a plain name; quotes inside are escaped.
_ONE = r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\w+"
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`", re.DOTALL)
_ARGUMENT = re.compile(_ONE)
_ENGINE = re.compile(rf"(\w+)(?:\(((?:{_ONE}|, )*)\))?")
_EXTRA = re.compile(r"(INDEX|PROJECTION|CONSTRAINT) (`(?:[^`\\]|\\.)*`|\w+) ")
# What follows the moment in an element of a TTL. Those that move or recompress rows keep them.
_ACTION = re.compile(r" (DELETE|TO|RECOMPRESS|WHERE|GROUP BY|SET)\b")


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """One column. `kind` is DEFAULT, MATERIALIZED, ALIAS, EPHEMERAL or nothing, and `value` its expression."""

    name: str
    type: str
    kind: str
    value: str
    comment: str
    text: str

    @property
    def is_physical(self) -> bool:
        """Whether parts may hold values of it."""
        return self.kind not in {"ALIAS", "EPHEMERAL"}


@dataclass(frozen=True, slots=True)
class Extra:
    """An index, projection or constraint, as it stands in the table's definition."""

    kind: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Shape:
    """A table's definition. Expressions are SQL in ClickHouse's own spelling.

    `clauses` are those of the engine without TTL and SETTINGS, which follow in `ttl` and `settings`. `views` are the
    materialized views that inserted rows would reach.
    """

    columns: Mapping[str, StoredColumn]
    extras: tuple[Extra, ...]
    family: str
    versions: tuple[str, ...]
    partition: str
    order: str
    clauses: str
    ttl: str
    settings: str
    comment: str
    views: tuple[str, ...]

    @property
    def is_merge_tree(self) -> bool:
        """Whether partitions can be attached to it."""
        return self.family.endswith("MergeTree")

    @property
    def is_view(self) -> bool:
        """Whether it only shows what lies elsewhere."""
        return self.family.endswith("View") or self.family == "Dictionary"

    @property
    def physical(self) -> dict[str, str]:
        """The types of the columns that parts hold, by name."""
        return physical(self.columns)

    @property
    def checks(self) -> list[str]:
        """The names of the constraints that inserted rows must meet."""
        return [each.name for each in self.extras if each.kind == "CONSTRAINT" and " CHECK " in masked(each.text)]


def physical(columns: Mapping[str, StoredColumn]) -> dict[str, str]:
    """Return the types of the columns that parts hold, by name."""
    return {each.name: each.type for each in columns.values() if each.is_physical}


def masked(text: str) -> str:
    """Return SQL of the same length in which nothing is quoted, to be searched for words and brackets."""
    return _QUOTED.sub(lambda found: "_" * len(found[0]), text)


def split(text: str) -> list[str]:
    """Split SQL at the commas that are in no bracket and in no quotes."""
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(masked(text)):
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()] if text.strip() else []


def moments(ttl: str) -> Iterator[str]:
    """Yield the expressions of the moments after which a TTL lets rows go."""
    for element in split(ttl):
        action = _ACTION.search(masked(element))
        if action is None or action[1] not in {"TO", "RECOMPRESS"}:
            yield element[: action.start()] if action else element


def unquoted(name: str) -> str:
    """Return a name without its quotes."""
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith("`") else name


def mentions(text: str, name: str) -> bool:
    """Tell whether SQL may speak of a column; too often rather than too rarely."""
    return sql.identifier(name) in text or re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def find_shape(store: Store, table: str) -> Shape | None:
    """Read a table's definition; None when there is no such table."""
    found = describe(store, table, columns=True, definition=True).get(table)
    return None if found is None else shape_of(found)


def shape_of(found: Described) -> Shape:
    """Return a table's definition, of which the store told columns and text."""
    elements = _elements(found.ddl)
    clauses, ttl, settings = _clauses(found.clauses)
    return Shape(
        columns=_columns(found.columns, elements),
        extras=tuple(_extras(elements)),
        family=found.engine,
        versions=_versions(found.clauses),
        partition="" if found.partition == "tuple()" else found.partition,
        order=found.order.removeprefix("(").removesuffix(")"),
        clauses=clauses,
        ttl=ttl,
        settings=settings,
        comment=found.comment,
        views=found.views,
    )


def find_columns(store: Store, table: str) -> dict[str, StoredColumn]:
    """Read a table's columns without their texts; none when there is no such table."""
    return _columns(columns_of(store, table), [])


def plain_columns(found: Described) -> dict[str, StoredColumn]:
    """Return a table's columns without their texts, of which the store told."""
    return _columns(found.columns, [])


def find_ttl(store: Store, table: str) -> str:
    """Read a table's TTL; nothing when it has none, or is not there."""
    found = describe(store, table).get(table)
    return ttl_of(found) if found else ""


def ttl_of(found: Described) -> str:
    """Return a table's TTL; nothing when it has none."""
    return _clauses(found.clauses)[1]


def _elements(ddl: str) -> list[str]:
    plain = masked(ddl)
    first = plain.find("(")
    depth = 0
    for place in range(max(first, 0), len(plain)):
        depth += (plain[place] == "(") - (plain[place] == ")")
        if depth == 0:
            return split(ddl[first + 1 : place])
    return []


def _extras(elements: list[str]) -> Iterator[Extra]:
    for text in elements:
        if found := _EXTRA.match(text):
            yield Extra(found[1], unquoted(found[2]), text)


def _columns(columns: Sequence[tuple[str, ...]], elements: list[str]) -> dict[str, StoredColumn]:
    texts = {unquoted(found[0]): each for each in elements if (found := _QUOTED.match(each))}
    return {
        name: StoredColumn(name, kind, default, value, comment, texts.get(name, ""))
        for name, kind, default, value, comment in columns
    }


def _versions(engine: str) -> tuple[str, ...]:
    """Return the columns among an engine's arguments, quoted; replicated ones also have strings, a path and a name."""
    head = _ENGINE.match(engine)
    found = _ARGUMENT.findall(head[2] or "") if head else []
    names = (each for each in found if not each.startswith("'"))
    return tuple(each if each.startswith("`") else sql.identifier(each) for each in names)


def _clauses(engine: str) -> tuple[str, str, str]:
    head = _ENGINE.match(engine)
    rest = engine[head.end() :] if head else ""
    plain = masked(rest)
    end = plain.rfind(" SETTINGS ")
    settings = rest[end + len(" SETTINGS ") :] if end >= 0 else ""
    rest, plain = (rest[:end], plain[:end]) if end >= 0 else (rest, plain)
    start = plain.find(" TTL ")
    return (rest, "", settings) if start < 0 else (rest[:start], rest[start + len(" TTL ") :], settings)
