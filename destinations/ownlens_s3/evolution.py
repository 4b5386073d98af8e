"""May this contract load into the table that is there? It follows where no value is lost, unless it is frozen."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ownlens_plugins.contracts import Column, Kind, LogicalType, TableContract, parse_type
from ownlens_plugins.errors import Rejected

from .columns import lake_type, tag


@dataclass(frozen=True, slots=True)
class HeldColumn:
    """A column of the table in the lake. `tag` is its logical type; empty when another program made the table."""

    tag: str
    physical: str
    nullable: bool

    @property
    def words(self) -> str:
        return self.tag or self.physical


def held(column: Column) -> HeldColumn:
    return HeldColumn(tag(column.type), str(lake_type(column.type)), column.nullable)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a table needs before a contract can load into it.

    `added` are columns that it lacks, `widened` those that must hold more, `relaxed` the names of columns that left the
    contract and may no longer be required, `dropped` the names of those that leave the table as well.
    """

    added: tuple[Column, ...] = ()
    widened: tuple[Column, ...] = ()
    relaxed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.widened or self.relaxed or self.dropped)


@dataclass(frozen=True, slots=True)
class _Difference:
    """A column that is not as the contract says; a `lossless` one is made to fit, unless the policy is freeze."""

    words: str
    lossless: bool


def changes(contract: TableContract, table: Mapping[str, HeldColumn]) -> Changes:
    """Return what the table must get so that the contract fits; what it holds already stays as it is.

    Raises:
        Rejected: it differs in a way that would lose values, or the contract's policy is freeze. All such columns are
            named.
    """
    differences = _differences(contract, table)
    if refused := [each for each in differences if contract.schema_policy == "freeze" or not each.lossless]:
        raise _refusal(contract, refused)
    own = set(contract.column_names)
    left = [(name, there) for name, there in table.items() if name not in own]
    # Columns that another program made are not ours to drop.
    dropped = [name for name, there in left if contract.drop_columns and there.tag]
    return Changes(
        added=tuple(column for column in contract.columns if column.name not in table),
        widened=tuple(
            contract.column(name) for name in table if name in own and _differs(contract.column(name), table[name])
        ),
        relaxed=tuple(name for name, there in left if not there.nullable and name not in dropped),
        dropped=tuple(dropped),
    )


def _differences(contract: TableContract, table: Mapping[str, HeldColumn]) -> list[_Difference]:
    own = {column.name: column for column in contract.columns}
    there = [_held_difference(own.get(name), name, held) for name, held in table.items()]
    return [each for each in (*there, *_lacking(contract, table)) if each is not None]


def _held_difference(wanted: Column | None, name: str, there: HeldColumn) -> _Difference | None:
    if wanted is None:
        return _Difference(f"has column {name!r}, which the contract lacks", True)
    if not _differs(wanted, there):
        return None
    if has_type(wanted, there):
        return _Difference(f"requires {name!r} and the contract makes it nullable", bool(there.tag))
    words = f"holds {name!r} as {there.words} and the contract says {wanted.type}"
    return _Difference(words, bool(there.tag) and _holds_all(there.tag, wanted.type))


def _lacking(contract: TableContract, table: Mapping[str, HeldColumn]) -> Iterator[_Difference]:
    spelt = {name.lower(): name for name, held in table.items() if not (contract.drop_columns and held.tag)}
    for column in contract.columns:
        if column.name in table:
            continue
        other = spelt.get(column.name.lower())
        if other is not None and other not in contract.column_names:
            yield _Difference(f"has {other!r}, which it cannot tell from {column.name!r}", False)
        elif column.nullable:
            yield _Difference(f"lacks column {column.name!r}", True)
        else:
            yield _Difference(f"lacks column {column.name!r}, which it can get as {column.type}?", False)


def fits(contract: TableContract, table: Mapping[str, HeldColumn]) -> bool:
    """Tell whether rows of the contract can go into the table as it is."""
    own = {column.name: table.get(column.name) for column in contract.columns}
    left = (held for name, held in table.items() if name not in own)
    return all(held is not None and not _differs(contract.column(name), held) for name, held in own.items()) and all(
        held.nullable for held in left
    )


def is_alike(contract: TableContract, table: Mapping[str, HeldColumn]) -> bool:
    """Tell whether the table has the contract's columns and no others, with the same types and rights to be null."""
    return table.keys() == set(contract.column_names) and all(
        has_type(column, table[column.name]) and column.nullable == table[column.name].nullable
        for column in contract.columns
    )


def require_key(contract: TableContract, key: Collection[str]) -> None:
    """Check that rows which a merge finds by their key are one row a key; `key` is that of the newest load, or empty.

    Raises:
        Rejected: the rows there were told apart by other columns.
    """
    if key and set(key) != set(contract.key):
        raise Rejected(
            f"{contract.table}: the rows in s3 are told apart by {sorted(key)} and the contract's key is "
            f"{sorted(contract.key)}; change it back, or replace the table with --full-refresh"
        )


def _differs(wanted: Column, there: HeldColumn) -> bool:
    return not has_type(wanted, there) or (wanted.nullable and not there.nullable)


def has_type(wanted: Column, there: HeldColumn) -> bool:
    """Tell whether a column has the contract's logical type; by its plain type when another program made it."""
    return there.tag == tag(wanted.type) if there.tag else there.physical == str(lake_type(wanted.type))


_WIDER: Mapping[Kind, frozenset[Kind]] = {
    Kind.INT16: frozenset({Kind.INT32, Kind.INT64}),
    Kind.INT32: frozenset({Kind.INT64}),
    Kind.FLOAT32: frozenset({Kind.FLOAT64}),
}


def _holds_all(old_tag: str, new: LogicalType) -> bool:
    """Tell whether a type holds every value of another one, unchanged."""
    if old_tag == Kind.ENUM.value:
        return new.kind is Kind.TEXT
    old, _ = parse_type(old_tag)
    return _is_wider(old, new)


def _is_wider(old: LogicalType, new: LogicalType) -> bool:
    if old.element is not None:
        return new.element is not None and (old.element == new.element or _is_wider(old.element, new.element))
    if old.kind is Kind.DECIMAL and new.kind is Kind.DECIMAL:
        return new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale
    return new.kind in _WIDER.get(old.kind, ())


def _refusal(contract: TableContract, refused: Sequence[_Difference]) -> Rejected:
    reasons = "; ".join(each.words for each in refused)
    back = "change the contract back"
    if contract.schema_policy == "freeze":
        reasons = f"{reasons}; schema_policy is freeze"
        back = f"{back}, set schema_policy: evolve" if all(each.lossless for each in refused) else back
    return Rejected(f"{contract.table}: the table in s3 {reasons}: {back}, or replace it with --full-refresh")


def require_distinct_names(contract: TableContract) -> None:
    """Check that no two columns differ only by case: a Delta table cannot hold both.

    Raises:
        Rejected: naming one such pair.
    """
    seen: dict[str, str] = {}
    for name in contract.column_names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise Rejected(
                f"{contract.table}: s3 cannot hold columns {other!r} and {name!r} in one Delta table, "
                "which ignores case; rename one, or use format: parquet, strategy: overwrite and extraction: whole"
            )
