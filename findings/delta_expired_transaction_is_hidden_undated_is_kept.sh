#!/usr/bin/env bash
# deltalake 1.6.6 (delta-rs) with pyarrow 26.0.1, seen on 2026-11-28.
#
# A table sets delta.setTransactionRetentionDuration, and a writer leaves application transactions in its commit to tell
# later what it has done. One whose lastUpdated is older than that is hidden from DeltaTable.transaction_version at once,
# while its commit is still there: the table does not say any more that the write came. One without lastUpdated, which is
# what Transaction(app, version) makes, is shown for ever, also behind a checkpoint; Spark (delta-spark 4.4.0) drops
# just those when it writes a checkpoint of such a table. So neither form is safe where both write; a date in the far
# future is what both keep.
#
# Output seen:
#   in the log         expired None, undated 7, far 7
#   behind checkpoint  expired None, undated 7, far 7
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install deltalake==1.6.6 pyarrow==26.0.1
"$work/venv/bin/python" - "$work/table" <<'END'
import sys
import time
from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

path = sys.argv[1]
now = int(time.time() * 1000)
rows = pa.table({"id": [1]})
write_deltalake(path, rows, configuration={"delta.setTransactionRetentionDuration": "interval 1 days"})
marks = [
    Transaction("expired", 7, now - 10 * 86_400_000),
    Transaction("undated", 7),
    Transaction("far", 7, 253_402_214_400_000),
]
write_deltalake(path, rows, mode="append", commit_properties=CommitProperties(app_transactions=marks))


def shown() -> str:
    table = DeltaTable(path)
    return ", ".join(f"{name} {table.transaction_version(name)}" for name in ("expired", "undated", "far"))


found = [shown()]
DeltaTable(path).create_checkpoint()
for commit in Path(path, "_delta_log").glob("*.json"):
    commit.unlink()
found.append(shown())
print("in the log        ", found[0])
print("behind checkpoint ", found[1])
sys.exit(0 if found == ["expired None, undated 7, far 7"] * 2 else 1)
END
