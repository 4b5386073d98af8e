"""Logical types: their spelling, their Arrow types, and what is no type."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownlens_plugins.contracts import Column, Kind, LogicalType, parse_type

PLAIN = [kind for kind in Kind if kind not in {Kind.DECIMAL, Kind.ENUM, Kind.ARRAY}]
labels = st.text(
    st.characters(exclude_characters=",()?", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1
)
scalars = st.one_of(
    st.sampled_from(PLAIN).map(LogicalType),
    st.integers(1, 38).flatmap(
        lambda precision: st.builds(
            LogicalType, st.just(Kind.DECIMAL), precision=st.just(precision), scale=st.integers(0, precision)
        )
    ),
)
elements = scalars.filter(lambda scalar: scalar.kind not in {Kind.JSON, Kind.BYTES})
types = st.one_of(
    scalars,
    st.lists(labels, min_size=1, max_size=4, unique=True).map(lambda names: LogicalType(Kind.ENUM, labels=(*names,))),
    elements.map(lambda element: LogicalType(Kind.ARRAY, element=element)),
)


@given(types, st.booleans())
def test_every_type_reads_back_from_its_own_text(logical: LogicalType, nullable: bool) -> None:
    column = Column("c", logical, nullable)
    assert parse_type(str(column)) == (logical, nullable)
    assert column.field.type == logical.arrow
    assert column.field.nullable is nullable


@pytest.mark.parametrize(
    ("text", "arrow"),
    [
        ("bool", pa.bool_()),
        ("int16", pa.int16()),
        ("float32", pa.float32()),
        ("decimal(38,0)", pa.decimal128(38, 0)),
        (" decimal( 12 , 2 ) ", pa.decimal128(12, 2)),
        ("uuid", pa.uuid()),
        ("json", pa.json_(pa.string())),
        ("time", pa.time64("us")),
        ("timestamp", pa.timestamp("us")),
        ("timestamptz", pa.timestamp("us", "UTC")),
        ("enum(draft, live)", pa.string()),
        ("array<decimal(9,3)>", pa.list_(pa.decimal128(9, 3))),
        ("array<uuid>", pa.list_(pa.uuid())),
    ],
)
def test_type_travels_as_its_arrow_type(text: str, arrow: pa.DataType) -> None:
    assert parse_type(text) == (parse_type(f"{text}?")[0], False)
    assert parse_type(text)[0].arrow == arrow


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown type ''"),
        ("?", "unknown type ''"),
        ("text??", "unknown type 'text\\?'"),
        ("Text", "unknown type 'Text'; known: bool, int16, int32, int64"),
        ("varchar(10)", "unknown type 'varchar\\(10\\)'"),
        ("decimal", "unknown type 'decimal'"),
        ("decimal(0,0)", "needs 1 <= precision <= 38"),
        ("decimal(39,2)", "needs 1 <= precision <= 38"),
        ("decimal(5,6)", "scale <= precision"),
        ("decimal(5,-2)", "unknown type"),
        ("enum()", "distinct, non-empty labels"),
        ("enum(a,a)", "distinct, non-empty labels"),
        ("enum(a,,b)", "distinct, non-empty labels"),
        ("array<array<int32>>", "use json for nested values"),
        ("array<json>", "use json for nested values"),
        ("array<int32?>", "unknown type 'int32\\?'"),
        ("array<>", "unknown type ''"),
    ],
)
def test_text_that_names_no_type_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_type(text)
