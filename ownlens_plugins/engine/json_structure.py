"""Read and write JSON of any depth: nothing here depends on how much of Python's stack is left."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]  # public, but the stubs lack it
from typing import Any

# Levels of arrays and objects in each other. PostgreSQL's own limit depends on its stack, and lies above 5,000.
MAX_DEPTH = 1_000
Pairs = list[tuple[str, Any]]
_LEVELS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_TOKEN = re.compile(
    r'[ \t\n\r]*(?:(?P<sign>[\[\]{},:])|(?P<text>")|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)'
    r"(?![0-9A-Za-z.+-])|(?P<word>true|false|null|NaN|-?Infinity)\b|$)"
)
_WORDS = {"true": True, "false": False, "null": None}
_VALUE = frozenset({"[", "{", "text", "value"})
_AFTER = {"[": frozenset({",", "]"}), "{": frozenset({",", "}"})}
_FIRST = {"[": _VALUE | {"]"}, "{": frozenset({"text", "}"})}
_NEXT = {"[": _VALUE, "{": frozenset({"text"})}


def too_deep(text: str) -> bool:
    """Tell whether JSON text has more than `MAX_DEPTH` levels."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = deepest = 0
    for found in _LEVELS.finditer(text):
        depth += 1 if found[0] in "[{" else -1 if found[0] in "]}" else 0
        deepest = max(deepest, depth)
    return deepest > MAX_DEPTH


def parse(
    text: str, *, members: Callable[[Pairs], Any], number: Callable[[str], Any], constant: Callable[[str], Any]
) -> Any:
    """Return the value of JSON text, like `json.loads`: `members` makes objects, `constant` meets NaN and infinities.

    Raises:
        ValueError: it is not JSON, or what these three raise.
    """
    try:
        return json.loads(
            text, object_pairs_hook=members, parse_float=number, parse_int=number, parse_constant=constant
        )
    except RecursionError:
        # A faster parser with a shorter breath. How deep it comes depends on who calls, and on Python's version.
        return _assembled(_tokens(text, number, constant), members)


def _tokens(text: str, number: Callable[[str], Any], constant: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    position = 0
    while found := _TOKEN.match(text, position):
        position = found.end()
        if found["sign"]:
            yield found["sign"], None
        elif found["text"]:
            value, position = scanstring(text, position, True)
            yield "text", value
        elif found["number"]:
            yield "value", number(found["number"])
        elif found["word"]:
            yield "value", _WORDS[found["word"]] if found["word"] in _WORDS else constant(found["word"])
        else:
            return
    raise json.JSONDecodeError("no token", text, position)


def _assembled(tokens: Iterable[tuple[str, Any]], members: Callable[[Pairs], Any]) -> Any:
    # Keys and values alternate in the items of an object.
    opened: list[tuple[str, list[Any]]] = []
    allowed, value = _VALUE, None
    for kind, given in tokens:
        if kind not in allowed:
            raise json.JSONDecodeError("unexpected token", "", 0)
        if kind in "[{":
            opened.append((kind, []))
            allowed = _FIRST[kind]
        elif kind in ":,":
            allowed = _VALUE if kind == ":" else _NEXT[opened[-1][0]]
        else:
            value = _closed(*opened.pop(), members) if kind in "]}" else given
            allowed = _taken(opened, value)
    if opened or allowed:
        raise json.JSONDecodeError("unexpected end", "", 0)
    return value


def _closed(sign: str, items: list[Any], members: Callable[[Pairs], Any]) -> Any:
    return items if sign == "[" else members(list(zip(items[::2], items[1::2], strict=True)))


def _taken(opened: list[tuple[str, list[Any]]], value: Any) -> frozenset[str]:
    """Put a value, or a key, where it belongs; return what may follow."""
    if not opened:
        return frozenset()
    sign, items = opened[-1]
    items.append(value)
    return frozenset({":"}) if sign == "{" and len(items) % 2 else _AFTER[sign]


def write(value: Any, *, members: Callable[[Any], Pairs | None], leaf: Callable[[Any], str]) -> str:
    """Return JSON text. `members` gives the written keys and the values of an object, None for an array."""
    if not isinstance(value, dict | list):
        return leaf(value)
    pieces: list[str] = []
    todo: list[Any] = [value]  # texts that are done, and arrays and objects
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            pieces.append(item)
            continue
        pairs = members(item)
        inner = _items(((", ", each) for each in item) if pairs is None else _keyed(pairs), leaf)
        pieces.append("[" if pairs is None else "{")
        todo.append("]" if pairs is None else "}")
        if inner:  # the first item has no comma before it
            pieces.append(inner[0].removeprefix(", "))
            todo.extend(reversed(inner[1:]))
    return "".join(pieces)


def _keyed(pairs: Pairs) -> Iterator[tuple[str, Any]]:
    return ((f", {key}: ", each) for key, each in pairs)


def _items(given: Iterable[tuple[str, Any]], leaf: Callable[[Any], str]) -> list[Any]:
    inner: list[Any] = []
    for start, each in given:
        if isinstance(each, dict | list):
            inner += (start, each)
        else:
            inner.append(start + leaf(each))
    return inner
