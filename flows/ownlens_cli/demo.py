"""`ownlens demo`: an embedded newsroom through the whole load path, and a day of changes each time after."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import click

from ownlens_plugins.settings import load_profile

HINTS = """
Look into the stores:
  ownlens show customer_events --destination clickhouse {options}
  ownlens show users --destination postgresql {options}
  ownlens show editorial_articles --destination s3 {options}
Load again by hand:      ownlens load --domains editorial {options}
The lake's files:        {folder}/lake
Every load's log:        {folder}/ownlens.log
Run the same command again for the next day of changes; --fresh starts over."""


@click.command()
@click.option("--folder", default="var/demo", show_default=True, help="Where servers, lake and staged sets are kept.")
@click.option("--rows", default=500_000, show_default=True, help="Rows of the source database, in total.")
@click.option("--fresh", is_flag=True, help="Delete the folder first.")
@click.option("--destinations", multiple=True, help="Destinations, separated by commas. Default: all three.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document on stdout.")
def command(folder: str, rows: int, fresh: bool, destinations: tuple[str, ...], as_json: bool) -> int:
    """Load 79 tables of an embedded newsroom into a lake, PostgreSQL and ClickHouse."""
    place = Path(folder)
    if fresh:
        _delete(place)
    from ownlens_sandbox.demo import prepare_source, start_prefect_early
    from ownlens_sandbox.servers import PROFILE, running

    from .choosing import names
    from .load import run_request
    from .terminal import console

    place.mkdir(parents=True, exist_ok=True)
    starting = start_prefect_early(place.absolute())
    with console.status("starting two PostgreSQL servers") as status, running(place) as sandbox:
        status.update(f"filling the source database with {rows:,} rows")
        prepared = prepare_source(
            sandbox, rows=rows, progress=lambda table, count: status.update(f"filling {table}: {count:,} rows")
        )
        what = f"{prepared.inserted:,} rows inserted" + (f", {prepared.updated:,} updated" if prepared.day else "")
        console.print(f"source: day {prepared.day}, {what}, {prepared.seconds:.1f} s")
        if starting is not None:
            status.update("starting Prefect's temporary server")
            starting.join()
        status.stop()
        from ownlens_flows.request import LoadRequest

        chosen = names(None, None, destinations)  # type: ignore[arg-type]  # the callback ignores both
        request = LoadRequest(profile=PROFILE, config=str(sandbox.config), destinations=chosen)
        profile = load_profile(PROFILE, file=sandbox.config)
        code = run_request(request, profile, as_json=as_json, as_flow=True)
    if not as_json:
        config = shlex.quote(str(place / "ownlens.toml"))
        click.echo(HINTS.format(options=f"--profile {PROFILE} --config {config}", folder=place))
    return code


def _delete(place: Path) -> None:
    # Only a folder that a demo made is deleted, whatever --folder says.
    if place.exists() and any(place.iterdir()) and not (place / "ownlens.toml").exists():
        raise click.UsageError(f"{place} was not made by ownlens demo, so --fresh does not delete it")
    shutil.rmtree(place, ignore_errors=True)
