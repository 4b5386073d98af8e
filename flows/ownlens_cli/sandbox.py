"""`ownlens sandbox`: a whole stack of servers below one folder, kept running for people to look at."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ownlens_sandbox.server_stack import ServerStack

HINTS = """
Prefect's pages:         {pages}
In a terminal, first:    . {variables}
Load everything:         prefect deployment run load-tables/nightly --watch
Load one table:          prefect deployment run load-tables/adhoc --param 'request={{"tables": ["users"]}}' --watch
Look into a store:       ownlens show users --destination clickhouse
A day of changes:        ownlens sandbox change{options}
Passwords:               {passwords}
Stop; the data stays:    ownlens sandbox down{options}"""
_FOLDER = click.option(
    "--folder", default="var/sandbox", show_default=True, help="Where servers, their data and logs are kept."
)


@click.group("sandbox")
def command() -> None:
    """Servers to look at: PostgreSQL, ClickHouse over HTTP, the lake, Prefect with a worker and the deployments."""


@command.command()
@_FOLDER
@click.option("--rows", default=500_000, show_default=True, help="Rows of a source that is filled for the first time.")
def up(folder: str, rows: int) -> int:
    """Start the servers that do not run, on free ports of this machine alone; they outlive the terminal."""
    from ownlens_sandbox.demo import fill_source, is_filled
    from ownlens_sandbox.servers import packaged_contracts

    from .terminal import console

    stack = _stack(folder)
    with console.status("starting") as status:

        def fill(source: str) -> None:
            if is_filled(stack.folder):
                return
            filled = fill_source(
                stack.folder,
                source,
                packaged_contracts(),
                rows=rows,
                progress=lambda table, count: status.update(f"filling {table}: {count:,} rows"),
            )
            console.print(f"source: {filled.inserted:,} rows inserted, {filled.seconds:.1f} s")

        stack.up(fill=fill, tell=status.update)
    return _print(stack, folder)


@command.command()
@_FOLDER
def down(folder: str) -> None:
    """Stop the servers; their data stays for the next `up`."""
    from .terminal import console

    stack = _stack(folder)
    with console.status("stopping"):
        killed = stack.down()
    for name in killed:
        click.echo(f"ownlens: {name} did not stop within 30 s and was killed", err=True)
    click.echo(f"the servers of {folder} are down; their data is kept")


@command.command()
@_FOLDER
def status(folder: str) -> int:
    """List the servers; exit code 1 when one of them is down."""
    return _print(_stack(folder), folder)


@command.command()
@_FOLDER
def change(folder: str) -> None:
    """Bring the source a day of changes: new, updated and late rows for the next load."""
    from ownlens_plugins.errors import SettingsInvalid
    from ownlens_sandbox.demo import change_source, is_filled
    from ownlens_sandbox.servers import packaged_contracts

    stack = _stack(folder)
    if not is_filled(stack.folder):
        raise SettingsInvalid(f"sandbox: {folder} has no source yet; run ownlens sandbox up{_options(folder)}")
    changed = change_source(stack.folder, stack.source, packaged_contracts())
    click.echo(f"source: day {changed.day}, {changed.inserted:,} rows inserted, {changed.updated:,} updated")


def _stack(folder: str) -> ServerStack:
    from ownlens_sandbox.server_stack import ServerStack

    return ServerStack(Path(folder).absolute())


def _options(folder: str) -> str:
    return "" if folder == "var/sandbox" else f" --folder {shlex.quote(folder)}"


def _print(stack: ServerStack, folder: str) -> int:
    standing = stack.standing()
    if not standing:
        click.echo(f"{folder} has no servers; run ownlens sandbox up{_options(folder)}")
        return 1
    for server in standing:
        state = f"pid {server.pid}" if server.pid else f"down, log {server.log}"
        click.echo(f"{server.name:<16}{server.address:<32}{state}")
    click.echo(f"{'lake':<16}{stack.lake}")
    if not all(server.pid for server in standing):
        return 1
    click.echo(
        HINTS.format(
            pages=stack.prefect.address,
            variables=shlex.quote(str(stack.variables)),
            passwords=stack.folder / "passwords.json",
            options=_options(folder),
        )
    )
    return 0
