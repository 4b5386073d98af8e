"""`ownlens load`: run the load flow for chosen tables and destinations."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

import click

from ownlens_plugins.contracts import read_contracts
from ownlens_plugins.engines import Engine
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import DEFAULT_PROFILE, Profile

from .choosing import selection
from .embedded import ready_profile
from .logs import log_to
from .orchestrator import start_prefect

if TYPE_CHECKING:  # both would import what `ownlens load --help` does not need
    from collections.abc import Callable

    from ownlens_flows.report import RunReport
    from ownlens_flows.request import LoadRequest

    Run = Callable[..., RunReport]

# As shells say it of a program that a signal ended.
STOPPED = {signal.name: 128 + signal for signal in (Signals.SIGINT, Signals.SIGTERM)}


@click.command()
@selection
@click.option("--full-refresh", is_flag=True, help="Stage whole tables and replace what the destinations hold.")
@click.option(
    "--sweep-deletes", is_flag=True, help="Also find rows that are gone, of tables with deletes: follow, by their keys."
)
@click.option("--source-moved", is_flag=True, help="Go on after staged sets of another source: the database has moved.")
@click.option(
    "--backfill", is_flag=True, help="Stage whole tables for --destinations alone, to replace what they hold."
)
@click.option(
    "--since", metavar="MOMENT", help="Stage rows from a moment on (ISO 8601, UTC) once more for --destinations alone."
)
@click.option(
    "--engine", type=click.Choice(["auto", "local", "spark"]), help="Who writes: this process, Spark, or by size."
)
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile of ownlens.toml.")
@click.option("--config", type=click.Path(dir_okay=False), help="Path of ownlens.toml.")
@click.option("--no-validate", is_flag=True, help="Do not run the expectations after the loads.")
@click.option(
    "--flow/--no-flow",
    "as_flow",
    default=None,
    help="Run as a Prefect flow, or without Prefect. Default: a flow where a Prefect API or a block is configured.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document on stdout.")
def command(
    tables: list[str],
    domains: list[str],
    presets: list[str],
    destinations: list[str],
    full_refresh: bool,
    sweep_deletes: bool,
    source_moved: bool,
    backfill: bool,
    since: str | None,
    engine: str | None,
    profile: str,
    config: str | None,
    no_validate: bool,
    as_flow: bool | None,
    as_json: bool,
) -> int:
    """Load tables into destinations, each staged set exactly once."""
    request = _request(
        tables=tables,
        domains=domains,
        presets=presets,
        destinations=destinations,
        full_refresh=full_refresh,
        sweep_deletes=sweep_deletes,
        source_moved=source_moved,
        backfill=backfill,
        since=since,
        engine=Engine(engine) if engine else None,
        profile=profile,
        config=config,
        validate_loads=False if no_validate else None,
    )
    with ready_profile(profile, config) as settings:
        return run_request(request, settings, as_json=as_json, as_flow=as_flow)


def _request(**values: Any) -> LoadRequest:
    """Return the request that the options make.

    Raises:
        UsageError: they contradict one another, or a moment is none.
    """
    from pydantic import ValidationError

    from ownlens_flows.request import LoadRequest

    try:
        return LoadRequest(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"--{name}: " for name in first["loc"])
        raise click.UsageError(where + first["msg"].removeprefix("Value error, ")) from None


def run_request(request: LoadRequest, settings: Profile, *, as_json: bool, as_flow: bool | None = None) -> int:
    """Run a request, in a flow or alone in this process, and print its summary.

    `as_flow` None runs a flow where a Prefect API or a block is configured.

    Returns:
        0 when all went well, 1 when a load or validation failed, 3 when rows were refused that were not before,
        130 or 143 when a signal stopped the run.
    """
    from ownlens_flows.configured import api_is_configured
    from ownlens_flows.run import check_settings, names_blocks, select_contracts
    from ownlens_plugins.engine.connecting import destination_names

    registry = Registry()
    connections = {registry.resolve(name): config for name, config in settings.destinations.items()}
    chosen = destination_names(request.destinations, connections, registry)
    contracts = select_contracts(read_contracts(settings.contracts), request)
    check_settings(settings, {name: connections[name] for name in chosen}, registry)
    log_to(Path(settings.log_file))
    if as_flow is None:
        as_flow = names_blocks(settings, request) or api_is_configured()
    run = _flow_runner() if as_flow else _alone()
    return _run(run, request, len(contracts), chosen, settings, as_json=as_json)


def _flow_runner() -> Run:
    start_prefect()
    from ownlens_flows.direct import run_in_flow
    from ownlens_flows.serving import check_server

    check_server()
    return run_in_flow


def _alone() -> Run:
    from ownlens_flows.alone import run_alone

    return run_alone


def _run(
    run: Run, request: LoadRequest, tables: int, destinations: list[str], settings: Profile, *, as_json: bool
) -> int:
    from .leaving import LastWord
    from .terminal import console, live_progress

    said = f"{tables} tables into {', '.join(destinations)}; log: {settings.log_file}"
    console.print(said, style="dim", markup=False, soft_wrap=True)
    last_word = LastWord(partial(_say, as_json=as_json))
    with live_progress(tables, destinations) as move_bars:

        def observe(*news: Any) -> None:
            move_bars(*news)
            last_word.observe(*news)

        report = run(request, observe=observe)
        last_word.take()
    return _say(report, as_json=as_json)


def _say(report: RunReport, *, as_json: bool) -> int:
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
