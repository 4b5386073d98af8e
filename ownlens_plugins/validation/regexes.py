r"""Regular expressions that mean the same to every store: read as Python reads them, written in what all understand.

The stores' own dialects differ without a word: `\w` and 'é', `.` and line breaks, `$` before a last line break. So an
expression is taken apart and spelt anew. Classes (`\d`, `\w`, `\s`) are those of ASCII, `.` is anything but a line
break, `^` and `$` are the ends of the whole text, and a match may lie anywhere in it.
"""

from __future__ import annotations

import re
import re._constants as ops  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import warnings
from collections.abc import Iterable
from typing import Any

_CLASSES = {
    ops.CATEGORY_DIGIT: ("0-9", False),
    ops.CATEGORY_NOT_DIGIT: ("0-9", True),
    ops.CATEGORY_WORD: ("0-9A-Za-z_", False),
    ops.CATEGORY_NOT_WORD: ("0-9A-Za-z_", True),
    ops.CATEGORY_SPACE: (" \t\n\r\f\v", False),
    ops.CATEGORY_NOT_SPACE: (" \t\n\r\f\v", True),
}
_ANCHORS = {ops.AT_BEGINNING: "^", ops.AT_BEGINNING_STRING: "^", ops.AT_END: "$", ops.AT_END_STRING: "$"}
_SPECIAL = frozenset("\\.^$*+?()[]{}|-&~#")
_SHORT = {"{0,}": "*", "{1,}": "+", "{0,1}": "?"}
_REPEATS = frozenset({ops.MAX_REPEAT, ops.MIN_REPEAT})
# PostgreSQL counts no further.
_MOST = 255


def portable(regex: str) -> str:
    """Return the expression as PostgreSQL, ClickHouse and DuckDB read it alike.

    Raises:
        ValueError: it is no regular expression, or it asks for what one of the stores cannot do.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            re.compile(regex)
            tree = parser.parse(regex)
    except (re.error, FutureWarning, OverflowError, RecursionError) as error:
        raise ValueError(f"{regex!r} is no regular expression: {error}") from None
    if tree.state.flags & ~re.UNICODE:
        raise ValueError(f"{regex!r} sets flags, which the stores do not have alike")
    if "\0" in regex:
        raise ValueError("a regular expression cannot hold a NUL character")
    return f"(?:{_sequence(tree, regex)})"


def _sequence(nodes: Iterable[Any], regex: str) -> str:
    return "".join(_one(op, value, regex) for op, value in nodes)


def _one(op: Any, value: Any, regex: str) -> str:
    if op is ops.LITERAL:
        return _literal(value)
    if op is ops.NOT_LITERAL:
        return f"[^{_literal(value)}]"
    if op is ops.ANY:
        return "[^\n]"
    if op is ops.AT and value in _ANCHORS:
        return _ANCHORS[value]
    if op is ops.IN:
        return _set(value, regex)
    return _group(op, value, regex)


def _group(op: Any, value: Any, regex: str) -> str:
    if op is ops.BRANCH:
        return f"(?:{'|'.join(_sequence(branch, regex) for branch in value[1])})"
    if op is ops.SUBPATTERN and not value[1] and not value[2]:
        return f"(?:{_sequence(value[3], regex)})"
    if op in _REPEATS:
        least, most, repeated = value
        return _repeat(least, most, repeated, regex)
    raise ValueError(f"{regex!r} needs {_named(op)}, which not every store has; write it with plain groups and classes")


def _repeat(least: int, most: Any, nodes: Any, regex: str) -> str:
    if least > _MOST or (most is not ops.MAXREPEAT and most > _MOST):
        raise ValueError(f"{regex!r} repeats more than {_MOST} times, which PostgreSQL cannot")
    if _anchored(nodes):
        raise ValueError(f"{regex!r} repeats an anchor, which PostgreSQL cannot")
    # Greedy or not decides how much is matched, never whether something is.
    times = f"{{{least},{'' if most is ops.MAXREPEAT else most}}}"
    return f"(?:{_sequence(nodes, regex)}){_SHORT.get(times, times)}"


def _anchored(nodes: Any) -> bool:
    found = str(list(nodes))
    return "(AT, " in found


def _set(items: list[tuple[Any, Any]], regex: str) -> str:
    negated = items[0][0] is ops.NEGATE
    members = items[1:] if negated else items
    if len(members) == 1 and members[0][0] is ops.CATEGORY:
        inside, outside = _CLASSES[members[0][1]]
        return f"[{'^' if negated != outside else ''}{inside}]"
    return f"[{'^' if negated else ''}{''.join(_member(op, value, regex) for op, value in members)}]"


def _member(op: Any, value: Any, regex: str) -> str:
    if op is ops.LITERAL:
        return _literal(value)
    if op is ops.RANGE:
        return f"{_literal(value[0])}-{_literal(value[1])}"
    inside, outside = _CLASSES[value]
    if outside:
        raise ValueError(f"{regex!r} has a negated class inside of brackets, which PostgreSQL cannot read")
    return inside


def _literal(code: int) -> str:
    character = chr(code)
    return f"\\{character}" if character in _SPECIAL else character


def _named(op: Any) -> str:
    names = {ops.ASSERT: "look-ahead or look-behind", ops.ASSERT_NOT: "look-ahead or look-behind"}
    names |= {ops.GROUPREF: "a back-reference", ops.AT: "a word boundary", ops.SUBPATTERN: "flags"}
    return names.get(op, str(op).lower().replace("_", " "))
