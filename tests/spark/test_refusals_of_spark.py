"""What Spark's errors mean, in one line each: whose turn it is, and whether trying again can help."""

from __future__ import annotations

import pytest

from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.spark.failures import ClusterGone, explained, translate

CASES = [
    ("[JAVA_GATEWAY_EXITED] Java gateway process exited before sending its port number.", Rejected, "Java 17 or newer"),
    ('java.io.IOException: Cannot run program "/opt/py": error=2', Rejected, "executors have no /opt/py"),
    ("[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.12", Rejected, "of the same version there"),
    ("File x\nModuleNotFoundError: No module named 'ownlens_plugins'\n SQLSTATE", Rejected, "lacks ownlens_plugins"),
    ("All masters are unresponsive! Giving up.", Retryable, "the master does not answer"),
    ("java.lang.ClassNotFoundException: io.delta.sql.DeltaSparkSessionExtension", Rejected, "ownlens spark jars"),
    ("[CANNOT_MODIFY_STATIC_CONFIG] spark.sql.extensions", Rejected, "only be given to the server"),
    ("Job 3 cancelled because SparkContext was shut down", ClusterGone, "went away"),
    ("Answer from Java side is empty", ClusterGone, "went away"),
    ("[Errno 111] Connection refused", ClusterGone, "went away"),
    ("ExecutorLostFailure (executor 1 exited caused by", Retryable, "spark.task.maxFailures"),
    ("something else: 'secret row'", Retryable, "could not write the parts (RuntimeError)"),
]


@pytest.mark.parametrize(("text", "kind", "words"), CASES)
def test_one_line_with_cause_and_fix(text: str, kind: type[Exception], words: str) -> None:
    told = translate(RuntimeError(text), "sales: s3", "write the parts")
    assert type(told) is kind
    assert words in str(told)
    assert str(told).startswith("sales: s3: spark")
    assert "\n" not in str(told)
    assert "secret" not in str(told)


def test_our_own_errors_pass() -> None:
    with pytest.raises(Rejected, match="as it was"), explained("sales: s3", "write the parts"):
        raise Rejected("as it was")
