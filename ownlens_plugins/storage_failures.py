"""What a failure of a folder or an S3 store means: try again, or give up with a line that says what to mend."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from .errors import OwnLensError, Rejected, Retryable

_DISK = ("no space left", "disk quota exceeded", "storagefull", "storage backend has reached", "drive path full")
_QUOTA = ("quotaexceeded", "quota exceeded")
_DENIED_LOCALLY = ("permission denied", "read-only file system", "operation not permitted")
_NO_FOLDER = ("not a directory", "notadirectory", "fileexistserror")
_EXPIRED = ("expiredtoken", "expired_token", "token has expired", "tokenrefreshrequired", "is expired")
_CREDENTIALS = (
    "invalidaccesskeyid",
    "invalid_access_key_id",
    "signaturedoesnotmatch",
    "signature_does_not_match",
    "invalidtoken",
    "invalidclienttokenid",
    "invalid_client_token_id",
    "account is disabled",
)
_CLOCK = ("requesttimetooskewed", "request_time_too_skewed")
_CERTIFICATE = ("certificate verify failed", "invalid peer certificate", "ssl certificate problem", "curlcode: 60")
# Without keys the clients ask the cloud's metadata service, which only answers on a machine that has a role.
_NO_CREDENTIALS = ("nocredentialserror", "unable to locate credentials", "169.254.169.254", "latest/api/token")
_DENIED = ("accessdenied", "access_denied", "access denied", "403 forbidden", "(403)", "acess_denied")
_NO_BUCKET = ("nosuchbucket", "no_such_bucket")
_SLOW = (
    *("slowdown", "slow_down", "serverbusy", "toomanyrequests", "too many requests", "throttl", "requestlimit"),
    *("(429)", "(503)", "status 429", "status 503"),  # the answer to a HEAD has no other name for it
)
_TIME_OUT = ("timed out", "timeout was reached", "read timeout", "connect timeout", "requesttimedout")
_NO_CONNECTION = ("connection", "not connect", "(connect)", "to connect")
_TRANSPORT = (
    *_TIME_OUT,
    *_NO_CONNECTION,
    "network",
    "error sending request",
    "service unavailable",
    "internal server error",
    "internalerror",
    "dispatch failure",
    "broken pipe",
    "unexpected eof",
    *("(500)", "(502)", "(504)", "bad gateway", "gateway timeout"),
)
_ERRNO = {errno.ENOSPC: "no space left", errno.EDQUOT: "disk quota exceeded", errno.EROFS: "read-only file system"}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# What boto3, Arrow and delta-rs say that they were doing.
_DOING = re.compile(r"calling the (\w+) operation|during (\w+) operation|error performing (\w+ \S+)")
_PERMISSIONS = (
    (re.compile(r"createmultipart|uploadpart|completemultipart|putobject|put |post \S+uploads"), "s3:PutObject"),
    (re.compile(r"abortmultipart"), "s3:AbortMultipartUpload"),
    (re.compile(r"deleteobject|delete |post \S+delete"), "s3:DeleteObject"),
    (re.compile(r"listmultipart"), "s3:ListBucketMultipartUploads"),
    (re.compile(r"listobjects|get \S+list-type|headbucket"), "s3:ListBucket"),
    (re.compile(r"getobject|headobject|get |head "), "s3:GetObject"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store's settings are, in the words of its user."""

    uri: str
    keys: str
    endpoint: str
    certificates: str


def explain(error: Exception, where: str, place: Place) -> OwnLensError:
    """Return the error of the load that a driver's error stands for, in one line without values and secrets.

    `where` says which table, which store, and what could not be done.
    """
    if isinstance(error, OwnLensError):
        return error
    text = _text(error)
    if reason := _permanent(text, place):
        return Rejected(f"{where}: {reason}")
    if isinstance(error, FileNotFoundError):
        return Retryable(f"{where}: files were replaced by another load in that moment; run it again")
    if _has(text, _SLOW):
        return Retryable(f"{where}: the store asks for fewer requests; run it again, or with fewer loads at once")
    if _has(text, _TRANSPORT) or isinstance(error, OSError):
        return Retryable(f"{where}: the store does not answer ({_kind(text)}); check {place.endpoint} and the network")
    return Rejected(f"{where}: {type(error).__name__}; the log has the details")


def _text(error: Exception) -> str:
    known = _ERRNO.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    return f"{known} {type(error).__name__} {_ANSI.sub('', str(error))}".casefold()


def _permanent(text: str, place: Place) -> str | None:
    reasons = (
        (_DISK, "the disk is full; free space and run it again"),
        (_QUOTA, "the bucket's quota is used up; raise it or delete what is old, and run it again"),
        (_DENIED_LOCALLY, f"the folder is not writable for this user; change its permissions or {place.uri}"),
        (_NO_FOLDER, f"a file stands where a folder is needed; move it or change {place.uri}"),
        (_CERTIFICATE, f"the server's certificate is not trusted; name its authority with {place.certificates}"),
        (_NO_CREDENTIALS, f"no credentials were found; set {place.keys}, or AWS_* in the environment"),
        (_EXPIRED, "the store says that the credentials have expired; get new ones and run it again"),
        (_CREDENTIALS, f"the store refuses the credentials; check {place.keys}"),
        (_CLOCK, "the store's clock differs from this machine's by minutes; set it right"),
        (_NO_BUCKET, f"the bucket does not exist; create it or correct {place.uri}"),
    )
    for needles, reason in reasons:
        if _has(text, needles):
            return reason
    return _denied(text) if _has(text, _DENIED) else None


def _denied(text: str) -> str:
    doing = " ".join(step for found in _DOING.findall(text) for step in found)
    missing = next((permission for pattern, permission in _PERMISSIONS if pattern.search(f"{doing} ")), None)
    if missing is None:
        return "the store denies access; grant get, put, list and delete below the prefix"
    return f"the store denies access; grant {missing} below the prefix, or check that the keys are still in use"


def _has(text: str, needles: tuple[str, ...]) -> bool:
    return any(needle in text for needle in needles)


def _kind(text: str) -> str:
    if _has(text, _TIME_OUT):
        return "time-out"
    return "no connection" if _has(text, _NO_CONNECTION) else "input/output error"
