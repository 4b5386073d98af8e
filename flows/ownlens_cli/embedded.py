"""Make a profile ready for a command: its embedded stack running, its connections filled in from blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import Profile, load_profile


@contextmanager
def ready_profile(name: str, config: str | None) -> Iterator[Profile]:
    """Give a profile with its servers running: those of an embedded profile are started here and stopped at the end."""
    profile = load_profile(name, file=config)
    if profile.embedded is None:
        yield profile
        return
    from ownlens_sandbox.servers import running

    with running(Path(profile.embedded), contracts=Path(profile.contracts)):
        yield load_profile(name, file=config)


def with_connections(settings: Profile, asked: Sequence[str], registry: Registry) -> Profile:
    """Return the profile with what Prefect's blocks say of the asked destinations filled in; of all without any."""
    if any("block" in connection for connection in settings.destinations.values()):
        # Only then, because it starts Prefect.
        from ownlens_flows.blocks import with_blocks

        return with_blocks(settings, {}, registry, destinations=list(asked))
    return settings
