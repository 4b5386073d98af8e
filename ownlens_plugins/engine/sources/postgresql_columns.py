"""How each contract column is selected from PostgreSQL, so that no value changes on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...contracts import Column, Kind, TableContract
from ...errors import SourceInvalid, UnknownName
from .source import REFUSED_PREFIX


class NativeType(NamedTuple):
    """A column's type in the source; a domain counts as the type below it. `element` is that of an array's items."""

    name: str
    element: str
    is_enum: bool
    not_null: bool


_TEXTS = {"text", "varchar", "bpchar"}
# Types that the driver delivers exactly. Everything in _AS_TEXT is cast to text, which PostgreSQL prints exactly.
_NATIVE: Mapping[Kind, set[str]] = {
    Kind.BOOL: {"bool"},
    Kind.INT16: {"int2", "int4", "int8"},
    Kind.INT32: {"int2", "int4", "int8"},
    Kind.INT64: {"int2", "int4", "int8"},
    Kind.FLOAT32: {"float4"},
    Kind.FLOAT64: {"float4", "float8"},
    Kind.DECIMAL: {"numeric", "int2", "int4", "int8"},
    Kind.TEXT: _TEXTS,
    Kind.UUID: {"uuid"},
    Kind.JSON: {"jsonb"},
    Kind.BYTES: {"bytea"},
    Kind.DATE: {"date"},
    Kind.TIME: {"time"},
    Kind.TIMESTAMP: {"timestamp"},
    Kind.TIMESTAMPTZ: {"timestamptz"},
    Kind.ENUM: _TEXTS,
}
_AS_TEXT: Mapping[Kind, set[str]] = {
    Kind.INT16: {"numeric", "oid"},
    Kind.INT32: {"numeric", "oid"},
    Kind.INT64: {"numeric", "oid"},
    Kind.UUID: _TEXTS,
    Kind.JSON: {"json", *_TEXTS},
}


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def select_expressions(
    contract: TableContract, columns: Sequence[Column], native: Mapping[str, NativeType], *, schema: str
) -> list[str]:
    """Return the select list for columns of a contract.

    Raises:
        SourceInvalid: a column is missing in the source, or has a type that the contract's type cannot take.
    """
    missing = [column.name for column in columns if column.name not in native]
    if missing:
        near = UnknownName("column", missing[0], native)
        raise SourceInvalid(
            f"{contract.table}: the source table {schema}.{contract.table} lacks {', '.join(map(repr, missing))} "
            f"({near}); add it there, or take it out of the contract"
        )
    return [part for column in columns for part in _expressions(contract, column, native[column.name])]


def _expressions(contract: TableContract, column: Column, native: NativeType) -> Iterator[str]:
    name = quote(column.name)
    if column.type.kind is Kind.ARRAY:
        yield from _array(contract, column, native)
    elif native.name in _NATIVE[column.type.kind]:
        yield name
    elif native.name in _AS_TEXT.get(column.type.kind, set()) or _castable(column.type.kind, native):
        yield f"{name}::text AS {name}"
    else:
        raise _mismatch(contract, column, native.name)


def _castable(kind: Kind, native: NativeType) -> bool:
    return (kind is Kind.TEXT and native.name != "bytea") or (kind is Kind.ENUM and native.is_enum)


def _array(contract: TableContract, column: Column, native: NativeType) -> Iterator[str]:
    element = column.type.element
    assert element is not None
    if native.element not in _NATIVE[element.kind]:
        raise _mismatch(contract, column, native.name)
    # The driver flattens arrays of several dimensions and drops lower bounds, so such values are refused here.
    name = quote(column.name)
    odd = f"(array_ndims({name}) > 1 OR array_lower({name}, 1) <> 1)"
    yield f"CASE WHEN {odd} THEN NULL ELSE {name} END AS {name}"
    yield f"CASE WHEN {odd} THEN {name}::text END AS {quote(REFUSED_PREFIX + column.name)}"


def _mismatch(contract: TableContract, column: Column, native: str) -> SourceInvalid:
    return SourceInvalid(
        f"{contract.table}: column {column.name!r} is {native} in the source, which {column.type} cannot take "
        "without changing values; correct the contract's type"
    )
