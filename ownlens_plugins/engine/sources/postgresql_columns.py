"""How each contract column is selected from PostgreSQL, so that no value changes on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...contracts import Column, TableContract
from ...errors import SourceInvalid, UnknownName
from .postgresql_types import NUMBERS, NativeType, Way, suiting, way
from .source import REFUSED_PREFIX


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def select_expressions(
    contract: TableContract, columns: Sequence[Column], native: Mapping[str, NativeType], *, schema: str
) -> list[str]:
    """Return the select list for columns of a contract.

    Raises:
        SourceInvalid: columns are missing in the source, or have types that the contract's types cannot take; all of
            them are named.
    """
    problems = [*_missing(contract, columns, native, schema), *_mismatched(columns, native)]
    if problems:
        raise SourceInvalid(f"{contract.table}: {'; '.join(problems)}")
    return [part for column in columns for part in _expressions(column, native[column.name])]


def _missing(
    contract: TableContract, columns: Sequence[Column], native: Mapping[str, NativeType], schema: str
) -> Iterator[str]:
    if missing := [column.name for column in columns if column.name not in native]:
        near = UnknownName("column", missing[0], native)
        yield (
            f"the source table {schema}.{contract.table} lacks {', '.join(map(repr, missing))} "
            f"({near}); add it there, or take it out of the contract"
        )


def _mismatched(columns: Sequence[Column], native: Mapping[str, NativeType]) -> Iterator[str]:
    pairs = [(column, native[column.name]) for column in columns if column.name in native]
    wrong = [
        f"column {column.name!r} is {given.shown} in the source, which {column.type} cannot take without changing "
        f"values (use {suiting(given)})"
        for column, given in pairs
        if way(column.type, given) is None
    ]
    if wrong:
        yield f"{', '.join(wrong)}; correct the contract's type{'s' if len(wrong) > 1 else ''}"


def _expressions(column: Column, native: NativeType) -> Iterator[str]:
    name = quote(column.name)
    how = way(column.type, native)
    assert how is not None
    if column.type.element is not None:
        yield from _unless(column.name, _odd_array(name), _array(name, native, how))
    elif how is Way.JSON:
        yield from _unless(column.name, _odd_json(name, native), f"to_jsonb({name})")
    else:
        yield f"{name}::text AS {name}" if how is Way.TEXT else name


def _unless(column: str, odd: str, expression: str) -> Iterator[str]:
    """Yield a value where it can be kept, and PostgreSQL's own text of it where it cannot."""
    name = quote(column)
    yield f"CASE WHEN {odd} THEN NULL ELSE {expression} END AS {name}"
    yield f"CASE WHEN {odd} THEN {name}::text END AS {quote(REFUSED_PREFIX + column)}"


def _array(name: str, native: NativeType, how: Way) -> str:
    if how is Way.TEXT:
        return f"{name}::text[]"
    # The driver does not look below the domain of an array's items.
    return f"{name}::pg_catalog.{quote(native.element)}[]" if native.of_domain else name


def _odd_array(name: str) -> str:
    # The driver flattens arrays of several dimensions and drops lower bounds, so such values are refused here.
    return f"(array_ndims({name}) > 1 OR array_lower({name}, 1) <> 1)"


def _odd_json(name: str, native: NativeType) -> str:
    # JSON has no lower bounds, which PostgreSQL prints in front of the array, nor NaN, infinities and a negative zero.
    odd = f"{name}::text LIKE '[%'"
    if native.element in NUMBERS:
        odd += f" OR {name}::text ~ '[af]|-0[,}}]'"
    return f"({odd})"
