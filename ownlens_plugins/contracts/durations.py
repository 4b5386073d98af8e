"""Lengths of time as contracts write them: 90m, 36h, 7d, or all."""

from __future__ import annotations

import re
from datetime import timedelta

ALL = "all"
_DURATION = re.compile(r"(0|[1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta | None:
    """Return a length of time; None for `all`, which has no end.

    Raises:
        ValueError: the text is none of these.
    """
    if text == ALL:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no length of time; write a number and s, m, h or d, such as 36h, or all")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def duration_text(length: timedelta | None) -> str:
    """Return a length of time in its greatest whole unit, as `parse_duration` reads it."""
    if length is None:
        return ALL
    seconds = int(length.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
