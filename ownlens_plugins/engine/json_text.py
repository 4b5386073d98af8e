"""One canonical text for equal JSON values: the form in which PostgreSQL prints jsonb."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from .refusals import Unfit

_SURROGATE = re.compile("[\ud800-\udfff]")
# jsonb writes numbers out in full, so an exponent is a way to ask for megabytes of zeros.
MAX_EXPONENT = 1_000
# More digits after the point would be rounded away.
MAX_SCALE = 16_383


def canonical_json(text: str) -> str:
    """Return JSON text with sorted keys, plain numbers and jsonb's spacing, so that every store holds the same text.

    Raises:
        Unfit: not JSON, a repeated key, NaN or infinity, a NUL or a lone surrogate: jsonb cannot hold these.
    """
    try:
        values = json.loads(text, object_pairs_hook=_object, parse_float=_number, parse_int=_number, parse_constant=_no)
        return _written(values)
    except json.JSONDecodeError:
        raise Unfit("is not JSON") from None
    except RecursionError:
        raise Unfit("is nested too deeply") from None


def _no(name: str) -> Any:
    raise Unfit(f"holds {name}, which is not JSON")


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise Unfit("holds a number that jsonb cannot keep") from None
    if abs(number.adjusted()) > MAX_EXPONENT or number.as_tuple().exponent < -MAX_SCALE:  # type: ignore[operator]
        raise Unfit("holds a number that jsonb cannot keep")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise Unfit("repeats a key in an object, which jsonb would drop")
    return values


def _written(value: Any) -> str:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return "{" + ", ".join(f"{_quoted(key)}: {_written(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, Decimal):
        return f"{abs(value) if value.is_zero() else value:f}"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    if "\0" in text:
        raise Unfit("holds a NUL character, which jsonb cannot keep")
    if _SURROGATE.search(text):
        raise Unfit("holds half of a character, which is no text")
    return json.dumps(text, ensure_ascii=False)
