"""What a column's values look like by its type and name, for columns that no recipe describes."""

from __future__ import annotations

import re

from ownlens_plugins.contracts import Column, Kind, TableContract

_SENTENCE = "$word(subjects) || ' ' || $word(verbs) || ' ' || $word(objects)"
_TEXTS = (
    (r"slug$", "'item-' || $k"),
    (r"headline|title|descript|message|note|comment|caption|biograph|standfirst", _SENTENCE),
    (r"reason", "$word(reasons)"),
    (r"_ip$", "'203.0.113.' || floor(1 + $u * 254)"),
    (r"website|url$", "'https://www.' || $word(nouns) || '-' || floor($u * 900) || '.example'"),
    (r"referrer", "$word(referrers)"),
    (r"locale", "$word(locales)"),
    (r"version$", "'1.' || floor($u * 12)"),
    (r"table", "$word(tables)"),
    (r"column", "$word(column_names)"),
    (r"name$", "initcap($word(adjectives) || ' ' || $word(nouns)) || ' ' || $k"),
    (r"", "$word(nouns) || '-' || floor($u * 1000)"),
)
_FUTURE = re.compile(r"^(due|expires|renews|review|licensed|ends|support_ends)_|until")
_LONG_AGO = re.compile(r"^(founded|launched|opened|hired|joined|released)_")
_TRUE_SHARE = {"is_active": 0.9, "is_success": 0.95, "cache_hit": 0.8, "is_dynamic": 0.6, "is_public": 0.6}
_LATER = "least($now, {%s} + $u * interval '2 days')"
_NUMBERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64, Kind.FLOAT32, Kind.FLOAT64, Kind.DECIMAL})
_INTEGERS = frozenset({Kind.INT16, Kind.INT32, Kind.INT64})
_BY_KIND = {
    Kind.UUID: "$uuid",
    Kind.BYTES: "$digest",
    Kind.ENUM: "$label",
    Kind.JSON: "jsonb_build_object('source', $word(beats), 'weight', round($u::numeric, 3), 'tags', $some(tags))",
    Kind.TIME: "make_time(6 + floor($u * 14)::int, 15 * floor($u(quarter) * 4)::int, 0)",
    Kind.TIMESTAMP: "$now - $u * interval '300 days'",
}


def rule_for(contract: TableContract, column: Column, *, is_change: bool) -> str:
    """Return the template of a column's value, without regard to nulls."""
    kind = column.type.kind
    if kind is Kind.TIMESTAMPTZ:
        return _instant(contract, column.name, is_change=is_change)
    if kind in _NUMBERS:
        return _number(contract, column)
    if kind is Kind.TEXT:
        return next(template for pattern, template in _TEXTS if re.search(pattern, column.name))
    if kind is Kind.DATE:
        return _date(contract, column.name)
    if kind is Kind.BOOL:
        return f"$u < {_TRUE_SHARE.get(column.name, 0.3)}"
    return _array(column) if column.type.element is not None else _BY_KIND[kind]


def event_time(contract: TableContract) -> str | None:
    """Return the column that says when a row's event happened, or None for rows that are no events."""
    name = contract.partition_by
    if name is None:
        return None
    if contract.column(name).type.kind is not Kind.DATE:
        return name
    return "event_timestamp" if "event_timestamp" in contract.column_names else None


def is_number(column: Column) -> bool:
    """Return whether a column holds plain numbers or truth values, which a correction may draw anew."""
    return column.type.kind in _NUMBERS or column.type.kind is Kind.BOOL


def _instant(contract: TableContract, name: str, *, is_change: bool) -> str:
    time = event_time(contract)
    if name in {"created_at", "updated_at"}:
        return "$now" if is_change else _stamp(contract, name, time)
    if name == time:
        return "$at"
    if _FUTURE.search(name):
        return "$now + $u * interval '200 days'"
    return _LATER % time if time else "$now - $u * interval '300 days'"


def _stamp(contract: TableContract, name: str, time: str | None) -> str:
    if contract.preset == "daily":
        return "least($now, $day + interval '25 hours' + $u * interval '2 hours')"
    if contract.preset == "reference" or time is None:
        return "{updated_at} - $u * interval '700 days'" if name == "created_at" else "$now - $u * interval '360 days'"
    if name == time:
        return "$at"
    if name == "created_at":
        return f"least($now, {{{time}}} + $u * interval '40 seconds')"
    return f"CASE WHEN $u(still) < 0.5 THEN {{{time}}} ELSE {{{time}}} + $u * ($now - {{{time}}}) END"


def _date(contract: TableContract, name: str) -> str:
    time = event_time(contract)
    if name == contract.partition_by and time:
        return f"({{{time}}})::date"
    if _FUTURE.search(name):
        return "$today + floor($u * 400)::int"
    return f"$today - floor($u * {9000 if _LONG_AGO.search(name) else 900})::int"


def _number(contract: TableContract, column: Column) -> str:
    low, high = _bounds(contract, column.name)
    integer = column.type.kind in _INTEGERS
    if high is not None:
        return f"floor({low} + ({high} + 1 - {low}) * $u)" if integer else f"{low} + ({high} - {low}) * $u"
    return f"floor({low} + 900 * $skew)" if integer else f"{low} + 900 * $skew"


def _bounds(contract: TableContract, column: str) -> tuple[float, float | None]:
    for check in contract.checks:
        for expectation, options in check.items():
            if expectation == "expect_column_values_to_be_between" and options.get("column") == column:
                return options.get("min_value", 0), options.get("max_value")
    return 0, 1 if column.endswith(("share", "score", "rate", "_x", "_y")) else None


def _array(column: Column) -> str:
    assert column.type.element is not None
    kind = column.type.element.kind
    if kind in _INTEGERS:
        return "$numbers(40)"
    return f"ARRAY[{', '.join(f'$u({letter}) - 0.5' for letter in 'abcdefgh')}]" if kind in _NUMBERS else "$some(tags)"
