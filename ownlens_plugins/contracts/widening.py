"""Which types hold every value of another one, unchanged: a column may get them while rows of the old one wait."""

from __future__ import annotations

from .columns import Kind, LogicalType

# Digits that an integer of each kind can have.
_DIGITS = {Kind.INT16: 5, Kind.INT32: 10, Kind.INT64: 19}
_WIDER = {
    Kind.INT16: frozenset({Kind.INT32, Kind.INT64, Kind.FLOAT32, Kind.FLOAT64}),
    Kind.INT32: frozenset({Kind.INT64, Kind.FLOAT64}),
    Kind.FLOAT32: frozenset({Kind.FLOAT64}),
    Kind.ENUM: frozenset({Kind.TEXT}),
}


def holds_all(new: LogicalType, old: LogicalType) -> bool:
    """Tell whether a type holds every value of an older one, so that a cast changes none."""
    if new.kind is Kind.DECIMAL:
        return _holds_digits(new, old)
    if new.element is not None and old.element is not None:
        return holds_all(new.element, old.element)
    if new.kind is Kind.ENUM and old.kind is Kind.ENUM:
        return {*old.labels} <= {*new.labels}
    return new == old or new.kind in _WIDER.get(old.kind, ())


def _holds_digits(new: LogicalType, old: LogicalType) -> bool:
    before = new.precision - new.scale
    if old.kind is Kind.DECIMAL:
        return new.scale >= old.scale and before >= old.precision - old.scale
    return old.kind in _DIGITS and before >= _DIGITS[old.kind]
