#!/usr/bin/env bash
# deltalake 1.6.6 (delta-rs) with pyarrow 26.0.1, seen on 2026-11-28.
#
# After DeltaTable.restore(0) the table's rows are those of version 0, but transaction_version("app") still answers with
# the application transaction of a commit that the restore has taken back. A writer that decides by the application
# transaction whether its batch is in, which is what the Delta protocol has it for, skips the batch, and its rows are
# missing from then on. The protocol leaves open what a restore does with these numbers; a reader of "exactly once by
# txnAppId and txnVersion" would expect them to go back together with the rows.
#
# Output seen:
#   after the append:  rows 2, transaction 7
#   after restore(0):  rows 1, transaction 7
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install deltalake==1.6.6 pyarrow==26.0.1
"$work/venv/bin/python" - "$work/table" <<'END'
import sys

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Transaction, write_deltalake

path = sys.argv[1]
write_deltalake(path, pa.table({"id": [1]}))
mark = CommitProperties(app_transactions=[Transaction("app", 7)])
write_deltalake(DeltaTable(path), pa.table({"id": [2]}), mode="append", commit_properties=mark)


def seen() -> tuple[int, int | None]:
    table = DeltaTable(path)
    counted = pa.table(QueryBuilder().register("t", table).execute("SELECT count(*) AS n FROM t"))
    return counted["n"][0].as_py(), table.transaction_version("app")


after = seen()
print("after the append:  rows %s, transaction %s" % after)
DeltaTable(path).restore(0)
restored = seen()
print("after restore(0):  rows %s, transaction %s" % restored)
sys.exit(0 if (after, restored) == ((2, 7), (1, 7)) else 1)
END
