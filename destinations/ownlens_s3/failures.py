"""What a failure of the store means for the load: try again, give up, or ask the store what happened."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ownlens_plugins.errors import OwnLensError, Rejected, Retryable

_DISK = ("no space left", "disk quota exceeded", "storagefull", "xminiostoragefull")
_DENIED_LOCALLY = ("permission denied", "read-only file system", "operation not permitted")
_NO_FOLDER = ("not a directory", "notadirectory", "fileexistserror")
_CREDENTIALS = (
    "invalidaccesskeyid",
    "invalid_access_key_id",
    "signaturedoesnotmatch",
    "signature_does_not_match",
    "expiredtoken",
    "invalidtoken",
)
# Without keys the clients ask the cloud's metadata service, which only answers on a machine that has a role.
_NO_CREDENTIALS = ("nocredentialserror", "unable to locate credentials", "169.254.169.254", "latest/api/token")
_DENIED = ("accessdenied", "access_denied", "access denied", "403 forbidden", "acess_denied")
_NO_BUCKET = ("nosuchbucket", "no_such_bucket")
_ERRNO = {errno.ENOSPC: "no space left", errno.EDQUOT: "disk quota exceeded", errno.EROFS: "read-only file system"}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def explained(table: str, doing: str) -> Iterator[None]:
    """Turn the errors of drivers and the operating system into the engine's own, one line each.

    For steps after which nothing is visible yet; a commit is judged by asking the store.
    """
    try:
        yield
    except OwnLensError:
        raise
    except Exception as error:
        raise explain(error, table, doing) from error


def explain(error: Exception, table: str, doing: str) -> OwnLensError:
    """Return the error of the load that a driver's error stands for. Its text holds no values and no secrets."""
    where = f"{table}: s3 could not {doing}"
    if isinstance(error, OwnLensError):
        return error
    text = _text(error)
    if reason := _permanent(text):
        return Rejected(f"{where}: {reason}")
    if isinstance(error, FileNotFoundError):
        return Retryable(f"{where}: files were replaced by another load in that moment; run it again")
    if _is_transport(error, text):
        return Retryable(f"{where}: the store does not answer ({_kind(text)}); check endpoint_url and the network")
    return Rejected(f"{where}: {type(error).__name__}; the log has the details")


def _text(error: Exception) -> str:
    known = _ERRNO.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    return f"{known} {type(error).__name__} {_ANSI.sub('', str(error))}".casefold()


def _permanent(text: str) -> str | None:
    if _has(text, _DISK):
        return "the disk is full; free space and run it again"
    if _has(text, _DENIED_LOCALLY):
        return "the folder is not writable for this user; change its permissions or the lake's uri"
    if _has(text, _NO_FOLDER):
        return "a file stands where a folder is needed; move it or change the lake's uri"
    if _has(text, _NO_CREDENTIALS):
        return "no credentials were found; set access_key_id and secret_access_key, or AWS_* in the environment"
    if _has(text, _CREDENTIALS):
        return "the store refuses the credentials; check access_key_id and secret_access_key"
    if _has(text, _NO_BUCKET):
        return "the bucket does not exist; create it or correct the lake's uri"
    if _has(text, _DENIED):
        return "the store denies access; grant get, put, list and delete below the lake's prefix"
    return None


def _has(text: str, needles: tuple[str, ...]) -> bool:
    return any(needle in text for needle in needles)


_TIME_OUT = ("timed out", "timeout was reached", "read timeout", "connect timeout")
_NO_CONNECTION = ("connection", "not connect", "(connect)", "to connect")
_TRANSPORT = (
    *_TIME_OUT,
    *_NO_CONNECTION,
    "network",
    "error sending request",
    "slowdown",
    "slow_down",
    "service unavailable",
    "internal server error",
    "internalerror",
    "dispatch failure",
    "broken pipe",
    "unexpected eof",
)


def _is_transport(error: Exception, text: str) -> bool:
    return _has(text, _TRANSPORT) or isinstance(error, OSError)


def _kind(text: str) -> str:
    if _has(text, _TIME_OUT):
        return "time-out"
    return "no connection" if _has(text, _NO_CONNECTION) else "input/output error"
