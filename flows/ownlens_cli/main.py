"""Entry point of `ownlens`: commands are imported when they are called, errors become one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from ownlens_plugins.errors import OwnLensError, UnknownName

from .environment import quiet_dependencies
from .output import guard_output, output_trouble

# One file per command. Importing only the one that is called keeps `ownlens plugins` from starting Prefect.
COMMANDS = {
    "load": "Load tables into the destinations.",
    "status": "Tell how far each destination has come, and what is not validated.",
    "maintain": "Keep tables, ledgers and staged sets small.",
    "adopt": "Take rows of a destination whose ledger is lost as they are.",
    "demo": "Run the whole load path on an embedded newsroom.",
    "sandbox": "Start, stop or list the servers of a whole stack to look at.",
    "show": "Print rows that landed in a destination.",
    "quarantine": "List, show and replay refused rows.",
    "contracts": "Check the contracts, or show one resolved.",
    "spark": "Fetch the jars of Delta for Spark, and check a cluster.",
    "plugins": "List the installed destinations.",
}
FAILED, USAGE, REJECTED_ROWS = 1, 2, 3
# As shells say it of a program that SIGINT or SIGTERM ended.
STOPPED = (130, 143)


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # the signature is click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            raise UnknownName("command", cmd_name, COMMANDS)
        command: click.Command = import_module(f"ownlens_cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ownlens")
def cli() -> None:
    """Load tables exactly once into a data lake, PostgreSQL and ClickHouse."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 well, 1 failed, 2 wrong usage, 3 newly refused rows."""
    quiet_dependencies()
    try:
        code = cli.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.exceptions.Abort:
        return _stop("interrupted", 130)
    except click.ClickException as error:
        return _stop(_usage_line(error), USAGE)
    except UnknownName as error:
        return _stop(str(error), USAGE)
    except OwnLensError as error:
        return _stop(str(error), FAILED)
    return code if isinstance(code, int) else 0


def _usage_line(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        return str(UnknownName("option", error.option_name, error.possibilities or ())).removesuffix("; known: ")
    return error.format_message()


def _stop(message: str, code: int) -> int:
    for line in message.splitlines():
        click.echo(f"ownlens: {line}", err=True)
    return code


def main() -> None:
    """Run the command line of this process."""
    written = guard_output()
    code = run()
    if trouble := output_trouble(written):
        code = _stop(trouble, code or FAILED)
    if code in STOPPED:
        from .leaving import EXIT_GRACE, later, leave

        # Prefect's threads say goodbye to their server at exit, and look for it for minutes when it is gone.
        later(EXIT_GRACE, leave, code)
    sys.exit(code)
