"""Create a contract's table, add columns, make them wider, and refuse every other difference before data moves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ownlens_plugins.contracts import Kind
from ownlens_plugins.errors import Rejected, Retryable

from . import sql
from .definition import NULL_FLAG, VERSION, ColumnDefinition
from .target import Target
from .widening import widens

_REFRESH = "load it with --full-refresh, which builds the table anew, or restore the contract"

# A quoted string, a quoted name, or a plain name; quotes inside are escaped.
_ONE = r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\w+"
_ARGUMENT = re.compile(_ONE)
_ARGUMENTS = re.compile(rf"\w+\(((?:{_ONE}|, )*)\)")


@dataclass(frozen=True, slots=True)
class Found:
    """A table as the store describes it; expressions in ClickHouse's own spelling."""

    columns: Mapping[str, str]
    family: str
    versions: list[str]
    partition: str
    order: str
    ttl: str


def ensure(target: Target, *, replaced: bool) -> None:
    """Make the table fit its contract.

    `replaced` says that the load replaces the whole table, so that only its columns must fit.

    Raises:
        Rejected: the table differs in a way that only a person can decide about.
    """
    found = _find(target)
    if found is None:
        target.store.run(sql.create_target(target.name, target.definition))
        return
    added = [each for each in _missing(target, found) if not (replaced and each.name == VERSION)]
    _refuse_differences(target, found, added, replaced=replaced)
    # One statement, so that no crash can come between. It returns when the rows are rewritten; until then, and if the
    # server stops before, ClickHouse converts what it reads. A table that is replaced need not be rewritten first.
    widened = [] if replaced else _widened(target, found.columns)
    if added or widened:
        target.store.run(sql.change_columns(target.name, added, widened))
    if not replaced and found.ttl != _spelled(target, target.definition.ttl):
        target.store.run(sql.change_ttl(target.name, target.definition.ttl))


def stored(target: Target) -> list[str]:
    """Return the columns that the target's rows consist of, hidden ones among them."""
    rows = target.store.rows(
        "SELECT name FROM system.columns WHERE database = {database:String} AND table = {table:String} "
        "AND default_kind NOT IN ('ALIAS', 'EPHEMERAL') ORDER BY position",
        database=target.store.database,
        table=target.table,
    )
    return [str(row[0]) for row in rows]


def align(target: Target, stage: str) -> bool:
    """Give a staged table the columns and types that the target has gained since; tell whether it is like it now."""
    here, there = _columns(target, target.table), _columns(target, stage)
    defined = {each.name: each for each in target.definition.columns}
    added = [_for_rows_of(there, defined.get(name, _unknown(name, kind))) for name, kind in here.items()]
    added = [each for each in added if each.name not in there]
    # Never the other way round: ClickHouse cuts numbers to fit without a word.
    movable = {name: kind for name, kind in here.items() if name in there and name not in _fixed(target)}
    widened = [
        ColumnDefinition(name, kind)
        for name, kind in movable.items()
        if kind != there[name] and widens(there[name], kind)
    ]
    if added or widened:
        target.store.run(sql.change_columns(target.store.name(stage), added, widened))
    like = {**there, **{each.name: each.type for each in (*added, *widened)}}
    return like == here


def require_alike(target: Target, stage: str) -> None:
    """Align a staged table before its load is begun: a begun load must be able to land.

    Raises:
        Retryable: somebody has changed the table since the load was opened, which looks at it anew next time.
    """
    if not align(target, stage):
        raise Retryable(f"{target.table}: clickhouse: the table's columns changed while it was loaded; run it again")


def _unknown(name: str, kind: str) -> ColumnDefinition:
    return ColumnDefinition(name, kind, hidden=name.startswith(NULL_FLAG))


def _for_rows_of(columns: Mapping[str, str], column: ColumnDefinition) -> ColumnDefinition:
    # Arrays that are there already were not null; those that are not there are.
    array = column.name.removeprefix(NULL_FLAG)
    return replace(column, value="false") if column.is_flag and array in columns else column


def _find(target: Target) -> Found | None:
    rows = target.store.rows(
        "SELECT engine_full, partition_key, sorting_key FROM system.tables "
        "WHERE database = {database:String} AND name = {table:String}",
        database=target.store.database,
        table=target.table,
    )
    if not rows:
        return None
    engine, partition, order = (str(value) for value in rows[0])
    ttl = re.search(r" TTL (.*?)(?: SETTINGS |$)", engine)
    family = re.match(r"\w*", engine)
    return Found(
        _columns(target, target.table),
        family[0] if family else "",
        _versions(engine),
        partition,
        order,
        ttl[1] if ttl else "",
    )


def _versions(engine: str) -> list[str]:
    """Return the columns among an engine's arguments, quoted; replicated ones also have strings, a path and a name."""
    arguments = _ARGUMENTS.match(engine)
    found = _ARGUMENT.findall(arguments[1]) if arguments else []
    return [each if each.startswith("`") else sql.identifier(each) for each in found if not each.startswith("'")]


