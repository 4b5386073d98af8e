"""`ownlens load`: run the load flow for chosen tables and destinations."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from signal import Signals
from typing import Any

import click

from ownlens_plugins.contracts import read_contracts
from ownlens_plugins.engines import Engine
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import DEFAULT_PROFILE, Profile

from .choosing import TABLES, names
from .embedded import ready_profile
from .logs import log_to
from .orchestrator import start_prefect

# As shells say it of a program that a signal ended.
STOPPED = {signal.name: 128 + signal for signal in (Signals.SIGINT, Signals.SIGTERM)}


@click.command()
@click.option("--tables", multiple=True, callback=names, help=TABLES)
@click.option("--domains", multiple=True, callback=names, help="Domains, separated by commas.")
@click.option("--presets", multiple=True, callback=names, help="Presets, such as events.")
@click.option(
    "--destinations",
    "--load-destinations",
    "destinations",
    multiple=True,
    callback=names,
    help="Destinations or aliases, separated by commas. Default: all of the profile.",
)
@click.option("--full-refresh", is_flag=True, help="Stage whole tables and replace what the destinations hold.")
@click.option(
    "--sweep-deletes", is_flag=True, help="Also find rows that are gone, of tables with deletes: follow, by their keys."
)
@click.option("--source-moved", is_flag=True, help="Go on after staged sets of another source: the database has moved.")
@click.option(
    "--engine", type=click.Choice(["auto", "local", "spark"]), help="Who writes: this process, Spark, or by size."
)
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile of ownlens.toml.")
@click.option("--config", type=click.Path(dir_okay=False), help="Path of ownlens.toml.")
@click.option("--no-validate", is_flag=True, help="Do not run the expectations after the loads.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document on stdout.")
def command(
    tables: list[str],
    domains: list[str],
    presets: list[str],
    destinations: list[str],
    full_refresh: bool,
    sweep_deletes: bool,
    source_moved: bool,
    engine: str | None,
    profile: str,
    config: str | None,
    no_validate: bool,
    as_json: bool,
) -> int:
    """Load tables into destinations, each staged set exactly once."""
    from ownlens_flows.request import LoadRequest

    request = LoadRequest(
        tables=tables,
        domains=domains,
        presets=presets,
        destinations=destinations,
        full_refresh=full_refresh,
        sweep_deletes=sweep_deletes,
        source_moved=source_moved,
        engine=Engine(engine) if engine else None,
        profile=profile,
        config=config,
        validate_loads=False if no_validate else None,
    )
    with ready_profile(profile, config) as settings:
        return run_request(request, settings, as_json=as_json)


def run_request(request, settings: Profile, *, as_json: bool) -> int:  # type: ignore[no-untyped-def]  # see below
    """Run a request in the flow and print its summary. The request's class would import Prefect, so it is not named.

    Returns:
        0 when all went well, 1 when a load or validation failed, 3 when rows were refused that were not before,
        130 or 143 when a signal stopped the run.
    """
    from ownlens_flows.run import check_settings, destination_names, select_contracts

    registry = Registry()
    connections = {registry.resolve(name): config for name, config in settings.destinations.items()}
    chosen = destination_names(request.destinations, connections, registry)
    contracts = select_contracts(read_contracts(settings.contracts), request)
    check_settings(settings, {name: connections[name] for name in chosen}, registry)
    log_to(Path(settings.log_file))
    start_prefect()
    return _run(request, len(contracts), chosen, settings, as_json=as_json)


def _run(request, tables: int, destinations: list[str], settings: Profile, *, as_json: bool) -> int:  # type: ignore[no-untyped-def]
    from ownlens_flows.direct import run_in_flow
    from ownlens_flows.serving import check_server

    from .leaving import LastWord
    from .terminal import console, live_progress

    check_server()
    said = f"{tables} tables into {', '.join(destinations)}; log: {settings.log_file}"
    console.print(said, style="dim", markup=False, soft_wrap=True)
    last_word = LastWord(partial(_say, as_json=as_json))
    with live_progress(tables, destinations) as move_bars:

        def observe(*news: Any) -> None:
            move_bars(*news)
            last_word.observe(*news)

        report = run_in_flow(request, observe=observe)
        last_word.take()
    return _say(report, as_json=as_json)


def _say(report, *, as_json: bool) -> int:  # type: ignore[no-untyped-def]
    from .terminal import print_failures, print_report

    if as_json:
        click.echo(json.dumps(report.document(), indent=1))
        print_failures(report)
    else:
        print_report(report)
    if report.stopped:
        return STOPPED.get(report.stopped, 1)
    if not report.succeeded:
        return 1
    return 3 if report.rejections else 0
