"""One canonical text for equal JSON values: the form in which PostgreSQL prints jsonb."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from .json_structure import MAX_DEPTH, Pairs, parse, too_deep, write
from .refusals import Unfit

_SURROGATE = re.compile("[\ud800-\udfff]")
# What jsonb itself can keep: digits before the point, and after it, where more would be rounded away.
MAX_DIGITS = 131_072
MAX_SCALE = 16_383
# jsonb writes numbers out in full, so an exponent is a way to ask for gigabytes of zeros. For one value:
MAX_ZEROS = 16 << 20
DEPTH_REASON = f"is nested more than {MAX_DEPTH:,} levels deep"


def canonical_json(text: str) -> str:
    """Return JSON text with sorted keys, plain numbers and jsonb's spacing, so that every store holds the same text.

    Raises:
        Unfit: not JSON, a repeated key, NaN or infinity, a NUL or a lone surrogate: jsonb cannot hold these; or more
            than `MAX_DEPTH` levels.
    """
    check_depth(text)
    try:
        values = parse(text, members=_object, number=_Numbers().read, constant=_no)
    except json.JSONDecodeError:
        raise Unfit("is not JSON") from None
    return write(values, members=_members, leaf=_leaf)


def json_of(value: Any) -> str:
    """Return the canonical text of a value of Python.

    Raises:
        Unfit: it holds NaN or infinity, or what `canonical_json` refuses.
    """
    try:
        return canonical_json(json.dumps(value, allow_nan=False))
    except Unfit:
        raise
    except ValueError:
        raise Unfit("holds NaN or infinity, which is not JSON") from None


def json_items(text: str) -> list[str | None]:
    """Return the items of a JSON array as texts; None for null.

    Raises:
        Unfit: it is no JSON array, or one that holds arrays or objects.
    """
    try:
        items = parse(text, members=dict, number=str, constant=str)
    except ValueError:
        raise Unfit("is not a JSON array") from None
    if not isinstance(items, list) or any(isinstance(item, list | dict) for item in items):
        raise Unfit("is not a JSON array of plain values")
    return [item if item is None or isinstance(item, str) else json.dumps(item) for item in items]


def check_depth(text: str) -> None:
    """Refuse JSON that is nested deeper than every reader of every store can follow.

    Raises:
        Unfit: it is.
    """
    if too_deep(text):
        raise Unfit(DEPTH_REASON)


def _no(name: str) -> Any:
    raise Unfit(f"holds {name}, which is not JSON")


class _Numbers:
    """Reads the numbers of one value."""

    def __init__(self) -> None:
        self._zeros = 0

    def read(self, text: str) -> Decimal:
        try:
            number = Decimal(text)
        except InvalidOperation:
            raise Unfit("holds a number that jsonb cannot keep") from None
        exponent = number.as_tuple().exponent
        if number.adjusted() >= MAX_DIGITS or exponent < -MAX_SCALE:  # type: ignore[operator]
            raise Unfit("holds a number that jsonb cannot keep")
        self._zeros += max(0, abs(number.adjusted()) - len(text))
        if self._zeros > MAX_ZEROS:
            raise Unfit("holds exponents that ask for more than 16 MiB of zeros")
        return number


def _object(pairs: Pairs) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise Unfit("repeats a key in an object, which jsonb would drop")
    return values


def _members(value: Any) -> list[tuple[str, Any]] | None:
    if not isinstance(value, dict):
        return None
    keys = sorted(value, key=lambda key: (len(key.encode(errors="surrogatepass")), key.encode(errors="surrogatepass")))
    return [(_quoted(key), value[key]) for key in keys]


def _leaf(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{abs(value) if value.is_zero() else value:f}"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    if "\0" in text:
        raise Unfit("holds a NUL character, which jsonb cannot keep")
    if _SURROGATE.search(text):
        raise Unfit("holds half of a character, which is no text")
    return json.dumps(text, ensure_ascii=False)