def _columns(target: Target, table: str) -> dict[str, str]:
    rows = target.store.rows(
        "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String} "
        "ORDER BY position",
        database=target.store.database,
        table=table,
    )
    return {str(name): str(kind) for name, kind in rows}


def _missing(target: Target, found: Found) -> Iterator[ColumnDefinition]:
    for column in target.definition.columns:
        if column.name not in found.columns:
            yield _for_rows_of(found.columns, column)


def _widened(target: Target, columns: Mapping[str, str]) -> list[ColumnDefinition]:
    wanted = (each for each in target.definition.columns if each.name in columns)
    return [each for each in wanted if columns[each.name] != each.type and _holds(target, columns[each.name], each)]


def _holds(target: Target, kind: str, column: ColumnDefinition) -> bool:
    # Labels are text, and text, documents and bytes are all of one type here: labels may become text only.
    was_dictionary = kind.startswith("LowCardinality(") and not column.type.startswith("LowCardinality(")
    if was_dictionary and "String" in kind and target.contract.column(column.name).type.kind is not Kind.TEXT:
        return False
    return widens(kind, column.type)


def _fixed(target: Target) -> frozenset[str]:
    """Return the columns that ClickHouse orders and slices the table by, which no statement can change."""
    return frozenset((*target.definition.order, *filter(None, [target.contract.partition_by])))


def _refuse_differences(target: Target, found: Found, added: list[ColumnDefinition], *, replaced: bool) -> None:
    for problem, fix in _different_columns(target, found, replaced=replaced):
        raise _refusal(target, problem, fix)
    for column in added:
        if column.name == VERSION:
            raise _refusal(target, "keeps the newest row by a version that is never null", _REFRESH)
        if target.contract.schema_policy == "freeze":
            raise _refusal(
                target, f"has no column {column.name!r}", "set schema_policy: evolve or add the column yourself"
            )
        if not column.can_be_added:
            raise _refusal(
                target, f"has no column {column.name!r}", "make it nullable in the contract or drop the table"
            )
    for problem in () if replaced else _different_storage(target, found):
        raise _refusal(target, problem, "run a full refresh, which builds the table anew, or restore the contract")


def _refusal(target: Target, problem: str, fix: str) -> Rejected:
    return Rejected(f"{target.table}: clickhouse table {target.store.database}.{target.table} {problem}; {fix}")


def _different_columns(target: Target, found: Found, *, replaced: bool) -> Iterator[tuple[str, str]]:
    wanted = {column.name: column.type for column in target.definition.columns}
    widened = {each.name for each in _widened(target, found.columns)}
    for name, kind in found.columns.items():
        if name == VERSION and replaced:  # it goes with the engine
            continue
        if name not in wanted:
            yield f"has a column {name!r} that the contract lacks", "add it to the contract or drop the column"
        elif wanted[name] != kind:
            fix = "restore its type and options in the contract, or drop the table"
            if name in widened:
                fix = _fix_of_wider(target, name, replaced=replaced)
            if fix:
                yield f"has column {name!r} as {kind}, not {wanted[name]}", fix


def _fix_of_wider(target: Target, name: str, *, replaced: bool) -> str:
    """Return what a person must do before a column can become wider; nothing when OwnLens does it."""
    bound = name in _fixed(target) and not replaced
    if target.contract.schema_policy == "freeze":
        return "set schema_policy: evolve" + (f" and {_REFRESH}" if bound else " or change the column yourself")
    return _REFRESH if bound else ""


def _different_storage(target: Target, found: Found) -> Iterator[str]:
    definition = target.definition
    engine = definition.engine.partition("(")[0]
    wanted_version = [sql.identifier(definition.version)] if definition.version else []
    if found.family.removeprefix("Replicated").removeprefix("Shared") != engine:
        yield f"has engine {found.family}, not {engine}"
    elif definition.replicated and found.family == engine:
        yield f"has engine {found.family}, not Replicated{engine}"
    elif found.versions != wanted_version:
        versions = ", ".join(found.versions).replace("`", "") or "insertion"
        yield f"keeps the newest row by {versions}, not {definition.version or 'insertion'}"
    for what, here, wanted in (
        ("partitioned", found.partition, definition.partition),
        ("ordered", found.order.removeprefix("(").removesuffix(")"), sql.identifiers(definition.order)),
    ):
        if here != _spelled(target, wanted):
            yield f"is {what} by {here or 'nothing'}, not {wanted or 'nothing'}"


def _spelled(target: Target, expression: str | None) -> str:
    """Return an expression as ClickHouse writes it, so that it compares with what it reports."""
    if expression is None:
        return ""
    rows = target.store.rows("SELECT formatQuerySingleLine({query:String})", query=f"SELECT {expression}")
    return str(rows[0][0]).removeprefix("SELECT ")
