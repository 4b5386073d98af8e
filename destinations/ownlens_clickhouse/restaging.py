"""Stage a begun load anew, for a table whose definition somebody has changed since the load was begun."""

from __future__ import annotations

from dataclasses import replace

from ownlens_plugins.api import new_attempt
from ownlens_plugins.errors import Rejected

from . import drift, schema, sql, staging
from .attempts import internal
from .definition import LOAD
from .redo import Redo
from .shape import Shape, find_shape
from .target import Target
from .widening import widens


def anew(target: Target, redo: Redo, stage: str) -> Redo:
    """Give a begun load's rows the definition that the table has by now, and return the load's record.

    The new staged table is filled and carries the record before it takes the old one's name: whichever of the two a
    crash leaves, its rows can land, and landing both is landing them once.

    Raises:
        Rejected: the table has no room for some values any more.
    """
    here, there = find_shape(target.store, target.table), find_shape(target.store, stage)
    if here is None or there is None:
        return redo  # what is missing is said when the load is applied
    _require_room(target, redo, here, there)
    label = internal(target.table, redo.entry.sequence, new_attempt(), "panew")
    blueprint = staging.landing(target, here, redo.entry.sequence)
    name = staging.create_empty(target.store, blueprint, label, checked=False)
    held = there.physical
    columns = sql.identifiers(each for each in here.physical if each in held)
    target.store.run(sql.copy(target.store.name(name), target.store.name(stage), columns))
    redo = replace(redo, entry=replace(redo.entry, stage=target.require_uuid(name)))
    target.begin(redo, name, here.comment)
    schema.require_alike(target, name)
    target.store.run(sql.exchange(target.store.name(name), target.store.name(stage)))
    target.drop(name)
    return redo


def _require_room(target: Target, redo: Redo, here: Shape, there: Shape) -> None:
    room, wanted = here.physical, {*target.contract.column_names, LOAD}
    lost = [name for name, kind in there.physical.items() if name in wanted and not widens(kind, room.get(name, ""))]
    if lost or not here.is_merge_tree:
        raise Rejected(
            f"{target.table}: clickhouse table {target.name} was changed while load {redo.entry.load_id} was on its way"
            f" into it: columns {', '.join(map(repr, lost))} have no room for its values any more; restore the columns,"
            f" or {drift.REFRESH}"
        )
