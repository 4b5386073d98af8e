"""The keys of Prefect's assets: one for each table and place, whatever the two are called."""

from __future__ import annotations

import re

SOURCE, STAGED = "source", "staged"
# Prefect refuses `%` and most other marks in a key, and anything but these in the word before `://`.
_PLAIN, _PLAIN_SCHEME = re.compile(r"[A-Za-z0-9_.-]"), re.compile(r"[a-z0-9]+")


def source_key(table: str) -> str:
    """Return the asset that stands for a table in the source."""
    return f"{SOURCE}://ownlens/{_spelt(table)}"


def staged_key(table: str) -> str:
    """Return the asset that stands for a table's staged sets, between its source and its destinations."""
    return f"{STAGED}://ownlens/{_spelt(table)}"


def asset_key(table: str, destination: str) -> str:
    """Return the asset that stands for a table in a destination. No two tables or places share a key."""
    if _PLAIN_SCHEME.fullmatch(destination) and destination not in (SOURCE, STAGED):
        return f"{destination}://ownlens/{_spelt(table)}"
    # A plain name has no second folder, so this cannot be taken for a destination called so.
    return f"destination://ownlens/{_spelt(destination)}/{_spelt(table)}"


def _spelt(name: str) -> str:
    """Return a name with `~` and two hexadecimal digits for each byte that a key cannot hold, `~` included."""
    if not name.strip("."):
        return _bytes(name)  # `.` and `..` mean folders to whoever follows a key
    return "".join(character if _PLAIN.match(character) else _bytes(character) for character in name)


def _bytes(text: str) -> str:
    return "".join(f"~{byte:02X}" for byte in text.encode())
