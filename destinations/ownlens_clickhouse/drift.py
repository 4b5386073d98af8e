"""What lies between a contract and its table: what OwnLens changes, and what only a person can decide about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ownlens_plugins.contracts import Kind
from ownlens_plugins.errors import Rejected

from . import sql
from .definition import LOAD, NULL_FLAG, VERSION, ColumnDefinition, flag
from .shape import Shape, StoredColumn
from .target import Target
from .widening import widens

REFRESH = "load it with --full-refresh, which builds the table anew"
# A name that means the same without its quotes.
_PLAIN_NAME = re.compile(r"`([A-Za-z_]\w*)`")
# Types that may be wrapped in Nullable, which all types are not.
_MAY_BE_NULL = re.compile(
    r"(Bool|U?Int\d+|B?Float\d+|Decimal|String|FixedString|Date|Date32|DateTime|DateTime64|Time|Time64|UUID|IPv[46]"
    r"|Enum8|Enum16)\b"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One difference that is refused. `evolves` says that schema_policy: evolve would let it through."""

    text: str
    evolves: bool = False


@dataclass
class Drift:
    """The columns that a table gains, changes and loses when it follows its contract; and what it cannot follow."""

    added: list[ColumnDefinition] = field(default_factory=list)
    changed: list[ColumnDefinition] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    required: list[str] = field(default_factory=list)


def compare(target: Target, shape: Shape, *, replaced: bool) -> Drift:
    """Compare a table with its contract; `replaced` says that all its rows are, and its storage with them."""
    drift = Drift()
    frozen = target.contract.schema_policy == "freeze"
    for column in target.definition.columns:
        if held := shape.columns.get(column.name):
            _held(target, held, column, drift, bound=not replaced and column.name in _fixed(target))
        elif column.name != VERSION:
            _missing(shape, column, drift)
    for name in left(target, shape):
        _left(target, shape, shape.columns[name], drift)
    if frozen:
        drift.problems += _frozen(target, shape, drift)
    if not replaced:
        drift.problems += map(Problem, _different_storage(target, shape))
    return drift


def left(target: Target, shape: Shape) -> list[str]:
    """Return the columns that left the contract; one with an expression was never in it, but is its owner's."""
    wanted = {column.name for column in target.definition.columns}
    return [each.name for each in shape.columns.values() if each.name not in wanted and not each.kind]


def refusal(target: Target, drift: Drift) -> Rejected:
    """Say everything that is different, and what to do about it."""
    table = f"{target.store.database}.{target.table}"
    said = ", ".join(problem.text for problem in drift.problems)
    return Rejected(f"{target.table}: clickhouse table {table} {said}; {_fix(target, drift)}")


def for_rows_of(shape: Shape, column: ColumnDefinition) -> ColumnDefinition:
    """Return the definition by which a column is added to a table that has rows."""
    # Arrays that are there already were not null; those that are not there are.
    array = column.name.removeprefix(NULL_FLAG)
    return replace(column, value="false") if column.is_flag and array in shape.columns else column


def relaxed(kind: str) -> str:
    """Return the type that admits NULL as well; the same where ClickHouse has none."""
    if kind.startswith("LowCardinality("):
        inner = kind.removeprefix("LowCardinality(").removesuffix(")")
        return f"LowCardinality({relaxed(inner)})"
    return f"Nullable({kind})" if _MAY_BE_NULL.match(kind) else kind


def _held(target: Target, held: StoredColumn, column: ColumnDefinition, drift: Drift, *, bound: bool) -> None:
    told = f"has column {column.name!r} as {held.type}, not {column.type}"
    if not held.is_physical:
        drift.problems.append(Problem(f"has column {column.name!r} as {held.kind}, which keeps no values"))
    elif held.type == column.type:
        return
    elif bound or not holds(target, held.type, column):
        drift.problems.append(Problem(told))
    else:
        drift.changed.append(column)


def holds(target: Target, kind: str, column: ColumnDefinition) -> bool:
    """Tell whether a contract's column holds every value of the stored type, and means the same."""
    # Labels are text, and text, documents and bytes are all of one type here: labels may become text only.
    was_dictionary = kind.startswith("LowCardinality(") and not column.type.startswith("LowCardinality(")
    if was_dictionary and "String" in kind and target.contract.column(column.name).type.kind is not Kind.TEXT:
        return False
    return widens(kind, column.type)


def _missing(shape: Shape, column: ColumnDefinition, drift: Drift) -> None:
    if column.name == LOAD:
        drift.problems.append(Problem("is not one that OwnLens made"))
    elif column.can_be_added:
        drift.added.append(for_rows_of(shape, column))
    else:
        drift.problems.append(Problem(f"has no column {column.name!r}, which may not be null"))
        drift.required.append(column.name)


