"""`ownlens contracts`: check every contract, or show one with its defaults filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
import yaml

from ownlens_plugins.contracts import TableContract, read_contracts
from ownlens_plugins.contracts.reading import Survey, survey
from ownlens_plugins.errors import ContractInvalid, DestinationUnavailable, Problem, UnknownName
from ownlens_plugins.registry import Registry

_folder = click.option("--contracts", "folder", default="table_configs", show_default=True, help="Contracts folder.")


@click.group()
def command() -> None:
    """Check the contracts, or show one resolved."""


@command.command()
@_folder
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def check(folder: str, as_json: bool) -> int:
    """Check every contract, its options and its expectations; report all problems with file and line."""
    found = survey(folder)
    contracts = found.contracts
    # Also of contracts that are wrong elsewhere, so that one look shows all there is to correct.
    told = {(problem.file, problem.line) for problem in found.problems}
    # A value that was misread is told once, by the line that says how to write it.
    checks = [one for one in _expectation_problems(contracts, folder) if (one.file, one.line) not in told]
    problems = [*found.problems, *_option_problems(found), *checks]
    if as_json:
        listed = [{"file": p.file, "line": p.line, "message": p.message} for p in problems]
        click.echo(json.dumps({"contracts": len(contracts), "problems": listed}, indent=1))
    elif not problems:
        click.echo(f"{len(contracts)} contracts are valid")
    if problems and not as_json:
        raise ContractInvalid(problems)
    return 1 if problems else 0


def _option_problems(found: Survey) -> list[Problem]:
    registry, problems = Registry(), []
    for contract in (*found.contracts.values(), *found.wrong.values()):
        for name in contract.describe()["destinations"]:
            told = _told_by(name, contract, registry)
            problems += [found.problem(contract.table, ("destinations", name), message) for message in told]
    return problems


def _told_by(name: str, contract: TableContract, registry: Registry) -> list[str]:
    try:
        options = registry.options(registry.resolve(name), contract)
    except (DestinationUnavailable, UnknownName) as error:
        return [str(error)]
    return [f"{name}: {problem}" for problem in options.problems(contract)]


def _expectation_problems(contracts: Mapping[str, TableContract], folder: str) -> list[Problem]:
    checked = [contract for contract in contracts.values() if contract.checks]
    if not checked:
        return []
    from ownlens_plugins.validation import check_expectations

    return [problem for contract in checked for problem in check_expectations(contract, folder=folder)]


@command.command()
@click.argument("table")
@_folder
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def show(table: str, folder: str, as_json: bool) -> int:
    """Show a table's contract with every default filled in."""
    contracts = read_contracts(folder)
    if table not in contracts:
        raise UnknownName("table", table, contracts)
    resolved: dict[str, Any] = contracts[table].describe()
    click.echo(json.dumps(resolved, indent=1) if as_json else yaml.safe_dump(resolved, sort_keys=False).rstrip())
    return 0
