"""What `ownlens status` prints for people: what needs one first, then a line a table and destination, then sums."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ownlens_plugins.engine.standing import FAILED, OWED, PASSED, Standing

_MARKS = {PASSED: ("✓", "green"), FAILED: ("✗", "red"), OWED: ("?", "yellow")}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
# Columns: a narrower terminal gets the short form of the table.
_WIDE = 110
_NAME_WIDTH = 12
# More tables of which the same is said share a line.
_TOLD_ONE_BY_ONE = 3
Cell = Callable[[Standing, datetime], str | Text]


def print_standings(standings: Sequence[Standing], now: datetime, console: Console | None = None) -> None:
    """Print where tables stand; what is piped is not folded to the width of a terminal."""
    console = console or Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=170)
    for line in _troubles(standings):
        console.print(Text(f"✗ {line}", style="red"), soft_wrap=True)
    console.print(_table(standings, now, console.width))
    for line in _sums(standings):
        console.print(Text(line, style="dim"), soft_wrap=True)


def _troubles(standings: Sequence[Standing]) -> Iterator[str]:
    """Yield what needs a person, one line for all tables of which the same is said."""
    tables: defaultdict[str, list[str]] = defaultdict(list)
    for one in standings:
        if not one.well:
            tables[_said(one)].append(one.table)
    for said, names in tables.items():
        if len(names) <= _TOLD_ONE_BY_ONE:
            yield from (f"{name}: {said}" for name in names)
        else:
            yield f"{len(names)} tables ({', '.join(names[:_TOLD_ONE_BY_ONE])}, …): {said}"


def _said(one: Standing) -> str:
    """Return what is wrong, without the name of the table."""
    if one.reason:
        reason = one.reason.removeprefix(f"{one.table}: ")
        return reason if one.destination in reason else f"{one.destination}: {reason}"
    if one.behind:
        rows = f"{'more than ' if one.more else ''}{one.rows_behind:,} rows"
        return f"{one.destination}: staged sets wait to be loaded: {one.behind:,}, {rows}; run ownlens load"
    return f"{one.destination}: no validation has passed what is there; the next ownlens load validates it"


def _table(standings: Sequence[Standing], now: datetime, width: int) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    # A name that is cut could be that of another table.
    table.add_column("table", overflow="fold", min_width=_NAME_WIDTH)
    table.add_column("in", overflow="fold", min_width=4)
    columns = _LONG if width >= _WIDE else _SHORT
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    before = ""
    for one in standings:
        cells = (cell(one, now) for cell in columns.values())
        table.add_row(Text("" if one.table == before else one.table), Text(one.destination), *cells, _mark(one))
        before = one.table
    return table


def _mark(one: Standing) -> Text:
    if not one.well:
        mark, style = ("?", "yellow") if one.validation == OWED and not one.reason else ("✗", "red")
    else:
        mark, style = _MARKS.get(one.validation, ("·", "dim"))
    return Text(mark, style=style)


def _set(one: Standing, _now: datetime) -> str:
    return f"{one.position:,}" if one.position == one.newest else f"{one.position:,}/{one.newest:,}"


def _waiting(one: Standing, _now: datetime) -> str | Text:
    if not one.behind:
        return _NOTHING
    return Text(f"{one.behind:,}: {_short(one.rows_behind)}{'+' if one.more else ''}", style="yellow")


def _loaded(one: Standing, now: datetime) -> str | Text:
    return _ago(one.last_load.at, now) if one.last_load else _NOTHING


def _as_of(one: Standing, now: datetime) -> str | Text:
    return _ago(one.as_of, now) if one.as_of else _NOTHING


def _rows(one: Standing, _now: datetime) -> str | Text:
    return _NOTHING if one.last_load is None or one.last_load.rows is None else f"{one.last_load.rows:,}"


def _seconds(one: Standing, _now: datetime) -> str | Text:
    return _NOTHING if one.last_load is None or one.last_load.seconds is None else f"{one.last_load.seconds:,.1f}"


def _refused(one: Standing, _now: datetime) -> str | Text:
    return Text(_short(count), style="yellow") if (count := one.refused + one.aside) else _NOTHING


def _staged(one: Standing, _now: datetime) -> str | Text:
    return _NOTHING if one.staged_bytes is None else _size(one.staged_bytes)


def _stored(one: Standing, _now: datetime) -> str | Text:
    return _NOTHING if one.stored_bytes is None else _size(one.stored_bytes)


_NOTHING = Text("-", style="dim")
_LONG: dict[str, Cell] = {
    "set": _set,
    "waiting": _waiting,
    "as of": _as_of,
    "loaded": _loaded,
    "rows": _rows,
    "seconds": _seconds,
    "refused": _refused,
    "staged": _staged,
    "stored": _stored,
}
_SHORT: dict[str, Cell] = {
    "set": _set,
    "waiting": _waiting,
    "loaded": _loaded,
    "rows": lambda one, _: _NOTHING if one.last_load is None else _short(one.last_load.rows or 0),
    "refused": _refused,
    "stored": _stored,
}


def _ago(moment: datetime, now: datetime) -> str:
    seconds = max(0, int((now - moment).total_seconds()))
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= 2 * size), (1, "s"))
    return f"{seconds // size} {unit}"


def _size(count: int) -> str:
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" or value >= 100 else f"{value:.1f} {units[0]}"


def _short(count: int) -> str:
    return f"{count:,}" if count < 10_000 else _size(count).removesuffix("B").replace(" ", "")


def _sums(standings: Sequence[Standing]) -> list[str]:
    wrong = sum(not one.well for one in standings)
    said = f"{wrong} need a person" if wrong else "all well"
    staged = {one.table: one.staged_bytes or 0 for one in standings}
    refused = {one.table: one.refused for one in standings}
    bytes_in: Counter[str] = Counter()
    for one in standings:
        bytes_in[one.destination] += one.stored_bytes or 0
    stored = ", ".join(f"{_size(size)} in {name}" for name, size in sorted(bytes_in.items()))
    return [
        f"{len(staged)} tables, {len(standings)} loads: {said}; "
        f"{sum(refused.values()) + sum(one.aside for one in standings):,} rows in quarantine; "
        f"{_size(sum(staged.values()))} staged, {stored}"
    ]
