"""`ownlens adopt`: take the rows of a destination whose ledger is lost for those of a staged set."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ownlens_plugins.commands import load_command
from ownlens_plugins.engine.quarantining import rows_text
from ownlens_plugins.settings import DEFAULT_PROFILE

from .embedded import ready_profile
from .logs import log_to


@click.command()
@click.argument("table")
@click.option("--destination", required=True, help="The destination, by name or alias, whose ledger is lost.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile of ownlens.toml.")
@click.option("--config", type=click.Path(dir_okay=False), help="Path of ownlens.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(table: str, destination: str, profile: str, config: str | None, as_json: bool) -> int:
    """Take TABLE's rows as they are, after comparing them with the source; `ownlens load` then brings what lacks.

    Rows that are those of no staged set are refused, with how many differ; nothing is changed then.
    """
    with ready_profile(profile, config) as settings:
        log_to(Path(settings.log_file))
        from ownlens_flows.adopting import adopt_table

        done = adopt_table(table, destination, profile=profile, config=config)
    if as_json:
        click.echo(json.dumps({"succeeded": True, **done.document()}, indent=1))
    else:
        kept = f", {rows_text(done.kept)} of which the source no longer has" if done.kept else ""
        click.echo(
            f"{table}: {rows_text(done.rows)} of {done.destination} are taken for staged set {done.sequence}{kept}; "
            f"`{load_command(table)}` brings {rows_text(done.behind)}"
        )
    return 0
