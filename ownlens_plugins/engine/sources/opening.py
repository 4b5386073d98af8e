"""Build a source from its settings."""

from __future__ import annotations

from datetime import timedelta

from ...errors import SettingsInvalid
from ...settings import FileSourceConfig, PostgreSQLSourceConfig, Profile
from .source import Source


def open_source(profile: Profile) -> Source:
    """Return the profile's source; nothing connects before its snapshot opens.

    Raises:
        SettingsInvalid: the profile names no source.
    """
    config = profile.source
    if isinstance(config, PostgreSQLSourceConfig):
        from .postgresql import PostgreSQLSource

        return PostgreSQLSource(config, timedelta(seconds=profile.lag_seconds))
    if isinstance(config, FileSourceConfig):
        from .files import FileSource

        return FileSource(config)
    raise SettingsInvalid("the profile has no source; add [profiles.NAME.source] with host, database and user")
