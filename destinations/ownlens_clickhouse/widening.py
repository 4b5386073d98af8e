"""Which changes of a column's type keep every value that is there as it is."""

from __future__ import annotations

import re

# Each holds all that the ones before it hold. Decimals are compared by their digits.
_WIDER = (("Int16", "Int32", "Int64"), ("Float32", "Float64"))
_DECIMAL = re.compile(r"Decimal\((\d+), (\d+)\)")


def widens(old: str, new: str) -> bool:
    """Tell whether a type holds every value of another one, exactly; both as ClickHouse spells them.

    A column may cease to be a dictionary, as one does whose labels become text, and it may become nullable.
    """
    here, there = _inside("LowCardinality", old), _inside("LowCardinality", new)
    if there is not None and here is None:
        return False
    return _nullable_widens(here or old, there or new)


def _nullable_widens(old: str, new: str) -> bool:
    here, there = _inside("Nullable", old), _inside("Nullable", new)
    if here is not None and there is None:
        return False
    return _plain_widens(here or old, there or new)


def _plain_widens(old: str, new: str) -> bool:
    here, there = _inside("Array", old), _inside("Array", new)
    if here is not None and there is not None:
        return _nullable_widens(here, there)
    return old == new or _decimal_widens(old, new) or any(_is_later(old, new, kinds) for kinds in _WIDER)


def _is_later(old: str, new: str, kinds: tuple[str, ...]) -> bool:
    return old in kinds and new in kinds and kinds.index(old) < kinds.index(new)


def _decimal_widens(old: str, new: str) -> bool:
    here, there = _DECIMAL.fullmatch(old), _DECIMAL.fullmatch(new)
    if here is None or there is None:
        return False
    (digits, scale), (more, finer) = ((int(each[1]), int(each[2])) for each in (here, there))
    # As many digits before the point, and as many after it.
    return more - finer >= digits - scale and finer >= scale


def _inside(wrapper: str, kind: str) -> str | None:
    prefix = f"{wrapper}("
    return kind[len(prefix) : -1] if kind.startswith(prefix) else None
