#!/usr/bin/env bash
# deltalake 1.6.6 (delta-rs) with pyarrow 26.0.1, seen on 2026-11-28.
#
# DeltaTable.merge of one row, by the key alone, takes CPU time that grows faster than the number of columns: almost all
# of it is planning, since there is nothing to read. Ten times the columns cost far more than ten times as much, and a
# predicate that is longer makes it worse. A table of a thousand columns is upserted faster by rewriting its file.
#
# Output seen (CPU seconds, best of three):
#   170 columns     0.15
#   1,700 columns   5.9
#   ratio above 15  True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install deltalake==1.6.6 pyarrow==26.0.1
"$work/venv/bin/python" - "$work" <<'END'
import sys
import time

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake


def seconds(path: str, columns: int) -> float:
    rows = pa.table({"id": [1], **{f"c{number}": [number] for number in range(columns - 1)}})
    write_deltalake(path, rows)
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        merge = DeltaTable(path).merge(rows, "s.id = t.id", source_alias="s", target_alias="t")
        merge.when_matched_update_all().when_not_matched_insert_all().execute()
        best = min(best, time.process_time() - started)
    return best


few, many = seconds(f"{sys.argv[1]}/few", 170), seconds(f"{sys.argv[1]}/many", 1700)
print(f"170 columns     {few:.2f}")
print(f"1,700 columns   {many:.2f}")
print("ratio above 15 ", many / few > 15)
sys.exit(0 if many / few > 15 else 1)
END
