"""Conform single columns and small frames, for tests that care for values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ownlens_plugins.contracts import TableContract, contract_from
from ownlens_plugins.engine.conforming import Conformed
from ownlens_plugins.engine.refusals import RefusedRow
from ownlens_plugins.engine.sources.source import Extracted


def contract_of(**columns: str) -> TableContract:
    """Return a contract for a whole table `things` with a key `id` and the given columns."""
    return contract_from(
        {
            "table": "things",
            "domain": "tests",
            "preset": "events",
            "extraction": "whole",
            "key": ["id"],
            "path": "tests/things",
            "columns": {"id": "int64", **columns},
        }
    )


def conform(contract: TableContract, rows: pa.Table, *, checked: bool = False) -> tuple[pa.Table, list[RefusedRow]]:
    conformed = Conformed(contract, Extracted(rows.to_reader(), checked))
    batches = list(conformed.batches())
    return pa.Table.from_batches(batches, schema=contract.arrow_schema), conformed.refused


def conform_column(type_text: str, values: pa.Array, *, checked: bool = False) -> tuple[list[Any], list[str]]:
    """Return the kept values in storage form, and the reasons of the refused rows, both in order."""
    contract = contract_of(value=type_text)
    table = pa.table({"id": pa.array(range(len(values)), pa.int64()), "value": values})
    kept, refused = conform(contract, table, checked=checked)
    kept.validate(full=True)
    return storage(kept["value"]), [row.reason for row in refused]


def storage(column: pa.ChunkedArray) -> list[Any]:
    array = column.combine_chunks()
    plain = array.storage if isinstance(array, pa.ExtensionArray) else array
    return plain.to_pylist()
