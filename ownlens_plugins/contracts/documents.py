"""Parse one contract file into plain values, with the line of each and everything that YAML misreads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from ..errors import Problem
from .contract import TableContract

Place = tuple[str | int, ...]

_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NULL = frozenset({"", "~", "null"})
# YAML 1.1 reads these as booleans, octal or base-60 numbers, or dates, which nobody means in a contract.
_ACCIDENT = re.compile(
    r"(?i:yes|no|on|off|y|n|true|false|null)|[-+]?0[0-9_]+|[-+]?[0-9]+(:[0-9]+)+|[0-9]{4}-[0-9]{2}-[0-9]{2}.*"
)
MAX_BYTES = 256 * 1024
SUFFIXES = (".yaml", ".yml")
_FORBIDDEN = {
    yaml.AnchorToken: "anchors are not allowed in a contract; write the value out",
    yaml.AliasToken: "aliases are not allowed in a contract; write the value out",
    yaml.TagToken: "tags are not allowed in a contract; quote text, and leave numbers plain",
}
# What people meant, by the parser's words.
_CURES = {
    "got '?'": "inside of { } and [ ] quote a text that holds a question mark, such as 'text?'",
    "got ':'": "close the bracket, or put a comma between the entries and quote a text that holds a colon",
    "<stream end>": "close the bracket",
    "end of stream": "close the quote",
    "'\\t'": "indent with blanks",
    "cannot start any token": "quote a text that begins with this character",
    "unknown escape": "quote it with ' instead of \"",
    "found '<scalar>'": "quote the whole text with ', and write each ' inside of it twice",
    "mapping values are not allowed": "quote a text that holds a colon, and give each line before it one",
    "<block mapping start>": "indent keys of one mapping alike",
    "<block end>": "indent keys of one mapping alike",
}


@dataclass
class Document:
    """A parsed file: plain values, the line of each place, and what was wrong on the way."""

    file: str
    values: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    # Places whose value was misread by YAML's rules; nothing more is said about those.
    accidents: set[Place] = field(default_factory=set)
    # The contract without what is wrong in it, to judge its options as well.
    guess: TableContract | None = None

    def report(self, place: Place, message: str) -> None:
        self.problems.append(Problem(self.file, self.line(place), message))

    def in_order(self) -> list[Problem]:
        """Return the problems from the first line to the last."""
        return sorted(self.problems, key=lambda problem: problem.line or 0)

    def line(self, place: Place) -> int | None:
        """Return the line of a place, or of the nearest place around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def parse(file: Path, root: Path) -> Document:
    """Return a file's values, or None as its values and the problems that kept it from being read."""
    document = Document(str(file.relative_to(root)))
    text = _text(file, document)
    if text is None:
        return document
    try:
        document.values = _value(yaml.compose(text, Loader=yaml.SafeLoader), (), document, {})
        _refuse_tokens(text, document)
    except yaml.YAMLError as error:
        document.problems.append(Problem(document.file, _error_line(error), f"not valid YAML: {_reason(error)}"))
    except RecursionError:
        document.report((), "is nested too deeply")
    return document


def lines_of(file: Path | str) -> Mapping[Place, int]:
    """Return the line of each place in a contract's file; none where it cannot be read."""
    path = Path(file)
    return parse(path, path.parent.parent).lines if path.is_file() else {}


def _text(file: Path, document: Document) -> str | None:
    try:
        if file.stat().st_size <= MAX_BYTES:
            return file.read_text(encoding="utf-8")
        document.report((), f"file is larger than {MAX_BYTES} bytes")
    except UnicodeDecodeError as error:
        document.report((), f"not valid YAML: {error}; save it as UTF-8")
    except OSError as error:
        document.report((), f"cannot be read: {error.strerror}; give the right to read it, or move it elsewhere")
    return None


def _refuse_tokens(text: str, document: Document) -> None:
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if message := _FORBIDDEN.get(type(token)):
            document.problems.append(Problem(document.file, token.start_mark.line + 1, message))


def _error_line(error: Exception) -> int | None:
    mark = getattr(error, "problem_mark", None)
    return None if mark is None else int(mark.line) + 1


def _reason(error: yaml.YAMLError) -> str:
    said = str(getattr(error, "problem", None) or error).splitlines()[0]
    cure = next((f"; {cure}" for sign, cure in _CURES.items() if sign in said), "")
    opened = getattr(error, "context_mark", None)
    if opened is None or opened.line + 1 == _error_line(error):
        return said + cure
    return f"{said}{cure} (what it belongs to begins in line {opened.line + 1})"


def _value(node: yaml.Node | None, place: Place, document: Document, seen: dict[int, Any]) -> Any:
    if node is None:
        document.report(place, "file is empty")
        return None
    document.lines.setdefault(place, node.start_mark.line + 1)
    if id(node) not in seen:
        # An alias leads here a second time, or into its own anchor; it is refused by its token.
        seen[id(node)] = None
        seen[id(node)] = _fresh_value(node, place, document, seen)
    return seen[id(node)]


def _fresh_value(node: yaml.Node, place: Place, document: Document, seen: dict[int, Any]) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, document, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, index), document, seen) for index, item in enumerate(node.value)]
    return _scalar(node, place, document)


def _mapping(node: yaml.Node, place: Place, document: Document, seen: dict[int, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        here = (*place, key)
        document.lines[here] = key_node.start_mark.line + 1
        if not isinstance(_scalar(key_node, here, document), str):
            document.report(here, f"key {key!r} must be text")
        if key in values:
            document.report(here, f"duplicate key {key!r}")
        values[key] = _value(value_node, here, document, seen)
    return values


def _scalar(node: yaml.Node, place: Place, document: Document) -> Any:
    text = str(node.value)
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return text
    if text in _NULL:
        return None
    if text in {"true", "false"}:
        return text == "true"
    if _ACCIDENT.fullmatch(text):
        document.accidents.add(place)
        document.report(place, f"{text} is ambiguous in YAML; quote it as '{text}' or write true or false")
        return text
    if _FLOAT.fullmatch(text) and Decimal(text) != Decimal(repr(_number(text))):
        document.accidents.add(place)
        document.report(place, f"{text} has more digits than YAML's numbers keep; quote it as '{text}'")
    return _number(text)


def _number(text: str) -> Any:
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def without(values: dict[str, Any], wrong: Sequence[Place]) -> tuple[dict[str, Any], set[str]]:
    """Return a document's values without what is wrong in them, so that the rest can be judged.

    Returns:
        The values, and the columns of which nothing can be said, as their type is unknown.
    """
    left = {key: value for key, value in values.items() if (key,) not in {*wrong}}
    unsure = {str(place[1]) for place in wrong if place[0] == "columns" and len(place) > 1}
    if isinstance(left.get("columns"), dict):
        left["columns"] = {name: "text" if name in unsure else kind for name, kind in left["columns"].items()}
    for place in wrong:
        if place[0] != "columns" and len(place) > 1:
            left.pop(str(place[0]), None)
    return left, unsure
