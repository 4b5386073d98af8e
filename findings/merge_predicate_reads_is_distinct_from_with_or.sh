#!/usr/bin/env bash
# deltalake 1.6.6 (delta-rs, whose expressions are read by DataFusion's SQL parser) with pyarrow 26.0.1, seen on 2026-11-28.
#
# In the predicate of a merge, "s.a IS DISTINCT FROM t.a OR s.b IS DISTINCT FROM t.b" does not mean what it means in SQL:
# the right side of IS DISTINCT FROM takes the OR with it, so that it compares s.a with (t.a OR ...). With a date in t.a
# the merge fails with a type error. With booleans in both columns nothing fails: the predicate is another one than was
# written, and the row that changed stays as it was. With brackets around each comparison it is right.
#
# Output seen (of all 12 changes of a row of two booleans):
#   dates, no brackets: error
#   booleans, no brackets: changes that are missed: 4 of 12
#   booleans, brackets:    changes that are missed: 0 of 12
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install deltalake==1.6.6 pyarrow==26.0.1
"$work/venv/bin/python" - "$work" <<'END'
import sys
from datetime import date

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

PLAIN = "s.a IS DISTINCT FROM t.a OR s.b IS DISTINCT FROM t.b"
BRACKETS = "(s.a IS DISTINCT FROM t.a) OR (s.b IS DISTINCT FROM t.b)"


def updated(name, before, after, predicate):
    path = f"{sys.argv[1]}/{name}"
    write_deltalake(path, before)
    merge = DeltaTable(path).merge(after, "s.id = t.id", source_alias="s", target_alias="t")
    return merge.when_matched_update({"a": "s.a", "b": "s.b"}, predicate=predicate).execute()["num_target_rows_updated"]


def rows(a, b):
    return pa.table({"id": [1], "a": [a], "b": [b]})


try:
    updated("dates", rows(date(2026, 1, 1), 1), rows(date(2026, 1, 2), 1), PLAIN)
    dates = "no error"
except Exception:
    dates = "error"
changes = [(x, y, p, q) for x in (True, False) for y in (True, False) for p in (True, False) for q in (True, False)
           if (x, y) != (p, q)]
wrong = {}
for number, predicate in enumerate((PLAIN, BRACKETS)):
    wrong[number] = [c for c in changes
                     if updated(f"{number}-{''.join(map(str, map(int, c)))}", rows(*c[:2]), rows(*c[2:]), predicate) != 1]
print("dates, no brackets:", dates)
print("booleans, no brackets: changes that are missed:", len(wrong[0]), "of", len(changes))
print("booleans, brackets:    changes that are missed:", len(wrong[1]), "of", len(changes))
sys.exit(0 if (dates, len(wrong[0]), len(wrong[1])) == ("error", 4, 0) else 1)
END
