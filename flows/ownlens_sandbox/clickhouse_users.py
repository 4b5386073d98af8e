"""Who may use the development server, and with which settings: the user it was started for, and those of a file."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .clickhouse_protocol import ProtocolError


@dataclass(frozen=True, slots=True)
class Users:
    """One user with a password, and more in a JSON file that is read anew for each request.

    The file is like a server's users.xml: `{"reader": {"password": "…", "settings": {"readonly": "2"}}}`. An entry
    for the first user replaces its password and settings.
    """

    user: str
    password: str = field(repr=False)
    file: Path | None = None

    def admit(self, user: str, password: str) -> Mapping[str, str]:
        """Check a login; return the user's settings.

        Raises:
            ProtocolError: code 516.
        """
        known: dict[str, dict[str, Any]] = {self.user: {"password": self.password}}
        if self.file is not None:
            known |= json.loads(self.file.read_text(encoding="utf-8"))
        entry = known.get(user)
        # Compared in the same time whoever asks.
        right = hmac.compare_digest(_bytes(password), _bytes((entry or {}).get("password", "")))
        if entry is None or not right:
            text = f"{user}: Authentication failed: password is incorrect, or there is no user with such name"
            raise ProtocolError(516, "AUTHENTICATION_FAILED", text)
        return {name: str(value) for name, value in entry.get("settings", {}).items()}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