def _left(target: Target, shape: Shape, held: StoredColumn, drift: Drift) -> None:
    hidden = flag(held.name)
    if target.contract.drop_columns:
        drift.dropped += [held.name, *([hidden] if hidden in shape.columns else [])]
    elif held.type.startswith("Array(") and hidden not in shape.columns:
        drift.added.append(ColumnDefinition(hidden, "Bool", hidden=True, value="false"))
    elif relaxed(held.type) != held.type:
        drift.changed.append(ColumnDefinition(held.name, relaxed(held.type)))


def _frozen(target: Target, shape: Shape, drift: Drift) -> Iterator[Problem]:
    gone = set(left(target, shape))
    for name in gone:
        yield Problem(f"has a column {name!r} that the contract lacks", evolves=True)
    for column in drift.added:
        if column.name.removeprefix(NULL_FLAG) not in gone:
            yield Problem(f"has no column {column.name!r}", evolves=True)
    for column in drift.changed:
        if column.name not in gone:
            kind = shape.columns[column.name].type
            yield Problem(f"has column {column.name!r} as {kind}, not {column.type}", evolves=True)


def _fix(target: Target, drift: Drift) -> str:
    if target.contract.schema_policy == "freeze" and all(problem.evolves for problem in drift.problems):
        return f"set schema_policy: evolve, or {REFRESH}"
    others = [problem for problem in drift.problems if not problem.evolves]
    if LOAD not in {*drift.required} and len(others) == len(drift.required) and drift.required:
        names = ", ".join(map(repr, drift.required))
        return f"make {names} nullable in the contract, or {REFRESH}"
    if any("OwnLens made" in problem.text for problem in others) and len(others) == 1:
        add = f"ALTER TABLE {target.name} ADD COLUMN `{LOAD}` UInt64 MATERIALIZED 0"
        return f"{REFRESH}, or have rows added to it: {add}"
    return f"{REFRESH}, or restore the contract"


def _fixed(target: Target) -> frozenset[str]:
    """Return the columns that ClickHouse orders and slices the table by, which no statement can change."""
    return frozenset((*target.definition.order, *filter(None, [target.contract.partition_by])))


def _different_storage(target: Target, shape: Shape) -> Iterator[str]:
    definition = target.definition
    engine = definition.engine.partition("(")[0]
    wanted_version = (sql.identifier(definition.version),) if definition.version else ()
    if shape.family.removeprefix("Replicated").removeprefix("Shared") != engine:
        yield f"has engine {shape.family}, not {engine}"
    elif definition.replicated and shape.family == engine:
        yield f"has engine {shape.family}, not Replicated{engine}"
    elif shape.versions != wanted_version or _counts_otherwise(target, shape):
        yield f"keeps the newest row by {_said(shape.versions)}, not {_wanted_version(target)}"
    for what, here, wanted in (
        ("partitioned", shape.partition, definition.partition),
        ("ordered", shape.order, sql.identifiers(definition.order)),
    ):
        if not is_spelled(target, here, wanted):
            yield f"is {what} by {here or 'nothing'}, not {wanted or 'nothing'}"


def same_storage(target: Target, shape: Shape) -> bool:
    """Tell whether a table is sliced, ordered and merged as the contract says."""
    return not any(_different_storage(target, shape))


def _counts_otherwise(target: Target, shape: Shape) -> bool:
    """Tell whether the hidden version is made of another column than the contract's."""
    wanted = next((each for each in target.definition.columns if each.name == VERSION), None)
    held = shape.columns.get(VERSION)
    return wanted is not None and held is not None and not is_spelled(target, held.value, wanted.value)


def _said(versions: tuple[str, ...]) -> str:
    said = ", ".join(versions).replace("`", "").replace(VERSION, "another column, which may be null")
    return said or "insertion"


def _wanted_version(target: Target) -> str:
    version = target.definition.version
    if version == VERSION:
        return f"{target.contract.version_by}, which may be null"
    return version or "insertion"


def is_spelled(target: Target, here: str, expression: str | None) -> bool:
    """Tell whether the store reports an expression so; it is only asked where quotes do not make the difference."""
    return here == _PLAIN_NAME.sub(r"\1", expression or "") or here == spelled(target, expression)


def spelled(target: Target, expression: str | None) -> str:
    """Return an expression as ClickHouse writes it, so that it compares with what it reports."""
    if expression is None:
        return ""
    rows = target.store.rows("SELECT formatQuerySingleLine({query:String})", query=f"SELECT {expression}")
    return str(rows[0][0]).removeprefix("SELECT ")
