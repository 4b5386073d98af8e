"""Take secrets out of text before it is logged, stored or shown."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretStr

MASK = "***"
_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@]+(?=@)", re.IGNORECASE)
_SECRET_NAME = re.compile(r"password|secret|token|access_key", re.IGNORECASE)
# Shorter values occur in ordinary words, and masking those would give the secret's length away.
_SHORTEST = 4


class Scrubber:
    """Masks known secret values, also percent-encoded, and passwords inside URLs."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        self._secrets = sorted(spellings, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return the text with every known secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)

    def line(self, error: BaseException) -> str:
        """Return an error's message as one masked line."""
        # Masked before it is folded: a secret may hold the blanks that folding takes away.
        return " ".join(self.text(str(error)).split()) or type(error).__name__

    def trace(self, error: BaseException) -> str:
        """Return an error's stack trace, masked."""
        return self.text("".join(traceback.format_exception(error)))


def _forms(secret: str) -> tuple[str, ...]:
    return (
        secret,
        quote(secret, safe="", errors="surrogatepass"),
        quote_plus(secret, errors="surrogatepass"),
        repr(secret)[1:-1],
        secret.replace("'", "\\'"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    )


def secrets_of(value: Any, *, name: str = "") -> Iterator[str]:
    """Yield every secret inside settings: `SecretStr` values, and text under names such as `password`."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from secrets_of(getattr(value, field), name=field)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from secrets_of(inner, name=str(key))
    elif isinstance(value, str) and _SECRET_NAME.search(name):
        yield value
