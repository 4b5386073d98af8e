"""`ownlens status`: where each table stands in each destination, and what needs a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from ownlens_plugins.contracts import choose, read_contracts
from ownlens_plugins.contracts.durations import parse_duration
from ownlens_plugins.engine.connecting import opened
from ownlens_plugins.engine.staged_log import StagedLog
from ownlens_plugins.engine.standing import Asking, Standing
from ownlens_plugins.engine.surveying import survey
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import DEFAULT_PROFILE

from .choosing import selection
from .embedded import ready_profile, with_connections


def _age(_context: click.Context, _option: click.Parameter, text: str | None) -> timedelta | None:
    try:
        longest = None if text is None else parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error).removesuffix(", or all")) from None
    if text is not None and longest is None:
        raise click.BadParameter("write a number and s, m, h or d, such as 36h; leave the option out for any age")
    return longest


@click.command()
@selection
@click.option("--max-age", callback=_age, help="A table that is not up to date since then fails, such as 26h.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile of ownlens.toml.")
@click.option("--config", type=click.Path(dir_okay=False), help="Path of ownlens.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(
    tables: list[str],
    domains: list[str],
    presets: list[str],
    destinations: list[str],
    max_age: timedelta | None,
    profile: str,
    config: str | None,
    as_json: bool,
) -> int:
    """Tell where each table stands in each destination, what waits, and what needs a person. Exit code 1 if any does.

    Nothing is loaded, and what is read does not grow with the number of past loads.
    """
    registry = Registry()
    with ready_profile(profile, config) as settings:
        contracts = choose(read_contracts(settings.contracts), tables, domains, presets)
        connected = with_connections(settings, destinations, registry)
        with opened(connected, registry, destinations) as found:
            asking = Asking(StagedLog(settings.staging), registry, found.scrubber, settings.validate_loads)
            standings = survey(asking, found.stores, contracts)
    now = datetime.now(UTC)
    standings = [one.no_older(max_age, now) for one in standings] if max_age is not None else standings
    return _say(sorted(standings, key=lambda one: (one.well, one.table, one.destination)), now, as_json=as_json)


def _say(standings: Sequence[Standing], now: datetime, *, as_json: bool) -> int:
    well = all(one.well for one in standings)
    if as_json:
        click.echo(json.dumps({"succeeded": well, "loads": [one.document() for one in standings]}, indent=1))
    else:
        from .standings import print_standings

        print_standings(standings, now)
    return 0 if well else 1
