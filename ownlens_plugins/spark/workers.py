"""Parts written by Spark's executors: one task a part, and a receipt of each that Spark acknowledged.

A Python worker outlives its executor: Spark gives its part to another one, and both write. What a task wrote therefore
counts only when its own receipt came back with the job's result; everything else of the attempt is left to be cleared.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..api import LoadPlan, Receipt, StagedPart
from ..engines import SparkConfig
from ..errors import OwnLensError, Rejected
from ..stopping import current, safe_point
from . import environment, sessions
from .failures import ClusterGone, explained

logger = logging.getLogger("ownlens.spark")
Write = Callable[[StagedPart], Receipt]
_ANSWER = "part string, task long, receipt binary, error binary"
_ANSWER_SCHEMA = pa.schema(
    [("part", pa.string()), ("task", pa.int64()), ("receipt", pa.binary()), ("error", pa.binary())]
)
# Seconds between two looks at whether the run is to stop.
_LOOK = 0.2


@dataclass(frozen=True)
class WriteParts:
    """The function of the executors. Pickled by reference, so they need this package, and the same version of it."""

    write: Write
    parts: Sequence[StagedPart]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __call__(self, numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        environment.adopt(self.environment)
        context = TaskContext.get()
        task = context.taskAttemptId() if context is not None else 0
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                yield _answer(self.parts[number], task, self.write)


def _answer(part: StagedPart, task: int, write: Write) -> pa.RecordBatch:
    """Write one part. A refusal is an answer like a receipt: as a failed task, Spark would try it three times more."""
    receipt: bytes | None = None
    error: bytes | None = None
    try:
        receipt = pickle.dumps(write(part))
    except Exception as refusal:
        error = _packed(refusal)
    columns = [[part.part_id], [task], [receipt], [error]]
    arrays = [pa.array(column, of.type) for column, of in zip(columns, _ANSWER_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_ANSWER_SCHEMA)


def _packed(error: Exception) -> bytes:
    """Return the error as bytes; one that cannot travel goes by its name."""
    # The frames only: the chain's texts may quote rows, and the driver's log is no place for them.
    frames = "".join(traceback.format_tb(error.__traceback__))
    try:
        error.__cause__ = error.__context__ = None
        error.add_note(f"on an executor:\n{frames}")
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:
        return pickle.dumps(Rejected(f"a worker failed with {type(error).__name__}; its own log has the details"))
    return packed


@dataclass
class SparkWorkers:
    """The executors of one session, which the first load that needs them starts. Used from several threads."""

    config: SparkConfig
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _session: sessions.Session | None = None
    _failure: OwnLensError | None = None

    def session(self) -> Any:
        """Return the session, started now if it has not been.

        Raises:
            Any error of `sessions.start`; what was refused once is not tried again in this run.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._session is None:
                try:
                    self._session = sessions.start(self.config)
                except Rejected as error:
                    self._failure = error
                    raise
            return self._session.spark

    def warm_up(self) -> None:
        """Start the session beside other work; the first load that needs it tells what went wrong."""
        threading.Thread(target=self._try_start, name="ownlens-spark", daemon=True).start()

    def _try_start(self) -> None:
        try:
            self.session()
        except Exception as error:
            logger.info("spark: %s", error)

    def mapping(self, plan: LoadPlan) -> Callable[[Write, Iterable[StagedPart]], list[Receipt]]:
        """Return what stands in for `map` in one load: its job is tagged with the table and the destination."""
        return lambda write, parts: self.write(plan, write, parts)

    def write(self, plan: LoadPlan, write: Write, parts: Iterable[StagedPart]) -> list[Receipt]:
        """Have each part written by a task of its own, and return the receipts that Spark acknowledged.

        Raises:
            Retryable: Spark lost its executors, or a part was not written. Rejected: the destination refuses the rows.
            Stopped: the run is to stop.
        """
        reachable = [_reachable(part) for part in parts]
        if not reachable:
            return []
        session = self.session()
        started = time.monotonic()
        try:
            rows = self._run(session, plan, WriteParts(write, reachable, environment.carried()))
        except ClusterGone:
            self._forget(session)
            raise
        receipts = [_receipt(row) for row in rows]
        _log(plan, reachable, time.monotonic() - started)
        return receipts

    def _run(self, session: Any, plan: LoadPlan, function: WriteParts) -> list[Any]:
        with explained(_where(plan), "write the parts"):
            operations = sessions.Operations.of(session, self.config, _named(plan))
        return _Job(operations, plan, function).result()

    def _forget(self, session: Any) -> None:
        """Let the next try start a session of its own, unless one has been started since."""
        with self._lock:
            if self._session is None or self._session.spark is not session:
                return
            gone, self._session = self._session, None
        gone.stop()

    def close(self) -> None:
        """Stop the session. The object may be used again afterwards."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.stop()


def _reachable(part: StagedPart) -> StagedPart:
    # Executors work in folders of their own.
    return part if "://" in part.uri else replace(part, uri=str(Path(part.uri).absolute()))


def _receipt(row: Any) -> Receipt:
    # Bytes of our own executors, which could do worse than send a pickle.
    if row["error"] is not None:
        raise pickle.loads(bytes(row["error"]))
    receipt: Receipt = pickle.loads(bytes(row["receipt"]))
    return receipt


def _where(plan: LoadPlan) -> str:
    return f"{plan.table}: {plan.destination}"


def _named(plan: LoadPlan) -> str:
    # Spark's page reads like the flow's; commas separate tags there.
    return f"{plan.table} into {plan.destination}".replace(",", " ")


def _log(plan: LoadPlan, parts: Sequence[StagedPart], seconds: float) -> None:
    logger.info("%s: %s: spark wrote %d parts in %.2f s", plan.table, plan.destination, len(parts), seconds)


class _Job:
    """One job in a thread of its own, so that this one can look whether the run is to stop."""

    def __init__(self, operations: sessions.Operations, plan: LoadPlan, function: WriteParts) -> None:
        self._operations, self._plan, self._function = operations, plan, function
        self._rows: list[Any] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"ownlens-spark-{plan.table}", daemon=True)

    def result(self) -> list[Any]:
        self._thread.start()
        try:
            self._wait()
        except BaseException:
            self._operations.interrupt()
            raise
        with explained(_where(self._plan), "write the parts"):
            if self._error is not None:
                raise self._error
        return self._rows

    def _wait(self) -> None:
        stop, asked = current(), False
        while self._thread.is_alive():
            self._thread.join(_LOOK)
            if stop is not None and stop.asked and not asked:
                asked = True
                self._operations.interrupt()
        if asked and self._error is not None:
            # Said at a safe point: no commit has been sent.
            safe_point(self._plan.table, self._plan.destination)

    def _run(self) -> None:
        try:
            count = len(self._function.parts)
            numbers = self._operations.tagged().range(0, count, 1, count)
            self._rows = numbers.mapInArrow(self._function, _ANSWER).collect()
        except BaseException as error:
            self._error = error
