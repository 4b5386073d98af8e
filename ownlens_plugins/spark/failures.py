"""What Spark's errors mean: a page of Java becomes one line with the cause and the fix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import OwnLensError, Rejected, Retryable


class ClusterGone(Retryable):
    """The session is of no use any more; another one may be."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A text that Spark's error holds, and what it means. `line` may name the pattern's group `what`."""

    pattern: re.Pattern[str]
    line: str
    kind: type[OwnLensError]


def _known(pattern: str, line: str, kind: type[OwnLensError] = Rejected) -> _Known:
    return _Known(re.compile(pattern), line, kind)


_PYTHON = "set python in [profiles.NAME.spark] to the interpreter of"
_KNOWN = (
    _known(
        r"JAVA_GATEWAY_EXITED|Java gateway process exited|UnsupportedClassVersionError",
        "Java did not start; install Java 17 or newer and point JAVA_HOME to it, then run `ownlens spark check`",
    ),
    _known(
        r"Cannot run program \"(?P<what>[^\"]+)\"",
        f"the executors have no {{what}}; {_PYTHON} an environment there that has ownlens",
    ),
    _known(
        r"PYTHON_VERSION_MISMATCH|Python in worker has different version",
        f"the executors run another Python than this process; {_PYTHON} an environment of the same version there",
    ),
    _known(
        r"(ModuleNotFoundError|PackageNotFoundError).*?No module named '(?P<what>[^']+)'",
        f"the executors' Python lacks {{what}}; install ownlens with its extras there, or {_PYTHON} one that has it",
    ),
    _known(
        r"All masters are unresponsive",
        "the master does not answer; start it, or correct master in [profiles.NAME.spark]",
        Retryable,
    ),
    _known(
        r"ClassNotFoundException: io\.delta|DELTA_CONFIGURE_SPARK_SESSION|Failed to find the data source: delta",
        "the jars of Delta are not on the class path; run `ownlens spark jars` on each node",
    ),
    _known(
        r"(?P<what>CANNOT_MODIFY_CONFIG|CANNOT_MODIFY_STATIC_CONFIG)",
        "a setting of conf can only be given to the server; take it out of [profiles.NAME.spark.conf]",
    ),
    _known(
        r"SparkContext was shut down|stopped SparkContext|STOPPED_SPARK_CONTEXT|StatusCode\.UNAVAILABLE"
        r"|Java side is empty|connect to the Java server|Connection refused",
        "the cluster or its driver went away; run it again",
        ClusterGone,
    ),
    _known(
        r"Executor.*(?:Lost|lost|exited)|ExecutorLostFailure|Remote RPC client disassociated",
        "executors were lost more often than spark.task.maxFailures allows; run it again",
        Retryable,
    ),
)


def recognised(error: BaseException, who: str) -> OwnLensError | None:
    """Return what an error of Spark's means that has to do with the cluster and not with the rows; None for others."""
    text = str(error)
    for known in _KNOWN:
        if found := known.pattern.search(text):
            line = f"{who}: spark: {known.line.format(**found.groupdict())}"
            return known.kind(line)
    return None


def translate(error: BaseException, who: str, doing: str) -> OwnLensError:
    """Return what an error of Spark's means. Nothing has landed: the only commits are the driver's own."""
    if (known := recognised(error, who)) is not None:
        return known
    return Retryable(f"{who}: spark could not {doing} ({_name(error)}); run it again, or try --engine local")


def _name(error: BaseException) -> str:
    condition = getattr(error, "getCondition", None)
    try:
        told = condition() if callable(condition) else None
    except Exception:
        told = None
    return f"{type(error).__name__} {told}" if told else type(error).__name__


@contextmanager
def explained(who: str, doing: str) -> Iterator[None]:
    """Raise Spark's errors as ours. `who` is the table and destination, or spark itself.

    From None: Java's text may quote what the workers held.
    """
    try:
        yield
    except OwnLensError:
        raise
    except Exception as error:
        raise translate(error, who, doing) from None
