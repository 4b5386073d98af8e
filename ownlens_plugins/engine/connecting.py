"""Open the destinations of a profile for a command: the one way in which all of them do it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..api import Destination
from ..errors import SettingsInvalid
from ..registry import Registry
from ..settings import Profile
from .scrubbing import Scrubber, secrets_of

Stores = Mapping[str, Destination[Any, Any]]


@dataclass(frozen=True)
class Opened:
    """Destinations by name, and what masks the secrets of the profile. `complete` says that these are all it has."""

    stores: Stores
    scrubber: Scrubber
    complete: bool


@contextmanager
def opened(settings: Profile, registry: Registry, asked: Sequence[str] = ()) -> Iterator[Opened]:
    """Give the asked destinations of a profile, all when none is asked for; they are closed at the end.

    Raises:
        UnknownName: not installed. SettingsInvalid: the profile has no connection for it.
    """
    connections = {registry.resolve(name): given for name, given in settings.destinations.items()}
    names = destination_names(asked, connections, registry)
    stores = {name: registry.create(name, connections[name]) for name in names}
    secrets = [*secrets_of(settings), *secrets_of({name: store.config for name, store in stores.items()})]
    try:
        yield Opened(stores, Scrubber(secrets), complete=set(names) == set(connections))
    finally:
        for store in stores.values():
            store.close()


def destination_names(asked: Sequence[str], connections: Mapping[str, Any], registry: Registry) -> list[str]:
    """Return the destination names for names or aliases, each once; all that have connections when none are asked for.

    Raises:
        UnknownName: not installed. SettingsInvalid: the profile has no connection for it.
    """
    names = list(dict.fromkeys(registry.resolve(name) for name in asked)) or list(connections)
    for name in names:
        if name not in connections:
            raise SettingsInvalid(
                f"{name}: the profile has no connection for this destination; add [profiles.NAME.destinations.{name}]"
            )
    if not names:
        raise SettingsInvalid("the profile has no destinations; add [profiles.NAME.destinations.s3] or another")
    return names
