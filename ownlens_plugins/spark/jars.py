"""The jars of Delta for Spark: resolved once into a folder, and named by class path from there on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..engines import SparkConfig
from ..errors import Retryable

# What is published for the pyspark that we pin. Nothing newer of Delta has a jar for it.
DELTA = "io.delta:delta-spark_4.2_2.13:4.4.0"
S3 = "org.apache.hadoop:hadoop-aws:3.5.0"
# These are in Spark's own folder already, and a second copy of a logger breaks its start.
_EXCLUDED = (
    "org.apache.hadoop:hadoop-client-api",
    "org.apache.hadoop:hadoop-client-runtime",
    "org.apache.logging.log4j:log4j-api",
    "org.apache.logging.log4j:log4j-core",
)
# Of what Delta names as its needs, Spark has all but these two.
_NEEDED = ("io.delta_delta-spark_", "io.delta_delta-storage-")
_SECONDS = 900


def folder(config: SparkConfig) -> Path:
    return Path(config.jars).expanduser().absolute()


def present(config: SparkConfig) -> list[Path]:
    """Return the jars that sessions put on their class path, Delta's first."""
    found = sorted(folder(config).glob("*.jar"))
    return sorted(found, key=lambda path: not path.name.startswith(_NEEDED))


def missing(config: SparkConfig) -> list[str]:
    """Return which of Delta's jars are not in the folder."""
    names = [path.name for path in present(config)]
    return [each.strip("_-") for each in _NEEDED if not any(name.startswith(each) for name in names)]


def resolve(config: SparkConfig, *, s3: bool = False) -> list[Path]:
    """Bring the jars into the folder by Spark's own resolver, which reads mirrors from `spark.jars.ivySettings`.

    Raises:
        Retryable: they could not be fetched.
    """
    target = folder(config)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ownlens-jars-") as work:
        done = _submit(Path(work), config, s3=s3)
        fetched = sorted((Path(work) / "ivy" / "jars").glob("*.jar"))
        wanted = fetched if s3 else [path for path in fetched if path.name.startswith(_NEEDED)]
        if done.returncode or len(wanted) < len(_NEEDED):
            raise Retryable(
                f"spark: jars: {_reason(done.stderr)}; run `ownlens spark jars` again where they can be had"
            )
        for path in wanted:
            _put(path, target / path.name)
    return present(config)


def _submit(work: Path, config: SparkConfig, *, s3: bool) -> subprocess.CompletedProcess[str]:
    program = work / "nothing.py"
    program.write_text("")
    packages = [DELTA, *([S3] if s3 else [])]
    settings = {name: value for name, value in config.conf.items() if name.startswith("spark.jars.")}
    command = [*_spark_submit(), "--master", "local[1]", "--packages", ",".join(packages)]
    command += ["--exclude-packages", ",".join(_EXCLUDED)]
    for name, value in {**settings, "spark.jars.ivy": str(work / "ivy")}.items():
        command += ["--conf", f"{name}={value}"]
    try:
        return subprocess.run(
            [*command, str(program)], capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=work
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Retryable(f"spark: jars: {type(error).__name__}; run `ownlens spark jars` again") from None


def _spark_submit() -> Sequence[str]:
    import pyspark

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return [str(Path(pyspark.__file__).parent / "bin" / "spark-submit")]


def _reason(said: str) -> str:
    told = [line.strip() for line in said.splitlines() if "not found" in line or "rror" in line or "xception" in line]
    return told[0][:200] if told else "the resolver fetched nothing"


def _put(path: Path, target: Path) -> None:
    # By a name of its own first: a session that starts meanwhile must not find half a jar.
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.write_bytes(path.read_bytes())
    draft.replace(target)
