"""What writers do to one row of a table: statements in which every number is ours, so that no value needs quoting."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

STAMPED, UNSTAMPED, FUTURE, BACKDATED, DELETED = "stamped", "unstamped", "future", "backdated", "deleted"
MOVED, DAY_DELETED, FAMILY_DELETED, REFUSED = "moved", "day deleted", "family deleted", "refused"
_ALWAYS = (STAMPED, UNSTAMPED, DELETED)
CHANGES = {
    "sections": _ALWAYS,
    "clicks": (*_ALWAYS, FUTURE, BACKDATED, REFUSED),
    "visits": (*_ALWAYS, FUTURE, BACKDATED),
    "articles": (*_ALWAYS, FUTURE, BACKDATED, MOVED, REFUSED),
    "profiles": (*_ALWAYS, FUTURE, BACKDATED),
    "authors": (*_ALWAYS, FUTURE, FAMILY_DELETED),
    "books": (*_ALWAYS, FUTURE, BACKDATED),
    "views": (*_ALWAYS, FUTURE, MOVED, DAY_DELETED),
}
KEYS = st.integers(min_value=1, max_value=9)
_UNKNOWN_LABEL = "kind = 'c'"
_BAD = (
    "price = 123456789.5",
    "tags = '{{a,b},{c,d}}'",
    "seen_at = 'infinity'",
    "seen_at = '-infinity'",
    "price = 'NaN'",
)
_SHIFT = {FUTURE: " + interval '3 days'", BACKDATED: " - interval '5 hours'"}
_DAYS = ("2026-01-01", "2026-01-02", "2026-02-03")


def statements(table: str, key: int, change: str, number: int) -> Sequence[str]:
    """Return what changes a row, making it if it is absent; `number` makes each change another one."""
    name = f"{table[:-1]}_id"
    if table == "views":
        return _views(key, change, number)
    if change == DELETED:
        return [f"DELETE FROM {table} WHERE {name} = {key}"]
    if change == FAMILY_DELETED:
        return [f"DELETE FROM books WHERE author_id = {key}", f"DELETE FROM authors WHERE author_id = {key}"]
    made = [_insert(table, name, key, change, number)]
    if change == REFUSED:
        bad = (*_BAD, _UNKNOWN_LABEL) if table == "clicks" else _BAD
        made.append(f"UPDATE {table} SET {bad[number % len(bad)]} WHERE {name} = {key}")
    return made


def _insert(table: str, name: str, key: int, change: str, number: int) -> str:
    columns, values, sets = {name: str(key)}, _values(table, key, change, number), _stamps(table, change)
    columns |= values
    renewed = [f"{column} = excluded.{column}" for column in _renewed(table, change)]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(columns.values())}) "
        f"ON CONFLICT ({name}) DO UPDATE SET {', '.join([*renewed, *sets])}"
    )


def _values(table: str, key: int, change: str, number: int) -> dict[str, str]:
    now = f"now(){_SHIFT.get(change, '')}"
    values = {"name" if table == "sections" else "note": f"'{number}'"}
    if table == "visits":
        return {**values, "at": f"({now}) AT TIME ZONE 'America/Los_Angeles'"}
    if table == "sections":
        return {**values, "updated_at": now}
    values["created_at"] = now if change == BACKDATED or table == "clicks" else "now()"
    if table == "books":
        values["author_id"] = f"(SELECT min(author_id) FROM authors WHERE author_id % 3 = {number % 3})"
    if table == "articles":
        values["day"] = f"'{_DAYS[(key if change != MOVED else number) % 3]}'"
    if table in {"articles", "authors", "books"}:
        values["updated_at"] = now
    if table in {"clicks", "articles"}:
        values |= {"kind": "'a'"} if table == "clicks" else {}
        values |= {"price": f"{number}.25", "tags": f"'{{t{number}}}'", "seen_at": "now()"}
    return values


def _renewed(table: str, change: str) -> Sequence[str]:
    """Return the columns that an update takes over; an event's stamp moves only where that is the point."""
    names = {"sections": ["name"], "books": ["note", "author_id"]}.get(table, ["note"])
    if change == MOVED:
        names = [*names, "day"]
    if change in _SHIFT and table in {"clicks", "visits"}:
        names = [*names, "created_at" if table == "clicks" else "at"]
    names += ["kind"] if table == "clicks" else []
    return [*names, *(("price", "tags", "seen_at") if table in {"clicks", "articles"} else ())]


def _stamps(table: str, change: str) -> Sequence[str]:
    # A version never goes back: the newest one is what the source holds.
    if change in {UNSTAMPED, BACKDATED} or table in {"clicks", "visits"}:
        return []
    if table == "profiles":
        shift = _SHIFT.get(change, "")
        return [f"updated_at = greatest(profiles.updated_at, now(){shift})"]
    return [f"updated_at = greatest({table}.updated_at, excluded.updated_at)"]


def _views(key: int, change: str, number: int) -> Sequence[str]:
    page, day = key % 3, f"'{_DAYS[key // 3 % 3]}'"
    where = f"WHERE page_id = {page} AND day = {day}"
    if change == DELETED:
        return [f"DELETE FROM views {where}"]
    if change == DAY_DELETED:
        return [f"DELETE FROM views WHERE day = {day}"]
    if change == MOVED:
        return [f"UPDATE views SET day = '{_DAYS[number % 3]}', updated_at = now() {where}"]
    stamp = "" if change == UNSTAMPED else ", updated_at = greatest(views.updated_at, excluded.updated_at)"
    return [
        f"INSERT INTO views VALUES ({page}, {day}, '{number}', now(){_SHIFT.get(change, '')}) "
        f"ON CONFLICT (page_id, day) DO UPDATE SET note = excluded.note{stamp}"
    ]


REWRITES = {
    "vacuum": "VACUUM {}",
    "freeze": "VACUUM (FREEZE) {}",
    "full": "VACUUM (FULL, ANALYZE) {}",
    "volatile": "ALTER TABLE {} ADD COLUMN extra uuid DEFAULT gen_random_uuid(); ALTER TABLE {} DROP COLUMN extra",
    "type": 'ALTER TABLE {} ALTER COLUMN {note} TYPE varchar(90) COLLATE "C"; '
    "ALTER TABLE {} ALTER COLUMN {note} TYPE text",
    "logged": "ALTER TABLE {} SET UNLOGGED; ALTER TABLE {} SET LOGGED",
}


def rewrites(table: str, kind: str) -> Sequence[str]:
    """Return statements that write a table anew without changing a row, each in a transaction of its own."""
    note = "name" if table == "sections" else "note"
    return [part.replace("{note}", note).replace("{}", table) for part in REWRITES[kind].split("; ")]
