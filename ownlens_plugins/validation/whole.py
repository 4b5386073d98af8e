"""Expectations about a column or the table as a whole, answered by counts."""

from __future__ import annotations

from fractions import Fraction

from ..contracts import Column
from .asking import Check, Inquiry, Rows, Verdict
from .judging import counted, mapped
from .literals import FLOATS, value_of
from .per_row import all_present, at_least, at_most, columns_of, is_in_set, lower_bound, upper_bound

# Names that no column can have: an alias must not hide one.
N, V, M = "_ownlens_n", "_ownlens_v", "_ownlens_m"


def row_count(check: Check, rows: Rows) -> Inquiry:  # noqa: ARG001
    (total,) = yield ["count(*)"]
    return counted(check, total)


def row_count_equals(check: Check, rows: Rows) -> Inquiry:  # noqa: ARG001
    (total,) = yield ["count(*)"]
    return Verdict(total == check.keywords["value"], {"observed_value": total})


def is_null(check: Check, rows: Rows) -> Inquiry:
    total, some = yield ["count(*)", rows.dialect.counted(rows.dialect.present(rows.named(check)))]
    return mapped(check, total, total, some)


def is_not_null(check: Check, rows: Rows) -> Inquiry:
    total, some = yield ["count(*)", rows.dialect.counted(rows.dialect.present(rows.named(check)))]
    return mapped(check, total, total, total - some)


def proportion_of_values(check: Check, rows: Rows) -> Inquiry:
    total, some = yield ["count(*)", rows.dialect.counted(rows.dialect.present(rows.named(check)))]
    return counted(check, Fraction(some, total) if total else 0)


def values_in_all(check: Check, rows: Rows) -> Inquiry:
    """Count rows without a value by column."""
    names = check.keywords["column_list"]
    total, *some = yield [
        "count(*)",
        *(rows.dialect.counted(rows.dialect.present(rows.columns[name])) for name in names),
    ]
    missing = {name: total - count for name, count in zip(names, some, strict=True) if count < total}
    return Verdict(not missing, {"observed_value": missing})


def references_exist(check: Check, rows: Rows) -> Inquiry:
    references = check.keywords["references"]
    lost = yield [rows.dialect.orphans(*reference) for reference in references]
    orphans = {column: count for (column, _, _), count in zip(references, lost, strict=True) if count}
    return Verdict(not orphans, {"observed_value": orphans})


def minimum(check: Check, rows: Rows) -> Inquiry:
    return _extreme(check, rows, largest=False)


def maximum(check: Check, rows: Rows) -> Inquiry:
    return _extreme(check, rows, largest=True)


def _extreme(check: Check, rows: Rows, *, largest: bool) -> Inquiry:
    # Counted rather than fetched: no value has to leave the store, nor to be read back from a driver's idea of it.
    column = rows.named(check)
    value, present, dialect = rows.value(column), rows.dialect.present(column), rows.dialect
    above = at_least(value, lower_bound(check, column.type), column.type, dialect) or ["1 = 1"]
    below = at_most(value, upper_bound(check, column.type), column.type, dialect) or ["1 = 1"]
    one, each = (above, below) if largest else (below, above)
    asked = [present, f"{present} AND {one[0]}", f"{present} AND {each[0]}", f"{present} AND {_is_nan(column, rows)}"]
    some, reaching, within, nan = yield [dialect.counted(condition) for condition in asked]
    return Verdict(some > 0 and not nan and reaching > 0 and within == some, {"observed_value": None})


def _is_nan(column: Column, rows: Rows) -> str:
    return rows.dialect.is_nan(rows.value(column)) if column.type.kind in FLOATS else "1 = 0"


def unique(check: Check, rows: Rows) -> Inquiry:
    """Rows whose values are found in more than one row do not comply. A NaN is the same as another."""
    columns = columns_of(check, rows)
    present = all_present(columns, rows)
    total, some, repeated = yield ["count(*)", rows.dialect.counted(present), _repeated(columns, present, rows)]
    return mapped(check, total, some, repeated)


def _repeated(columns: list[Column], present: str, rows: Rows) -> str:
    values = ", ".join(rows.value(column) for column in columns)
    groups = (
        f"SELECT count(*) AS {N} FROM {rows.dialect.relation} WHERE {present} GROUP BY {values} HAVING count(*) > 1"
    )
    return f"(SELECT coalesce(sum({N}), 0) FROM ({groups}) AS g)"


def distinct_count(check: Check, rows: Rows) -> Inquiry:
    (distinct,) = yield [_distinct(rows.named(check), rows)]
    return counted(check, distinct)


def proportion_of_distinct(check: Check, rows: Rows) -> Inquiry:
    column = rows.named(check)
    some, distinct = yield [rows.dialect.counted(rows.dialect.present(column)), _distinct(column, rows)]
    return counted(check, Fraction(distinct, some) if some else 0)


def _distinct(column: Column, rows: Rows) -> str:
    groups = f"SELECT count(*) AS {N} FROM {rows.dialect.relation} WHERE {rows.dialect.present(column)}"
    return f"(SELECT count(*) FROM ({groups} GROUP BY {rows.value(column)}) AS g)"


def distinct_in_set(check: Check, rows: Rows) -> Inquiry:
    (outside,) = yield [_outside(check, rows)]
    return Verdict(not outside, {"observed_value": None})


def distinct_contain_set(check: Check, rows: Rows) -> Inquiry:
    members = yield _members(check, rows)
    return Verdict(all(members), {"observed_value": None, "missing_count": members.count(0)})


def distinct_equal_set(check: Check, rows: Rows) -> Inquiry:
    outside, *members = yield [_outside(check, rows), *_members(check, rows)]
    return Verdict(not outside and all(members), {"observed_value": None})


def _outside(check: Check, rows: Rows) -> str:
    return rows.dialect.counted(f"{rows.dialect.present(rows.named(check))} AND NOT ({is_in_set(check, rows)})")


def _members(check: Check, rows: Rows) -> list[str]:
    column, dialect = rows.named(check), rows.dialect
    values = dict.fromkeys(value_of(written, column.type) for written in check.keywords["value_set"])
    value, present = rows.value(column), dialect.present(column)
    return [dialect.counted(f"{present} AND {value} = {dialect.literal(one, column.type)}") for one in values]


def most_common(check: Check, rows: Rows) -> Inquiry:
    """The values that occur most often: one of them is in the set; all of them, and there is but one, without ties."""
    column, dialect = rows.named(check), rows.dialect
    values = [value_of(written, column.type) for written in check.keywords["value_set"]]
    inside = dialect.one_of(V, values, column.type)
    modes, known = yield [_modes(column, rows), _modes(column, rows, where=f" AND {inside}")]
    ties = bool(check.keywords.get("ties_okay"))
    return Verdict(known > 0 if ties else modes == known == 1, {"observed_value": None})


def _modes(column: Column, rows: Rows, where: str = "") -> str:
    present, value = rows.dialect.present(column), rows.value(column)
    values = f"SELECT {value} AS {V} FROM {rows.dialect.relation} WHERE {present}"
    groups = f"SELECT {V}, count(*) AS {N} FROM ({values}) AS a GROUP BY {V}"
    ranked = f"SELECT {V}, {N}, max({N}) OVER () AS {M} FROM ({groups}) AS b"
    return f"(SELECT count(*) FROM ({ranked}) AS c WHERE {N} = {M}{where})"
