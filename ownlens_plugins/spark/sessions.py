"""Spark sessions with our settings. Only what Spark Connect offers is used: no SparkContext, no JVM, no job groups."""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..engines import FIXED, SparkConfig
from ..errors import DestinationUnavailable, OwnLensError, Rejected, Retryable
from . import jars
from .failures import explained

logger = logging.getLogger("ownlens.spark")
_CONNECT_SECONDS = 5
INSTALL = "pip install 'ownlens[spark]'"
# Anybody may choose others of these. A page and a log of each run are for those who look at them, and cost seconds.
_DEFAULTS = {
    "spark.app.name": "ownlens",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.eventLog.enabled": "false",
    "spark.task.maxFailures": "4",
    "spark.redaction.regex": "(?i)secret|password|passwd|credential|token|access[.]?key",
    # A table's log is small: with Spark's 50 partitions to read it in, a merge takes three times as long.
    "spark.databricks.delta.snapshotPartitions": "2",
}
# Spark's own prints warnings at every start.
_LOGGING = Path(__file__).with_name("log4j2.properties")
_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def settings_of(config: SparkConfig) -> dict[str, str]:
    """Return all settings of a session. A Connect server has its own jars and pages, so only SQL is set there."""
    ours = {**_DEFAULTS, **config.conf, **FIXED}
    if config.remote is not None:
        return {name: value for name, value in ours.items() if name.startswith(("spark.sql.", "spark.databricks."))}
    ours |= {"spark.pyspark.python": interpreter(config), "spark.pyspark.driver.python": sys.executable}
    given = config.conf.get("spark.driver.extraJavaOptions", "")
    ours["spark.driver.extraJavaOptions"] = f"-Dlog4j2.configurationFile=file:{_LOGGING} {given}".strip()
    if config.is_local:
        # Else the name of a laptop that has just changed its network would have to be found.
        ours.setdefault("spark.driver.host", "127.0.0.1")
    if found := [str(path) for path in jars.present(config)]:
        for name in ("spark.driver.extraClassPath", "spark.executor.extraClassPath"):
            ours[name] = ":".join([*found, *filter(None, [config.conf.get(name)])])
    if not jars.missing(config):
        ours |= {name: value for name, value in _DELTA.items() if name not in config.conf}
    return ours


def interpreter(config: SparkConfig) -> str:
    return config.python or os.environ.get("PYSPARK_PYTHON") or sys.executable


def require_pyspark() -> None:
    """Check that pyspark can be imported, without starting anything.

    Raises:
        DestinationUnavailable: it is not installed.
    """
    try:
        import pyspark  # noqa: F401
    except ImportError as error:
        raise DestinationUnavailable(f"spark: {error.name} is not installed; {INSTALL}") from None


@dataclass(frozen=True)
class Session:
    """A session, and whether it is ours to stop: one that the caller's program had before is used as it is."""

    spark: Any
    owned: bool

    def stop(self) -> None:
        """End the session, if it is ours; what cannot be ended any more is gone already."""
        if not self.owned:
            return
        try:
            self.spark.stop()
        except Exception as error:
            logger.info("spark: the session could not be stopped (%s)", type(error).__name__)


def start(config: SparkConfig) -> Session:
    """Start a session, or a client of a Connect server, unless this process has one.

    Raises:
        DestinationUnavailable: pyspark is not installed. Rejected: Java or the settings are wrong.
        Retryable: the cluster is not there.
    """
    require_pyspark()
    if (there := _running()) is not None:
        logger.info("spark %s: the session of this process is used", there.version)
        return Session(there, owned=False)
    require_reachable(config)
    # Workers that start with another Python than the driver's refuse its functions, whatever the session says.
    os.environ["PYSPARK_PYTHON"] = interpreter(config)
    # pyspark 4.2 warns of pandas 3 at each call; no frame of pandas is made here.
    warnings.filterwarnings("ignore", category=FutureWarning, module="pyspark")
    with explained("spark", f"start a session on {config.place}"):
        session = _builder(config).getOrCreate()
    logger.info("spark %s on %s: session started", session.version, config.place)
    return Session(session, owned=True)


def _running() -> Any:
    """Return the session that this process has; one more would be the same with other settings, and stop with ours."""
    from pyspark.sql import SparkSession

    try:
        return SparkSession.active()
    except Exception:  # there is none
        return None


def _builder(config: SparkConfig) -> Any:
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder
    builder = builder.remote(config.remote) if config.remote else builder.master(config.master or "local[*]")
    for name, value in settings_of(config).items():
        builder = builder.config(name, value)
    return builder


@contextmanager
def running(config: SparkConfig) -> Iterator[Any]:
    """Yield a session that is stopped at the end."""
    session = start(config)
    try:
        yield session.spark
    finally:
        session.stop()


@dataclass(frozen=True)
class Operations:
    """The operations of one load, which can be interrupted without those of others."""

    session: Any
    tag: str
    by_tag: bool

    @classmethod
    def of(cls, session: Any, config: SparkConfig, tag: str) -> Operations:
        # Without Connect, Spark 4 finds the operations of a tag only from the thread that gave it: interruptTag of
        # another one does nothing. A session of its own shares all that is costly, and can be interrupted as a whole.
        by_tag = config.remote is not None
        return cls(session if by_tag else session.newSession(), tag, by_tag)

    def tagged(self) -> Any:
        """Return the session for operations that this thread begins."""
        self.session.addTag(self.tag)
        return self.session

    def interrupt(self) -> None:
        """End the operations, from any thread."""
        try:
            self.session.interruptTag(self.tag) if self.by_tag else self.session.interruptAll()
        except Exception as error:
            logger.info("spark: %s could not be interrupted (%s)", self.tag, type(error).__name__)


def require_reachable(config: SparkConfig) -> None:
    """Look for the master or server before Spark does, which would try for minutes.

    Raises:
        Retryable: nobody answers there.
    """
    refused: OwnLensError | None = None
    for host, port in _addresses(config):
        try:
            socket.create_connection((host, port), _CONNECT_SECONDS).close()
            return
        except OSError as error:
            word = "remote" if config.remote else "master"
            refused = Retryable(
                f"spark: nobody answers at {host}:{port} ({error.strerror or type(error).__name__}); start the cluster "
                f"there, or correct {word} in [profiles.NAME.spark]"
            )
    if refused is not None:
        raise refused


def _addresses(config: SparkConfig) -> list[tuple[str, int]]:
    if config.remote is not None:
        parts = urlsplit(config.remote)
        if not parts.hostname:
            raise Rejected("spark: remote names no host; write sc://host:15002")
        return [(parts.hostname, parts.port or 15002)]
    if not (config.master or "").startswith("spark://"):
        return []
    pairs = (config.master or "").removeprefix("spark://").split(",")
    return [(host.strip("[]"), int(port)) for host, _, port in (pair.rpartition(":") for pair in pairs)]
