"""Reads just enough of a ClickHouse statement to treat it as a server would: what it is, and where its data begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_TOKEN = re.compile(
    rb"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)"""
    rb"""|(?P<quoted>'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")"""
    rb"""|(?P<word>\w+)|(?P<mark>.)""",
    re.DOTALL,
)
_AFTER_FORMAT = re.compile(rb"\A[ \t\f]*\r?\n?")
# What follows the first of these is the source of the rows, whatever the words in it are.
_SOURCES = {b"VALUES", b"SELECT", b"WITH", b"FROM"}
_WITH_RESULT = {
    b"SELECT", b"WITH", b"FROM", b"SHOW", b"DESC", b"DESCRIBE", b"EXPLAIN", b"EXISTS", b"CHECK", b"KILL",
}  # fmt: skip


class NotAsServer(ValueError):
    """A statement that the embedded engine would take otherwise than a server. `code` is the server's error code."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}. ({name})")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. For an insert with inline data, `text` ends before FORMAT and `data` follows it.

    `settings_at` is where an insert's own SETTINGS begin in `text`; None without them.
    """

    text: bytes
    has_result: bool = False
    format: str | None = None
    data: bytes | None = None
    settings_at: int | None = None

    @property
    def is_insert(self) -> bool:
        """Whether rows in `format` follow the statement."""
        return self.data is not None

    @property
    def around_source(self) -> tuple[bytes, bytes]:
        """What comes before and after the place where an insert names the source of its rows."""
        at = len(self.text) if self.settings_at is None else self.settings_at
        return self.text[:at], self.text[at:]


def read(sql: bytes) -> Statement:
    """Read a statement as it stands in a request.

    Raises:
        NotAsServer: several statements, or a form that the embedded engine would run without saying that it cannot.
    """
    tokens = [token for token in _tokens(sql) if token.lastgroup != "skip"]
    words = [_word(token) for token in tokens]
    first = next((word for word in words if word not in (b"(", b"")), b"")
    if first == b"INSERT" and (found := _inline_data(tokens, words)):
        named, end, name_end = found
        data = _AFTER_FORMAT.sub(b"", sql[name_end:], count=1)
        return Statement(sql[:end], format=named, data=data, settings_at=_settings(tokens, words, end))
    _refuse(words)
    return Statement(_with_own_query_ids(sql, tokens, words), first in _WITH_RESULT, _format(words, tokens))


def _tokens(sql: bytes) -> Iterator[re.Match[bytes]]:
    return _TOKEN.finditer(sql)


def _word(token: re.Match[bytes]) -> bytes:
    return token[0].upper() if token.lastgroup in ("word", "mark") else b""


def _inline_data(tokens: list[re.Match[bytes]], words: list[bytes]) -> tuple[str, int, int] | None:
    """Return the format, where the statement before it ends, and where its name ends."""
    depth = 0
    for index, word in enumerate(words[:-1]):
        depth += (word == b"(") - (word == b")")
        if depth == 0 and word in _SOURCES:
            return None
        if depth == 0 and word == b"FORMAT":
            name = tokens[index + 1]
            return name[0].decode(), tokens[index].start(), name.end()
    return None


def _settings(tokens: list[re.Match[bytes]], words: list[bytes], end: int) -> int | None:
    # A table or a column may have that name too.
    found = (tokens[i].start() for i, word in enumerate(words[:-2]) if word == b"SETTINGS" and words[i + 2] == b"=")
    return next((start for start in found if start < end), None)


def _refuse(words: list[bytes]) -> None:
    rest = words[words.index(b";") + 1 :] if b";" in words else []
    if any(word != b";" for word in rest):
        raise NotAsServer(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
    if words[:1] == [b"INSERT"] and (b"INPUT", b"(") in pairwise(words):
        raise NotAsServer(48, "NOT_IMPLEMENTED", "INSERT from input() would write no rows here")


def _format(words: list[bytes], tokens: list[re.Match[bytes]]) -> str | None:
    last = next((i for i in range(len(words) - 2, 0, -1) if words[i] == b"FORMAT"), None)
    return None if last is None else tokens[last + 1][0].decode("utf-8", "replace")


def _with_own_query_ids(sql: bytes, tokens: list[re.Match[bytes]], words: list[bytes]) -> bytes:
    """Show the clients' query ids: the engine gives its own ones, and each query carries its client's as a comment."""
    pieces, end = [], 0
    for start, stop, text in _replacements(tokens, words):
        pieces += [sql[end:start], text]
        end = stop
    return b"".join([*pieces, sql[end:]])


def _replacements(tokens: list[re.Match[bytes]], words: list[bytes]) -> Iterator[tuple[int, int, bytes]]:
    kill = words[:2] == [b"KILL", b"QUERY"]
    for index, token in enumerate(tokens):
        if kill and token[0].strip(b'`"') == b"query_id":
            yield token.start(), token.end(), b"Settings['log_comment']"
        elif words[index : index + 3] == [b"SYSTEM", b".", b"PROCESSES"]:
            shown = b"(SELECT * REPLACE (Settings['log_comment'] AS query_id) FROM system.processes)"
            yield token.start(), tokens[index + 2].end(), shown
