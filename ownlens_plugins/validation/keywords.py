"""The keywords of expectations, each read strictly: a wrong type is told, never converted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .literals import number_of
from .regexes import portable

Reader = Callable[[Any], None]


def name(written: Any) -> None:
    if not isinstance(written, str):
        raise ValueError(f"{written!r} is no column's name")


def names(written: Any) -> None:
    if not isinstance(written, list) or not all(isinstance(one, str) for one in written):
        raise ValueError("needs a list of columns")
    if len(written) < 2 or len(set(written)) != len(written):
        raise ValueError("needs at least two columns, none of them twice")


def flag(written: Any) -> None:
    if not isinstance(written, bool):
        raise ValueError(f"{written!r} is neither true nor false")


def count(written: Any) -> None:
    if isinstance(written, bool) or not isinstance(written, int) or written < 0:
        raise ValueError(f"{written!r} is no whole number from 0 on")


length = count


def number(written: Any) -> None:
    number_of(written)


def moment_or_number(written: Any) -> None:
    """Leave it to the column's type."""
    if isinstance(written, bool | dict | list):
        raise ValueError(f"{written!r} bounds nothing")


def proportion(written: Any) -> None:
    if not 0 <= number_of(written) <= 1:
        raise ValueError(f"{written} is no proportion; it lies between 0 and 1")


def values(written: Any) -> None:
    if not isinstance(written, list) or not written:
        raise ValueError("needs a list of at least one value")


def pairs(written: Any) -> None:
    if not isinstance(written, list) or not written or not all(_is_pair(one) for one in written):
        raise ValueError("needs a list of pairs, such as [[1, a], [2, b]]")


def _is_pair(written: Any) -> bool:
    return isinstance(written, list | tuple) and len(written) == 2


def regex(written: Any) -> None:
    if not isinstance(written, str):
        raise ValueError(f"{written!r} is no regular expression")
    portable(written)


def regexes(written: Any) -> None:
    if not isinstance(written, list) or not written:
        raise ValueError("needs a list of at least one regular expression")
    for one in written:
        regex(one)


def one_of(*words: str) -> Reader:
    """Return a reader that takes these words only."""

    def read(written: Any) -> None:
        if written not in words:
            raise ValueError(f"{written!r} is none of {', '.join(words)}")

    return read
