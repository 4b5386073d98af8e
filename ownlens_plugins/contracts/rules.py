"""What must hold inside one contract and between contracts, beyond the types of its fields."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import UnknownName
from .columns import Kind
from .contract import CURSOR_KINDS, KEY_KINDS, PARTITION_KINDS, VERSION_KINDS, Reference, TableContract
from .presets import Extraction

# PostgreSQL cuts longer names without an error, so two long names can become one.
MAX_NAME_BYTES = 63
RESERVED_PREFIX = "_ownlens"
_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")

Finding = tuple[tuple[str | int, ...], str]


def broken_rules(contract: TableContract) -> Iterator[Finding]:
    """Yield (place in the document, message) for everything wrong inside one contract."""
    for rule in _RULES:
        yield from rule(contract)


def _names(contract: TableContract) -> Iterator[Finding]:
    for place, name in [(("table",), contract.table), *((("columns", n), n) for n in contract.column_names)]:
        if reason := name_problem(name):
            yield place, f"name {name!r} {reason}"
    if _is_unprintable(contract.domain):
        yield ("domain",), f"domain {contract.domain!r} is empty or holds a control character"


def _is_unprintable(name: str) -> bool:
    # Each is a line's end, or no text at all, to something that names pass through.
    return not name or any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name)


def name_problem(name: str) -> str | None:
    """Return why a table or column name cannot be used, or None."""
    if _is_unprintable(name):
        return "is empty or holds a control character"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes, which PostgreSQL would cut"
    if name.casefold().startswith(RESERVED_PREFIX):
        return f"starts with {RESERVED_PREFIX!r}, which OwnLens keeps for itself"
    return None


def _path(contract: TableContract) -> Iterator[Finding]:
    if not _PATH.fullmatch(contract.path) or not {".", ".."}.isdisjoint(contract.path.split("/")):
        yield ("path",), f"path {contract.path!r} must be folder names joined by '/', without '..' or a leading '/'"


def _key(contract: TableContract) -> Iterator[Finding]:
    if len(set(contract.key)) != len(contract.key):
        yield ("key",), "key names a column twice"
    for index, name in enumerate(contract.key):
        yield from _column(contract, name, ("key", index), "key", KEY_KINDS)


def _partition(contract: TableContract) -> Iterator[Finding]:
    if contract.partition_by:
        yield from _column(contract, contract.partition_by, ("partition_by",), "partition_by", PARTITION_KINDS)


def _version(contract: TableContract) -> Iterator[Finding]:
    if contract.version_by:
        yield from _column(contract, contract.version_by, ("version_by",), "version_by", VERSION_KINDS, nullable=True)


def _cursor(contract: TableContract) -> Iterator[Finding]:
    if contract.cursor == (contract.version_by,):
        yield from _version_as_cursor(contract)
        return
    if len(set(contract.cursor)) != len(contract.cursor):
        yield ("cursor",), "cursor names a column twice"
    *first, last = contract.cursor or ("",)
    for name in first:
        yield from _column(contract, name, ("cursor",), "cursor", CURSOR_KINDS, nullable=True)
    if last:
        yield from _column(contract, last, ("cursor",), "cursor", CURSOR_KINDS)


def _version_as_cursor(contract: TableContract) -> Iterator[Finding]:
    name = contract.cursor[0]
    if name not in contract.column_names:
        return  # said of version_by already
    if contract.column(name).type.kind not in CURSOR_KINDS:
        # Look-backs are made of moments, so a version that counts cannot be the cursor too.
        yield ("version_by",), f"version_by column {name!r} is no moment; name a cursor column beside it"
    elif contract.column(name).nullable:
        yield (
            ("version_by",),
            (
                f"version_by column {name!r} may be null, so it alone cannot be the cursor; name a list that ends in a "
                f"column that is never null, such as cursor: [{name}, created_at]"
            ),
        )


def _cursor_zone(contract: TableContract) -> Iterator[Finding]:
    if contract.cursor_zone is None:
        return
    try:
        ZoneInfo(contract.cursor_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield ("cursor_zone",), f"cursor_zone {contract.cursor_zone!r} is no time zone, such as Europe/Berlin"


def _column(
    contract: TableContract,
    name: str,
    place: tuple[str | int, ...],
    role: str,
    kinds: frozenset[Kind],
    *,
    nullable: bool = False,
) -> Iterator[Finding]:
    if name not in contract.column_names:
        yield place, f"{role} names {name!r}, which is not a column"
        return
    column = contract.column(name)
    if column.nullable and not nullable:
        yield place, f"{role} column {name!r} must not be nullable"
    if column.type.kind not in kinds:
        yield place, f"{role} column {name!r} cannot be of type {column.type}"


def _days(contract: TableContract) -> Iterator[Finding]:
    if contract.extraction is not Extraction.DAYS:
        return
    column = contract.partition_by
    if column is None or column not in contract.column_names or contract.column(column).type.kind is not Kind.DATE:
        yield ("partition_by",), "extraction by days needs partition_by to name a date column"


def _references(contract: TableContract) -> Iterator[Finding]:
    for reference in contract.references:
        place = ("references", reference.column)
        if reference.column not in contract.column_names:
            yield place, f"references names {reference.column!r}, which is not a column"
        if not reference.table:
            yield place, f"reference of {reference.column!r} must read table.column"


def _strategies(contract: TableContract) -> Iterator[Finding]:
    for destination in contract.describe()["destinations"]:
        strategy = contract.options_for(destination).get("strategy")
        place = ("destinations", destination, "strategy")
        if strategy == "overwrite" and contract.extraction is not Extraction.WHOLE:
            yield place, f"{destination}: overwrite needs extraction: whole, or a load would drop the other rows"
        if strategy == "replace_partition" and not _holds_whole_days(contract, destination):
            yield (
                place,
                (
                    f"{destination}: replace_partition needs extraction: days with partition: day "
                    "(the replaced unit must be the staged unit), or extraction: whole"
                ),
            )
        if strategy == "upsert" and contract.version_by is None:
            yield place, f"{destination}: upsert needs version_by, so that an old load cannot undo a newer one"


def _deletes(contract: TableContract) -> Iterator[Finding]:
    strategies = {name: contract.options_for(name).get("strategy") for name in contract.describe()["destinations"]}
    if contract.deletes == "follow":
        for destination, strategy in strategies.items():
            if contract.extraction is Extraction.WINDOW and strategy != "upsert":
                yield (
                    ("deletes",),
                    (
                        f"deletes: follow needs {destination} to upsert, as its strategy {strategy} keeps rows that "
                        "are gone; use upsert there, deletes: keep, or whole tables or days"
                    ),
                )
        return
    for destination, strategy in strategies.items():
        if strategy in {"overwrite", "replace_partition"}:
            yield (
                ("deletes",),
                (
                    f"deletes: keep contradicts {destination}'s strategy {strategy}, which drops what is gone from the "
                    "source; use upsert there, or deletes: follow"
                ),
            )


def _retention(contract: TableContract) -> Iterator[Finding]:
    if contract.retention_days is None:
        return
    if contract.partition_by is None:
        yield ("retention_days",), "retention_days needs partition_by to name the column that tells a row's age"


def _holds_whole_days(contract: TableContract, destination: str) -> bool:
    if contract.extraction is Extraction.WHOLE:
        return True
    return contract.extraction is Extraction.DAYS and contract.options_for(destination).get("partition") == "day"


_RULES: tuple[Callable[[TableContract], Iterator[Finding]], ...] = (
    _names,
    _path,
    _key,
    _partition,
    _version,
    _cursor,
    _cursor_zone,
    _days,
    _references,
    _strategies,
    _deletes,
    _retention,
)


def broken_references(
    contracts: Mapping[str, TableContract], *, unread: Container[str] = ()
) -> Iterator[tuple[str, Finding]]:
    """Yield (table, finding) for references that no other contract answers; tables in `unread` are not judged."""
    for contract in contracts.values():
        for reference in contract.references:
            if reference.table not in unread and (message := _reference_problem(contract, reference, contracts)):
                yield contract.table, (("references", reference.column), message)
    yield from _cycles(contracts)


def _reference_problem(
    contract: TableContract, reference: Reference, contracts: Mapping[str, TableContract]
) -> str | None:
    parent = contracts.get(reference.table)
    if not reference.table or reference.column not in contract.column_names:
        return None  # reported as a broken rule of the contract itself
    if parent is None:
        return str(UnknownName("table", reference.table, contracts, where=f"reference of {reference.column!r}"))
    if parent.key != (reference.parent_column,):
        return f"reference must name the single key of {parent.table!r}, which is {', '.join(parent.key)}"
    theirs = parent.column(reference.parent_column) if reference.parent_column in parent.column_names else None
    if theirs is not None and theirs.type != contract.column(reference.column).type:
        return f"{reference.column!r} and {parent.table}.{reference.parent_column} have different types"
    return None


def _cycles(contracts: Mapping[str, TableContract]) -> Iterator[tuple[str, Finding]]:
    graph = _parents(contracts.values())
    while True:
        try:
            TopologicalSorter(graph).prepare()
            return
        except CycleError as error:
            child, parent, *_ = circle = _from_smallest([str(name) for name in reversed(error.args[1])])
        column = next(ref.column for ref in contracts[child].references if ref.table == parent)
        yield child, (("references", column), f"foreign keys form a circle: {' -> '.join(circle)}")
        graph[child].remove(parent)


def _from_smallest(circle: list[str]) -> list[str]:
    members = circle[:-1]
    first = members.index(min(members))
    return [*members[first:], *members[:first], members[first]]


def shared_paths(contracts: Mapping[str, TableContract]) -> Iterator[tuple[str, Finding]]:
    """Yield (table, finding) for tables that would lie in the lake folder of another table."""
    owners: dict[str, str] = {}
    for contract in contracts.values():
        owner = owners.setdefault(contract.path, contract.table)
        if owner != contract.table:
            yield contract.table, (("path",), f"path {contract.path!r} is the folder of table {owner!r} already")


def _parents(contracts: Iterable[TableContract]) -> dict[str, list[str]]:
    return {
        contract.table: sorted({ref.table for ref in contract.references if ref.table != contract.table})
        for contract in contracts
    }


def parents_first(contracts: Iterable[TableContract]) -> list[TableContract]:
    """Return the contracts ordered so that each follows the tables it references, as far as they are given."""
    by_name = {contract.table: contract for contract in contracts}
    order = TopologicalSorter(_parents(by_name.values())).static_order()
    return [by_name[name] for name in order if name in by_name]
