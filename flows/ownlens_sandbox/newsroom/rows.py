"""The statements that insert and correct rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from ownlens_plugins.contracts import TableContract

from .drawing import Drawing, salt
from .recipes import recipe_for
from .rules import is_number
from .scene import Scene, daily_column
from .schema import quoted

# The share of new rows whose event happened on an earlier day.
LATE_SHARE = 0.1
# Corrections mostly touch rows this young, in days.
RECENT_DAYS = 10


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows numbered from `first`: `keys` of them for each of `days` days from `first_day` on."""

    first: int
    keys: int
    days: int
    first_day: date

    @property
    def last(self) -> int:
        return self.first + self.keys * self.days - 1


def insert_statement(contract: TableContract, scene: Scene, batch: Batch) -> str:
    """Return the INSERT of a batch; a row of a daily table that is there already is left alone."""
    drawing = Drawing(contract, scene)
    names = ", ".join(quoted(name) for name in contract.column_names)
    values = ", ".join(drawing.value(name) for name in contract.column_names)
    source = f"({_source(contract, scene, batch)}) AS r{drawing.join()}"
    conflict = " ON CONFLICT DO NOTHING" if daily_column(contract) else ""
    return f"INSERT INTO {quoted(contract.table)} ({names}) SELECT {values} FROM {source}{conflict}"


def _source(contract: TableContract, scene: Scene, batch: Batch) -> str:
    place = f"(g.i - {batch.first})"
    if daily_column(contract):
        day = f"date '{batch.first_day.isoformat()}' + ({place} / {batch.keys})::int"
        columns = f"{place} % {batch.keys} + 1 AS k, {day} AS day, ({day})::timestamptz AS at"
    else:
        columns = f"g.i AS k, NULL::date AS day, {_moment(contract, scene)} AS at"
    # The fence keeps PostgreSQL from working `at` out again for each column that uses it.
    return f"SELECT g.i, {columns} FROM generate_series({batch.first}::bigint, {batch.last}) AS g (i) OFFSET 0"


def _moment(contract: TableContract, scene: Scene) -> str:
    clock = scene.clock
    if contract.partition_by is None:
        return clock.now
    u = _draw(scene, contract, "moment")
    if clock.is_change:
        close = f"CASE WHEN now() > {clock.midnight} THEN least(now(), {clock.midnight} + interval '1 day')"
        span = f"({close} ELSE {clock.midnight} + interval '1 day' END - {clock.midnight})"
        late = f"{clock.midnight} - (0.2 + 4 * {u}) * interval '1 day'"
        is_late = f"{_draw(scene, contract, 'late')} < {LATE_SHARE}"
        return f"CASE WHEN {is_late} THEN {late} ELSE {clock.midnight} + {u} * {span} END"
    days = scene.history_days(contract.table)
    past = f"({days} * (1 - (g.i - {u}) / {scene.populations[contract.table].total}))"
    # Nights are quiet: the power moves the hours of a day towards its evening.
    hours = f"(1 - power(ceil({past}) - {past}, 0.7) * 0.95)"
    return f"{clock.midnight} - (ceil({past}) - 1 + {hours}) * interval '1 day'"


def _draw(scene: Scene, contract: TableContract, tag: str) -> str:
    bits = f"hashint8extended(g.i, {salt(scene.seed, contract.table, '', tag)})"
    return f"(({bits} & 4503599627370495) / 4503599627370496.0::float8)"


def update_statement(contract: TableContract, scene: Scene, rows: int) -> str:
    """Return the UPDATE that draws some columns of `rows` older rows anew and stamps them as updated now."""
    changing = changing_columns(contract)
    known = {name: f"t.{quoted(name)}" for name in contract.column_names if name not in changing}
    drawing = Drawing(contract, scene, known=known)
    sets = [f"{quoted(name)} = {drawing.value(name)}" for name in changing]
    assignments = ", ".join([*sets, f"{quoted('updated_at')} = now()"])
    match = " AND ".join(f"t.{quoted(name)} = r.{quoted(name)}" for name in contract.key)
    chosen = _chosen(contract, scene, rows)
    return f"UPDATE {quoted(contract.table)} AS t SET {assignments} FROM ({chosen}) AS r WHERE {match}"


def changing_columns(contract: TableContract) -> tuple[str, ...]:
    """Return the columns that an update draws anew, besides `updated_at`."""
    recipe = recipe_for(contract)
    if recipe.changing:
        return tuple(name for name in recipe.changing if name != "updated_at")
    fixed = {*contract.key, *recipe.columns, *(reference.column for reference in contract.references)}
    return tuple(column.name for column in contract.columns if column.name not in fixed and is_number(column))[:3]


def _chosen(contract: TableContract, scene: Scene, rows: int) -> str:
    keys = [quoted(name) for name in contract.key]
    number = f"hashtextextended(concat_ws('/', {', '.join(f'{key}::text' for key in keys)}), 0)"
    turn = f"hashint8extended(i, {salt(scene.seed, contract.table, 'turn')})"
    inner = f"SELECT {', '.join(keys)}, {number} AS i, {_age(contract, scene)} AS is_old FROM {quoted(contract.table)}"
    where = f"{quoted('updated_at')} < now(){_only_earlier_days(contract, scene)}"
    order = f"is_old AND {turn} % 10 <> 0, {turn}"
    # A row does not know its number any more; its key's hash stands in for it.
    columns = f"{', '.join(keys)}, i, 1 + abs(i % 100) AS k"
    return f"SELECT {columns} FROM ({inner} WHERE {where}) AS c ORDER BY {order} LIMIT {rows}"


def _age(contract: TableContract, scene: Scene) -> str:
    if contract.partition_by is None:
        return "false"
    return f"{quoted(contract.partition_by)} < {scene.clock.midnight} - interval '{RECENT_DAYS} days'"


def _only_earlier_days(contract: TableContract, scene: Scene) -> str:
    column = daily_column(contract)
    return f" AND {quoted(column)} < date '{scene.clock.day.isoformat()}'" if column else ""
