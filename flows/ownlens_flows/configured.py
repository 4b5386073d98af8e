"""Tell whether a Prefect API is configured, without importing Prefect, which takes seconds.

The places are those that Prefect reads: the environment, `.env`, `prefect.toml` and `pyproject.toml` of the working
directory, and the active profile.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

API_URL = "PREFECT_API_URL"
# Profiles that Prefect brings along, and that have an address.
_BUILT_IN = {"local"}


def api_is_configured(environment: Mapping[str, str] = os.environ, folder: Path = Path()) -> bool:
    """Tell whether runs of this process belong to a Prefect server.

    A file that cannot be read counts as one that names a server: Prefect then says what is wrong with it.
    """
    if (settings := sys.modules.get("prefect.settings")) is not None:
        return bool(settings.PREFECT_API_URL.value())
    try:
        return bool(
            environment.get(API_URL)
            or _in_dotenv(folder / ".env")
            or _value(folder / "prefect.toml", "api", "url")
            or _value(folder / "pyproject.toml", "tool", "prefect", "api", "url")
            or _in_profile(environment)
        )
    except (OSError, ValueError, TypeError):
        return True


def _in_dotenv(path: Path) -> bool:
    if not path.is_file():
        return False
    lines = (line.strip().removeprefix("export ").lstrip() for line in path.read_text(encoding="utf-8").splitlines())
    return any(name.strip().upper() == API_URL and value for name, _, value in (line.partition("=") for line in lines))


def _in_profile(environment: Mapping[str, str]) -> bool:
    home = Path(environment.get("PREFECT_HOME") or "~/.prefect").expanduser()
    document = _document(Path(environment.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser())
    active = environment.get("PREFECT_PROFILE") or document.get("active")
    profiles = document.get("profiles", {})
    return bool(profiles[active].get(API_URL)) if active in profiles else active in _BUILT_IN


def _value(path: Path, *keys: str) -> Any:
    found: Any = _document(path)
    for key in keys:
        found = found.get(key, {})
    return found


def _document(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
