"""Read contracts from YAML strictly: every problem at once, each with file and line."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from ..errors import ContractInvalid, Problem
from .contract import ContractDocument, TableContract
from .documents import SUFFIXES, Document, Place, parse, without
from .rules import broken_references, broken_rules, shared_paths

# How to leave what a preset says, for tables without the columns that it takes for granted.
_WHOLE = (
    "preset: events with extraction: whole and, in each destination, strategy: overwrite, "
    "with partition: none in s3 and clickhouse where there is no partition_by"
)
_DEFAULTS = {
    "version_by": (
        "write version_by: with the column that grows with each change of a row, or, for rows that never change, take "
        f"preset: events; where no column grows, {_WHOLE}"
    ),
    "cursor": f"write cursor: with the column that grows with each new row; where there is none, {_WHOLE}",
}


def read_contracts(folder: Path | str) -> dict[str, TableContract]:
    """Read every `<domain>/<table>.yaml` below a folder.

    Returns:
        Contracts by table name, in alphabetical order of domain and table.

    Raises:
        ContractInvalid: anything is wrong in any file; it carries all problems, with file and line.
    """
    found = survey(folder)
    if found.problems:
        raise ContractInvalid(found.problems)
    return found.contracts


@dataclass(frozen=True)
class Survey:
    """What is in a folder: contracts by table, all problems, and what could be read of contracts that are wrong."""

    contracts: dict[str, TableContract]
    problems: list[Problem]
    wrong: dict[str, TableContract] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)

    def problem(self, table: str, place: Place, message: str) -> Problem:
        """Return a problem at a place of a table's file."""
        document = self.documents[table]
        return Problem(document.file, document.line(place), message)


def survey(folder: Path | str) -> Survey:
    """Read all files of a folder and judge each as far as it can be read. Raises nothing."""
    root = Path(folder)
    files = sorted(file for file in root.rglob("*") if file.suffix in SUFFIXES and not file.name.startswith("."))
    if not files:
        return Survey({}, [Problem(str(root), None, "no contracts found; expected <domain>/<table>.yaml files")])
    read = [_read(file, root) for file in files]
    contracts = dict(_resolved(read))
    _report_broken_references(read, contracts)
    wrong = {document.guess.table: (document.guess, document) for _, document in read if document.guess is not None}
    problems = [problem for _, document in read for problem in document.in_order()]
    return Survey(
        {table: contract for table, (contract, _) in contracts.items()},
        problems,
        {table: contract for table, (contract, _) in wrong.items() if table not in contracts},
        {table: document for table, (_, document) in {**wrong, **contracts}.items()},
    )


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


def contract_from(values: Mapping[str, Any], *, name: str = "<contract>") -> TableContract:
    """Build a contract from plain values, by the same rules as a file.

    Raises:
        ContractInvalid: the values break a rule.
    """
    document = Document(name, dict(values))
    contract = _validated(document)
    if contract is None or document.problems:
        raise ContractInvalid(document.problems)
    return contract


def _read(file: Path, root: Path) -> tuple[TableContract | None, Document]:
    document = parse(file, root)
    if document.values is None:
        return None, document
    _check_folder(file, root, document)
    return _validated(document), document


def _check_folder(file: Path, root: Path, document: Document) -> None:
    if file.suffix != ".yaml" or len(file.relative_to(root).parts) != 2:
        document.report((), "a contract must lie in <domain>/<table>.yaml, or it is not read; move this file")
        return
    values = document.values if isinstance(document.values, dict) else {}
    for key, name, kind in (("table", file.stem, "file"), ("domain", file.parent.name, "folder")):
        written = values.get(key, name)
        if isinstance(written, str) and not _means(name, written):
            ending = ".yaml" if kind == "file" else "/"
            document.report((key,), f"{key} {written!r} must lie in a {kind} named {segment(written)}{ending}")


def file_name(table: str) -> str:
    """Return the name of the file in which a table's contract lies: its own where a file can be called so."""
    return f"{segment(table)}.yaml"


def segment(name: str) -> str:
    """Return the file or folder name for a table or domain: slashes, percents and a leading dot as %2F, %25, %2E."""
    escaped = name.replace("%", "%25").replace("/", "%2F")
    return f"%2E{escaped[1:]}" if escaped.startswith(".") else escaped


def _means(written: str, name: str) -> bool:
    # Some file systems keep names in another normal form than the one that was typed.
    wanted = unicodedata.normalize("NFC", name)
    return wanted in {unicodedata.normalize("NFC", text) for text in (written, unquote(written))}


def _validated(document: Document) -> TableContract | None:
    if not isinstance(document.values, dict):
        document.report((), "a contract must be a mapping that starts with table:")
        return None
    try:
        contract = ContractDocument.model_validate(document.values).resolve()
    except ValidationError as error:
        problems = error.errors(include_url=False)
        for problem in problems:
            if problem["loc"] not in document.accidents:
                document.report(problem["loc"], _message(problem))
        _judge_the_rest(document, [problem["loc"] for problem in problems])
        return None
    for place, message in broken_rules(contract):
        document.report(place, _explained(contract, document.values, place, message))
    return contract


def _judge_the_rest(document: Document, wrong: Sequence[Place]) -> None:
    """Report the rules that a document breaks beside the places that are wrong in themselves."""
    values, unsure = without(document.values, wrong)
    try:
        contract = ContractDocument.model_validate(values).resolve()
    except ValidationError:
        return  # what is wrong is needed to judge anything
    told = {place[0] for place in wrong} - {"columns"}
    for place, message in broken_rules(contract):
        if place[0] not in told and not any(repr(name) in message for name in unsure):
            document.report(place, _explained(contract, values, place, message))
    document.guess = contract


def _explained(contract: TableContract, values: Mapping[str, Any], place: Place, message: str) -> str:
    """Add where a setting comes from that nobody wrote, and how to write another."""
    cure = _DEFAULTS.get(str(place[0])) if place and values.get(str(place[0])) is None else None
    return message if cure is None else f"{message}; preset {contract.preset} says so: {cure}"


def _message(problem: Any) -> str:
    where = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(where, ContractDocument.model_fields, n=1, cutoff=0.7)
        hint = f"did you mean {near[0]!r}? known" if near else "known"
        return f"unknown key {where!r}; {hint}: {', '.join(ContractDocument.model_fields)}"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _resolved(
    documents: list[tuple[TableContract | None, Document]],
) -> Iterator[tuple[str, tuple[TableContract, Document]]]:
    seen: dict[str, str] = {}
    for contract, document in documents:
        if contract is None:
            continue
        if contract.table in seen:
            document.report(("table",), f"table {contract.table!r} is already defined in {seen[contract.table]}")
        seen[contract.table] = document.file
        yield contract.table, (contract, document)


def _report_broken_references(
    documents: list[tuple[TableContract | None, Document]],
    contracts: Mapping[str, tuple[TableContract, Document]],
) -> None:
    # A file that cannot be read would make every reference to its table look broken as well.
    stems = [Path(document.file).stem for contract, document in documents if contract is None]
    unread = {*stems, *map(unquote, stems)}
    read = {name: contract for name, (contract, _) in contracts.items()}
    for table, (place, message) in (*broken_references(read, unread=unread), *shared_paths(read)):
        contracts[table][1].report(place, message)
