"""`ownlens spark`: fetch the jars of Delta, and say what keeps loads from running on the profile's cluster."""

from __future__ import annotations

import json

import click

from ownlens_plugins.engines import SparkConfig
from ownlens_plugins.errors import SettingsInvalid
from ownlens_plugins.settings import DEFAULT_PROFILE, load_profile

_profile = click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile of ownlens.toml.")
_config = click.option("--config", type=click.Path(dir_okay=False), help="Path of ownlens.toml.")


@click.group()
def command() -> None:
    """Prepare and check the Spark cluster of a profile."""


@command.command("jars")
@click.option("--s3", is_flag=True, help="Also what Spark itself needs to read s3a:// (700 MB).")
@_profile
@_config
def fetch(s3: bool, profile: str, config: str | None) -> int:
    """Fetch the jars of Delta once; sessions name them by class path."""
    from ownlens_plugins.spark import jars

    settings = _spark(profile, config)
    found = jars.resolve(settings, s3=s3)
    size = sum(path.stat().st_size for path in found)
    click.echo(f"{len(found)} jars, {size / 1e6:.1f} MB, in {jars.folder(settings)}")
    return 0


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@_profile
@_config
def check(as_json: bool, profile: str, config: str | None) -> int:
    """Start a session and tell in one line each what is wrong. Exit code 1 if anything is."""
    from ownlens_plugins.spark.checking import check as look

    settings = _spark(profile, config)
    report = look(settings)
    if as_json:
        told = {"succeeded": report.succeeded, "problems": report.problems, "executors": report.executors}
        click.echo(json.dumps(told, indent=1))
    elif report.succeeded:
        click.echo(f"spark on {settings.place}: ready; executors run {', '.join(report.executors)}")
    for problem in report.problems:
        click.echo(problem, err=True)
    return 0 if report.succeeded else 1


def _spark(name: str, file: str | None) -> SparkConfig:
    settings = load_profile(name, file=file).spark
    if settings is None:
        raise SettingsInvalid(
            f"profile {name} names no Spark cluster; add [profiles.{name}.spark] with master or remote to ownlens.toml"
        )
    return settings
