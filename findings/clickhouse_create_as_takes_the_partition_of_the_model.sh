#!/usr/bin/env bash
# ClickHouse 26.9.2.1 (chDB 4.4.0), seen on 2026-11-28.
#
# CREATE TABLE staged AS target ENGINE = MergeTree ORDER BY ... gives engine and sorting key anew. One would expect either
# all of the model's engine clause or none of it. What happens is in between: PARTITION BY comes over from the model where
# it is not written (PARTITION BY tuple() must be said), while the TTL does not.
#
# Output seen:
#   partition_key  toYYYYMM(day)
#   primary_key
#   has TTL        False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install chdb==4.4.0
"$work/venv/bin/python" - "$work/store" <<'END'
import sys

from chdb.session import Session

store = Session(sys.argv[1])
store.query(
    "CREATE TABLE target (id Int64, day Date32) ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY id "
    "TTL day + INTERVAL 1 DAY"
)
store.query("CREATE TABLE staged AS target ENGINE = MergeTree PRIMARY KEY tuple() ORDER BY tuple()")
asked = "SELECT partition_key, primary_key, create_table_query LIKE '%TTL%' FROM system.tables WHERE name = 'staged'"
row = str(store.query(asked, "TSV")).rstrip("\n").split("\t")
print("partition_key ", row[0])
print("primary_key   ", row[1])
print("has TTL       ", row[2] == "1")
sys.exit(0 if row[:2] == ["toYYYYMM(day)", ""] and row[2] == "0" else 1)
END
