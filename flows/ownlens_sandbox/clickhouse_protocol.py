"""ClickHouse's HTTP protocol: what a request asks for, and how an answer or an error is written."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import sys
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, urlsplit

# Parameters of a request that are no settings.
_RESERVED = {
    "query", "database", "default_format", "query_id", "user", "password", "quota_key", "role", "compress",
    "decompress", "session_id", "session_timeout", "session_check", "wait_end_of_query", "buffer_size",
    "enable_http_compression", "client_protocol_version", "send_progress_in_http_headers",
    "http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close", "log_comment",
}  # fmt: skip
# HTTP statuses that ClickHouse gives its error codes; 500 for all others.
_STATUSES = {
    **dict.fromkeys((6, 8, 10, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 69, 72, 117, 167, 168), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 81, 115, 336), 404),
    **dict.fromkeys((192, 193, 497, 512, 516), 403),
    48: 501,
    159: 408,
    194: 401,
    223: 413,
}
_UNKNOWN_EXCEPTION = 1002


class ProtocolError(Exception):
    """A request that is refused before the engine sees it."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}. ({name})")


@dataclass(frozen=True)
class Request:
    """What a client asks for. `files` is external data by name; `values` the parameters bound to `{name:Type}`."""

    path: str
    query_id: str
    sql: bytes
    database: str | None
    format: str
    settings: Mapping[str, str]
    values: Mapping[str, str]
    user: str
    password: str
    read_only: bool
    compress: bool
    files: Mapping[str, bytes] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ping(self) -> bool:
        return self.path == "/ping" or not self.sql.strip()


def parse(method: str, target: str, headers: Message, body: bytes) -> Request:
    """Read a request whose body is complete and decompressed."""
    address = urlsplit(target)
    fields = dict(parse_qsl(address.query, keep_blank_values=True, errors="surrogateescape"))
    files: dict[str, bytes] = {}
    if headers.get_content_type() == "multipart/form-data":
        form, files = _form(headers, body)
        fields, body = {**fields, **form}, b""
    user, password = _login(headers, fields)
    head = fields.get("query", "").encode("utf-8", "surrogateescape")
    own = _RESERVED | {name + part for name in files for part in ("_structure", "_format", "_types")}
    return Request(
        path=address.path,
        query_id=fields.get("query_id") or str(uuid.uuid4()),
        sql=head + b"\n" + body if head and body else head or body,
        database=fields.get("database") or headers.get("X-ClickHouse-Database"),
        format=fields.get("default_format") or headers.get("X-ClickHouse-Format") or "TabSeparated",
        settings={name: text for name, text in fields.items() if name not in own and not name.startswith("param_")},
        values={name[6:]: text for name, text in fields.items() if name.startswith("param_")},
        user=user,
        password=password,
        read_only=method != "POST",
        compress=fields.get("enable_http_compression") == "1",
        files=files,
        fields=fields,
    )


def _form(headers: Message, body: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    boundary = str(headers.get_param("boundary")).encode()
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'\bname="([^"]*)"', head)
        if name is None:
            raise ProtocolError(36, "BAD_ARGUMENTS", "A part of the form has no name")
        if b"filename=" in head:
            files[name[1].decode()] = content
        else:
            fields[name[1].decode()] = content.decode("utf-8", "surrogateescape")
    return fields, files


def _login(headers: Message, fields: Mapping[str, str]) -> tuple[str, str]:
    kind, _, text = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise ProtocolError(516, "AUTHENTICATION_FAILED", "Invalid authorization header") from None
        return user, password
    user = _header(headers, "X-ClickHouse-User") or fields.get("user") or "default"
    return user, _header(headers, "X-ClickHouse-Key") or fields.get("password") or ""


def _header(headers: Message, name: str) -> str:
    # The standard library reads headers as Latin-1; clients send UTF-8.
    return str(headers.get(name, "")).encode("latin-1").decode("utf-8", "replace")


def decompressed(coding: str, body: bytes) -> bytes:
    """Undo a request's Content-Encoding."""
    codings: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        "identity": bytes,
        "gzip": gzip.decompress,
        "deflate": zlib.decompress,
        "lz4": _unframed,
        "zstd": _zstd().decompress,
    }
    if coding not in codings:
        raise ProtocolError(48, "NOT_IMPLEMENTED", f"Unknown compression method: {coding}")
    return codings[coding](body)


def compressed(accepted: str, body: bytes) -> tuple[str, bytes]:
    """Compress an answer by the first method that the client accepts; its name is empty for none."""
    for each in accepted.split(","):
        coding = each.partition(";")[0].strip().lower()
        if coding == "gzip":
            return coding, gzip.compress(body, 3)
        if coding == "deflate":
            return coding, zlib.compress(body)
        if coding == "zstd":
            return coding, _zstd().compress(body)
        if coding == "lz4":
            return coding, _lz4().compress(body)
    return "", body


def _unframed(body: bytes) -> bytes:
    # A client sends a frame for each block.
    text, blocks = body, []
    while text:
        frame = _lz4().LZ4FrameDecompressor()
        blocks.append(frame.decompress(text))
        text = frame.unused_data or b""
    return b"".join(blocks)


def _lz4() -> Any:
    return import_module("lz4.frame")


def _zstd() -> Any:
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


@dataclass(frozen=True)
class Failure:
    """An error as a server writes it. `status` is HTTP's, `code` ClickHouse's."""

    status: int
    code: int
    body: bytes


def failure(error: Exception, version: str) -> Failure:
    """Write an error of the engine or the protocol as a server would."""
    text = str(error)
    found = re.search(r"Code: (\d+)\. DB::Exception", text)
    if found is None:
        # The engine's own words only: another exception may quote the statement.
        said = f"Code: {_UNKNOWN_EXCEPTION}. DB::Exception: {type(error).__name__}. (UNKNOWN_EXCEPTION)"
        return Failure(500, _UNKNOWN_EXCEPTION, _line(said, version))
    code = int(found[1])
    text = re.sub(r" \(version [^()]*(\([^()]*\))?\)\s*$", "", text[found.start() :])
    return Failure(_STATUSES.get(code, 500), code, _line(text, version))


def _line(text: str, version: str) -> bytes:
    return f"{text} (version {version} (official build))\n".encode()


def summary(values: Mapping[str, int]) -> str:
    """Write the counts of a statement as the header of an answer has them."""
    return json.dumps({name: str(value) for name, value in values.items()})
