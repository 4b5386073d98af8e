"""`ownlens quarantine`: list and show refused rows, and bring those in that fit by now."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any

import click

from ownlens_plugins.contracts import TableContract, read_contracts
from ownlens_plugins.engine.inspecting import Inspection, Refused
from ownlens_plugins.engine.quarantining import reasons_text, rows_text
from ownlens_plugins.engine.replaying import replay as replayed
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import UnknownName
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import DEFAULT_PROFILE, Profile

from .embedded import ready_profile, with_connections

# A terminal shows so much of a value; --json shows all of it.
_WIDEST = 200


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout."),
        click.option("--config", type=click.Path(dir_okay=False), help="Path of ownlens.toml."),
        click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile of ownlens.toml."),
    ):
        function = option(function)
    return function


@click.group()
def command() -> None:
    """List and show refused rows, and bring those in that fit by now."""


@command.command("list")
@_options
def list_(profile: str, config: str | None, as_json: bool) -> int:
    """List the tables that have refused rows: how many, where, and the commonest reasons."""
    with ready_profile(profile, config) as settings, _inspection(settings) as inspection:
        found = [entry for contract in _contracts(settings).values() for entry in inspection.summaries(contract)]
        unreachable = inspection.unreachable
    if as_json:
        click.echo(json.dumps({"quarantines": [asdict(entry) for entry in found], "errors": unreachable}, indent=1))
    else:
        for entry in found:
            line = f"{entry.table}: {rows_text(entry.rows)} {entry.state}: {reasons_text(entry.reasons)}"
            click.echo(f"{line} ({entry.place})")
        click.echo(f"{rows_text(sum(entry.rows for entry in found))} in quarantine")
    return _told(unreachable)


@command.command()
@click.argument("table")
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="Rows to print; 0 for all.")
@_options
def show(table: str, limit: int, profile: str, config: str | None, as_json: bool) -> int:
    """Print the refused rows of TABLE: every value as the source writes it, and a reason for each bad column."""
    with ready_profile(profile, config) as settings, _inspection(settings) as inspection:
        rows = list(islice(inspection.rows(_contract(settings, table)), limit or None))
        unreachable = inspection.unreachable
    if as_json:
        click.echo(json.dumps({"rows": [row.document() for row in rows], "errors": unreachable}, indent=1))
    else:
        for row in rows:
            click.echo("\n".join(_lines(row)))
        click.echo(f"{rows_text(len(rows))} shown")
    return _told(unreachable)


@command.command()
@click.argument("table")
@_options
def replay(table: str, profile: str, config: str | None, as_json: bool) -> int:
    """Stage the refused rows of TABLE that fit its contract by now; `ownlens load` then brings them into the stores."""
    with ready_profile(profile, config) as settings:
        registry = Registry()
        registry.load_hooks()
        outcome = replayed(_contract(settings, table), StagingArea(settings.staging, registry))
    click.echo(json.dumps(outcome.document(), indent=1) if as_json else outcome.message)
    return 0


def _contracts(settings: Profile) -> dict[str, TableContract]:
    return dict(read_contracts(settings.contracts))


def _contract(settings: Profile, table: str) -> TableContract:
    contracts = _contracts(settings)
    if table not in contracts:
        raise UnknownName("table", table, contracts)
    return contracts[table]


@contextmanager
def _inspection(settings: Profile) -> Iterator[Inspection]:
    registry = Registry()
    with Inspection.of(with_connections(settings, [], registry), registry) as inspection:
        yield inspection


def _lines(row: Refused) -> Iterator[str]:
    yield f"{row.table}, {row.state}, {row.place}"
    for reason in row.reasons:
        yield f"  ! {reason}"
    for name, value in row.values.items():
        yield f"    {name}: {'null' if value is None else _cut(value)}"


def _cut(value: str) -> str:
    shown = value.encode("unicode_escape").decode() if not value.isprintable() else value
    return shown if len(shown) <= _WIDEST else f"{shown[:_WIDEST]}… ({len(value):,} characters)"


def _told(errors: list[str]) -> int:
    for error in errors:
        click.echo(f"ownlens: {error}", err=True)
    return 1 if errors else 0
