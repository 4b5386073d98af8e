"""Read contracts from YAML strictly: every problem at once, each with file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..errors import ContractInvalid, Problem
from .contract import ContractDocument, TableContract
from .rules import broken_references, broken_rules

Place = tuple[str | int, ...]

_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NULL = frozenset({"", "~", "null"})
# YAML 1.1 reads these as booleans, octal or base-60 numbers, or dates, which nobody means in a contract.
_ACCIDENT = re.compile(
    r"(?i:yes|no|on|off|y|n|true|false|null)|[-+]?0[0-9_]+|[-+]?[0-9]+(:[0-9]+)+|[0-9]{4}-[0-9]{2}-[0-9]{2}.*"
)
MAX_BYTES = 256 * 1024


@dataclass
class _Document:
    """A parsed file: plain values, the line of each place, and what was wrong on the way."""

    file: str
    values: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def report(self, place: Place, message: str) -> None:
        self.problems.append(Problem(self.file, self._line(place), message))

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
    files = sorted(root.glob("*/*.yaml"))
    if not files:
        raise ContractInvalid([Problem(str(root), None, "no contracts found; expected <domain>/<table>.yaml files")])
    documents = [_read(file, root) for file in files]
    contracts = dict(_resolved(documents))
    _report_broken_references(documents, contracts)
    problems = [problem for _, document in documents for problem in document.problems]
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
        raise ContractInvalid(document.problems)
    return contract


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
    if document.problems:
        return None, document
    contract = _validated(document)
    if contract is not None:
        _check_folder(contract, file, document)
    return contract, document


def _check_folder(contract: TableContract, file: Path, document: _Document) -> None:
    if contract.table != file.stem:
        document.report(("table",), f"table {contract.table!r} must lie in a file named {contract.table}.yaml")
    if contract.domain != file.parent.name:
        document.report(("domain",), f"domain {contract.domain!r} must lie in a folder named {contract.domain}/")


def _validated(document: _Document) -> TableContract | None:
    try:
        contract = ContractDocument.model_validate(document.values).resolve()
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            document.report(_place(problem["loc"]), _message(problem))
        return None
    for place, message in broken_rules(contract):
        document.report(place, message)
    return contract


def _place(location: tuple[int | str, ...]) -> Place:
    return tuple(location)


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
    # A file that does not parse would make every reference to it look broken as well.
    if any(contract is None for contract, _ in documents):
        return
    for table, (place, message) in broken_references({name: pair[0] for name, pair in contracts.items()}):
        contracts[table][1].report(place, message)


def _parse(file: Path, root: Path) -> _Document:
    document = _Document(str(file.relative_to(root)))
    if file.stat().st_size > MAX_BYTES:
        document.report((), f"file is larger than {MAX_BYTES} bytes")
        return document
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        document.problems.append(Problem(document.file, _error_line(error), f"not valid YAML: {_reason(error)}"))
        return document
    document.values = _value(node, (), document, set())
    return document


def _error_line(error: Exception) -> int | None:
    mark = getattr(error, "problem_mark", None)
    return None if mark is None else int(mark.line) + 1


def _reason(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]


def _value(node: yaml.Node | None, place: Place, document: _Document, seen: set[int]) -> Any:
    if node is None:
        document.report(place, "file is empty")
        return None
    document.lines.setdefault(place, node.start_mark.line + 1)
    if id(node) in seen:
        document.report(place, "anchors and aliases are not allowed in a contract; write the value out")
        return None
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, document, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, index), document, seen) for index, item in enumerate(node.value)]
    return _scalar(node, place, document)


def _mapping(node: yaml.MappingNode, place: Place, document: _Document, seen: set[int]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        here = (*place, key)
        document.lines[here] = key_node.start_mark.line + 1
        if not isinstance(_scalar(key_node, here, document), str):
            document.report(here, f"key {key!r} must be text")
        if key in values:
            document.lines[here] = key_node.start_mark.line + 1
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
        document.report(place, f"{text} is ambiguous in YAML; quote it as '{text}' or write true or false")
        return text
    return _number(text)


def _number(text: str) -> Any:
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
