"""The commands that messages name, spelt so that a shell takes them as they stand, whatever a table is called."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime

# What a list of names would take for its own marks.
_MARKS = re.compile(r"[,\"]|^\s|\s$")
_BARE_REFRESH = re.compile(r"--full-refresh(?![\w-])(?! --(?:tables|domains|presets))")
_ITEM = re.compile(r'\s*"((?:[^"]|"")*)"\s*(?:,|$)|([^,]*)(?:,|$)')


def load_command(table: str, *options: str) -> str:
    """Return the command that loads one table."""
    return shlex.join(["ownlens", "load", *options, "--tables", listed([table])])


def backfill_command(table: str, destination: str) -> str:
    """Return the command that fills one table anew in one destination alone."""
    return load_command(table, "--backfill", "--destinations", listed([destination]))


def adopt_command(table: str, destination: str) -> str:
    """Return the command that takes a table's rows in one destination as they are."""
    return shlex.join(["ownlens", "adopt", "--destination", destination, *_argument(table)])


def since_command(table: str, destination: str, moment: datetime) -> str:
    """Return the command that brings a stretch of one table into one destination once more."""
    return load_command(table, "--since", moment.isoformat(), "--destinations", listed([destination]))


def refresh_options(table: str) -> str:
    """Return the options of `ownlens load` that stage one table whole, whatever it is called."""
    return shlex.join(["--full-refresh", "--tables", listed([table])])


def naming_the_table(message: str, table: str) -> str:
    """Return a message about one table whose bare `--full-refresh` names it.

    Destinations say what helps; typed as it stands it would replace every table in every destination.
    """
    return _BARE_REFRESH.sub(lambda _: refresh_options(table), message)


def quarantine_command(act: str, table: str) -> str:
    """Return the command that shows or replays a table's refused rows."""
    return shlex.join(["ownlens", "quarantine", act, *_argument(table)])


def _argument(name: str) -> Iterator[str]:
    if name.startswith("-"):
        yield "--"
    yield name


def listed(names: Sequence[str]) -> str:
    """Return names as `split_names` reads them."""
    return ",".join('"' + name.replace('"', '""') + '"' if _MARKS.search(name) else name for name in names)


def split_names(text: str) -> list[str]:
    """Split names that are separated by commas; one in double quotes may hold commas, and blanks at its ends."""
    found, place = [], 0
    while place < len(text):
        item = _ITEM.match(text, place)
        assert item is not None  # its second half takes anything
        place = item.end()
        quoted, plain = item.groups()
        found.append(plain.strip() if quoted is None else quoted.replace('""', '"'))
    return [name for name in found if name]
