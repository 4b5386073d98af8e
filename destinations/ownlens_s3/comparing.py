"""Which rows of two columns differ: null equals null, NaN equals NaN, and zero does not equal minus zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def differing(old: pa.Array, new: pa.Array) -> Any:
    """Return for each row whether two arrays of one type differ in it, as delta-rs's IS DISTINCT FROM does."""
    new = new.cast(old.type)
    nulls = np.asarray(pc.xor(old.is_null(), new.is_null()))
    if pa.types.is_null(old.type):
        return nulls
    if pa.types.is_list(old.type) or pa.types.is_large_list(old.type):
        return nulls | _lists(old, new)
    if pa.types.is_floating(old.type):
        # By their bits, as NaN is equal to nothing.
        bits = pa.int64() if old.type.bit_width == 64 else pa.int32()
        old, new = old.view(bits), new.view(bits)
    return nulls | np.asarray(pc.fill_null(pc.not_equal(old, new), False))


def _lists(old: pa.Array, new: pa.Array) -> Any:
    lengths = np.asarray(pc.fill_null(pc.list_value_length(old), -1))
    same = np.asarray(pc.fill_null(pc.list_value_length(new), -1)) == lengths
    differs = ~same
    compared = same & (lengths > 0)
    if compared.any():
        mask = pa.array(compared)
        inside = differing(old.filter(mask).flatten(), new.filter(mask).flatten())
        ends = np.cumsum(lengths[compared])
        differs[compared] = np.logical_or.reduceat(inside, np.concatenate([[0], ends[:-1]]))
    return differs
