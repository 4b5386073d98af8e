"""The rows of a Spark DataFrame as one stream of Arrow batches, partition after partition.

pyspark 4.2 offers the same as `__arrow_c_stream__`, which fails for every frame with a TimestampType column.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..errors import SourceInvalid
from .failures import recognised

_CODEC = "lz4"


def is_dataframe(frame: object) -> bool:
    """Tell whether this is a DataFrame of Spark, classic or Connect."""
    from pyspark.sql import DataFrame

    return isinstance(frame, DataFrame)


@dataclass(frozen=True)
class Packing:
    """Runs on executors: each batch becomes one value of bytes, so that its types need no translation by Spark.

    Executors need this package for it, as for any load.
    """

    schema: pa.Schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"batch": pa.array([self._packed(batch)], pa.binary())})

    def _packed(self, batch: pa.RecordBatch) -> bytes:
        # The session's time zone is how moments are shown; the moments are the same in UTC.
        arrays = [column.cast(field.type) for column, field in zip(batch.columns, self.schema, strict=True)]
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression=_CODEC)
        with pa.ipc.new_stream(sink, self.schema, options=options) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        packed: bytes = sink.getvalue().to_pybytes()
        return packed


def narrowed(frame: Any, names: Collection[str]) -> Any:
    """Return the frame with these columns only, so that no other is computed or has to have an Arrow type."""
    if len({name.lower() for name in frame.columns}) < len(frame.columns):
        return frame  # Spark could not tell which of two names is meant
    quoted = [name.replace("`", "``") for name in frame.columns if name in names]
    return frame.select(*[f"`{name}`" for name in quoted])


def reader(table: str, frame: Any) -> pa.RecordBatchReader:
    """Return the frame's rows; they are computed while they are read, and one partition is in memory.

    Raises:
        SourceInvalid: a column has a type of Spark's own, or, while it is read, the frame cannot be computed.
    """
    from pyspark.sql.pandas.types import to_arrow_schema

    try:
        schema = to_arrow_schema(frame.schema, timezone="UTC")
    except Exception as error:
        raise SourceInvalid(
            f"{table}: a column of this DataFrame cannot be read ({type(error).__name__}); convert it before"
        ) from None
    return pa.RecordBatchReader.from_batches(schema, _batches(table, frame, schema))


def _batches(table: str, frame: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        for row in frame.mapInArrow(Packing(schema), "batch binary").toLocalIterator():
            with pa.ipc.open_stream(bytes(row["batch"])) as stream:
                yield from stream
    except Exception as error:  # from None: the text quotes values
        name = type(error).__name__
        raise recognised(error, table) or SourceInvalid(
            f"{table}: the frame broke off while it was read ({name}); check what it computes"
        ) from None
