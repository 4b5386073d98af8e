"""Read contracts from YAML strictly: every problem at once, each with file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..errors import ContractInvalid, Problem
from .contract import ContractDocument, TableContract
from .rules import broken_references, broken_rules, shared_paths

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


@dataclass
class _Document:
    """A parsed file: plain values, the line of each place, and what was wrong on the way."""

    file: str
    values: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    # Places whose value was misread by YAML's rules; nothing more is said about those.
    accidents: set[Place] = field(default_factory=set)

    def report(self, place: Place, message: str) -> None:
        self.problems.append(Problem(self.file, self._line(place), message))

    def in_order(self) -> list[Problem]:
        """Return the problems from the first line to the last."""
        return sorted(self.problems, key=lambda problem: problem.line or 0)

    def _line(self, place: Place) -> int | None:
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def read_contracts(folder: Path | str) -> dict[str, TableContract]:
    """Read every `<domain>/<table>.yaml` below a folder.

    Returns:
        Contracts by table name, in alphabetical order of domain and table.

    Raises:
        ContractInvalid: anything is wrong in any file; it carries all problems, with file and line.
    """
    root = Path(folder)
    files = sorted(file for file in root.rglob("*") if file.suffix in SUFFIXES and not file.name.startswith("."))
    if not files:
        raise ContractInvalid([Problem(str(root), None, "no contracts found; expected <domain>/<table>.yaml files")])
    documents = [_read(file, root) for file in files]
    contracts = dict(_resolved(documents))
    _report_broken_references(documents, contracts)
    problems = [problem for _, document in documents for problem in document.in_order()]
    if problems:
        raise ContractInvalid(problems)
    return {table: contract for table, (contract, _) in contracts.items()}


def read_contract(file: Path | str) -> TableContract:
    """Read one contract file, without checking its references against other contracts.

    Raises:
        ContractInvalid: the file breaks a rule; it carries all problems.
    """
    path = Path(file)
    contract, document = _read(path, path.parent.parent)
    if contract is None or document.problems:
        raise ContractInvalid(document.in_order())
    return contract


def lines_of(file: Path | str) -> Mapping[Place, int]:
    """Return the line of each place in a contract's file; none where it cannot be read."""
    path = Path(file)
    return _parse(path, path.parent.parent).lines if path.is_file() else {}


def contract_from(values: Mapping[str, Any], *, name: str = "<contract>") -> TableContract:
    """Build a contract from plain values, by the same rules as a file.

    Raises:
        ContractInvalid: the values break a rule.
    """
    document = _Document(name, dict(values))
    contract = _validated(document)
    if contract is None or document.problems:
        raise ContractInvalid(document.problems)
    return contract


def _read(file: Path, root: Path) -> tuple[TableContract | None, _Document]:
    document = _parse(file, root)
    if document.values is None:
        return None, document
    _check_folder(file, root, document)
    return _validated(document), document


def _check_folder(file: Path, root: Path, document: _Document) -> None:
    if file.suffix != ".yaml" or len(file.relative_to(root).parts) != 2:
        document.report((), "a contract must lie in <domain>/<table>.yaml, or it is not read; move this file")
        return
    values = document.values if isinstance(document.values, dict) else {}
    table, domain = values.get("table", file.stem), values.get("domain", file.parent.name)
    if table != file.stem:
        document.report(("table",), f"table {table!r} must lie in a file named {table}.yaml")
    if domain != file.parent.name:
        document.report(("domain",), f"domain {domain!r} must lie in a folder named {domain}/")


def _validated(document: _Document) -> TableContract | None:
    if not isinstance(document.values, dict):
        document.report((), "a contract must be a mapping that starts with table:")
        return None
    try:
        contract = ContractDocument.model_validate(document.values).resolve()
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            if problem["loc"] not in document.accidents:
                document.report(problem["loc"], _message(problem))
        return None
    for place, message in broken_rules(contract):
        document.report(place, message)
    return contract


def _message(problem: Any) -> str:
    where = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where!r}; known: {', '.join(ContractDocument.model_fields)}"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _resolved(
    documents: list[tuple[TableContract | None, _Document]],
) -> Iterator[tuple[str, tuple[TableContract, _Document]]]:
    seen: dict[str, str] = {}
    for contract, document in documents:
        if contract is None:
            continue
        if contract.table in seen:
            document.report(("table",), f"table {contract.table!r} is already defined in {seen[contract.table]}")
        seen[contract.table] = document.file
        yield contract.table, (contract, document)


def _report_broken_references(
    documents: list[tuple[TableContract | None, _Document]],
    contracts: Mapping[str, tuple[TableContract, _Document]],
) -> None:
    # A file that cannot be read would make every reference to its table look broken as well.
    unread = {Path(document.file).stem for contract, document in documents if contract is None}
    read = {name: contract for name, (contract, _) in contracts.items()}
    for table, (place, message) in (*broken_references(read, unread=unread), *shared_paths(read)):
        contracts[table][1].report(place, message)


def _parse(file: Path, root: Path) -> _Document:
    document = _Document(str(file.relative_to(root)))
    if file.stat().st_size > MAX_BYTES:
        document.report((), f"file is larger than {MAX_BYTES} bytes")
        return document
    try:
        text = file.read_text(encoding="utf-8")
        document.values = _value(yaml.compose(text, Loader=yaml.SafeLoader), (), document, {})
        _refuse_tokens(text, document)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        document.problems.append(Problem(document.file, _error_line(error), f"not valid YAML: {_reason(error)}"))
    except RecursionError:
        document.report((), "is nested too deeply")
    return document


def _refuse_tokens(text: str, document: _Document) -> None:
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if message := _FORBIDDEN.get(type(token)):
            document.problems.append(Problem(document.file, token.start_mark.line + 1, message))


def _error_line(error: Exception) -> int | None:
    mark = getattr(error, "problem_mark", None)
    return None if mark is None else int(mark.line) + 1


def _reason(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]


def _value(node: yaml.Node | None, place: Place, document: _Document, seen: dict[int, Any]) -> Any:
    if node is None:
        document.report(place, "file is empty")
        return None
    document.lines.setdefault(place, node.start_mark.line + 1)
    if id(node) not in seen:
        # An alias leads here a second time, or into its own anchor; it is refused by its token.
        seen[id(node)] = None
        seen[id(node)] = _fresh_value(node, place, document, seen)
    return seen[id(node)]


def _fresh_value(node: yaml.Node, place: Place, document: _Document, seen: dict[int, Any]) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, document, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, index), document, seen) for index, item in enumerate(node.value)]
    return _scalar(node, place, document)


def _mapping(node: yaml.Node, place: Place, document: _Document, seen: dict[int, Any]) -> dict[str, Any]:
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


def _scalar(node: yaml.Node, place: Place, document: _Document) -> Any:
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
