"""Which names of files are read, and which are passed over."""

from __future__ import annotations

import os
from typing import NamedTuple

_FORMAT_OF = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
_CODEC_OF = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}

FORMATS = "|".join(_FORMAT_OF)
READ = f"{' '.join(_FORMAT_OF)}; those of text also with {' '.join(_CODEC_OF)}"


class FileName(NamedTuple):
    """A file's name in parts; `codec` is how the whole file is compressed."""

    stem: str
    format: str
    codec: str | None


def split_name(name: str) -> FileName | None:
    """Return the parts of a name, suffixes of any case, or None when no such file is read."""
    inner, codec = _split(name, _CODEC_OF)
    stem, form = _split(inner, _FORMAT_OF)
    # Parquet is compressed inside; its reader needs to jump.
    if form is None or (form == "parquet" and codec is not None):
        return None
    return FileName(stem, form, codec)


def _split(name: str, suffixes: dict[str, str]) -> tuple[str, str | None]:
    stem, suffix = os.path.splitext(name)
    meaning = suffixes.get(suffix.lower())
    return (name, None) if meaning is None else (stem, meaning)


def hidden(name: str, path: str) -> bool:
    """Tell whether a name is one that readers of such folders agree to pass over, as _SUCCESS and .part-0.crc."""
    if name.startswith("_"):
        # A column's name may begin so.
        return not ("=" in name and os.path.isdir(path))
    return name.startswith(".") or name.lower().endswith(".crc")


def shown(name: str) -> str:
    """Return a name as it may stand in a message of one line."""
    plain = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
    return plain
