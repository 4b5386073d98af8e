"""Keep the embedded stack of a profile running while a command uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
