"""One canonical text for equal JSON values: the form in which PostgreSQL prints jsonb."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

# jsonb writes numbers out in full, so an exponent is a way to ask for megabytes of zeros.
MAX_EXPONENT = 1_000


def canonical_json(text: str) -> str:
    """Return JSON text with sorted keys, plain numbers and jsonb's spacing, so that every store holds the same text.

    Raises:
        ValueError: not JSON, a repeated key, NaN or infinity, a NUL or a lone surrogate: jsonb cannot hold these.
    """
    return _written(
        json.loads(text, object_pairs_hook=_object, parse_float=_number, parse_int=_number, parse_constant=_no)
    )


def _no(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise ValueError("holds a number that jsonb cannot keep")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("repeats a key in an object, which jsonb would drop")
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
        raise ValueError("holds a NUL character, which jsonb cannot keep")
    text.encode()  # a lone surrogate is no text; raises a ValueError
    return json.dumps(text, ensure_ascii=False)
