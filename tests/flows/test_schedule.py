"""The order of a run's steps, without running any."""

from __future__ import annotations

from pathlib import Path

import pytest

from ownlens_flows.schedule import LOAD, STAGE, VALIDATE, Schedule, Step
from ownlens_plugins.contracts import read_contracts

CONTRACTS = read_contracts(Path(__file__).parents[2] / "table_configs")
FREE = 100


def schedule(*tables: str, ordered: tuple[str, ...] = ("postgresql",), limit: int = 9) -> Schedule:
    names = ("postgresql", "s3")
    return Schedule([CONTRACTS[t] for t in tables], names, frozenset(ordered), dict.fromkeys(names, limit), True)


def test_loads_follow_staging_and_validation_follows_loads() -> None:
    plan = schedule("countries")
    assert list(plan.ready(FREE)) == [Step(STAGE, "countries")]
    assert list(plan.ready(FREE)) == []
    plan.ended(Step(STAGE, "countries"), well=True)
    assert set(plan.ready(FREE)) == {Step(LOAD, "countries", "postgresql"), Step(LOAD, "countries", "s3")}
    plan.ended(Step(LOAD, "countries", "s3"), well=True)
    assert list(plan.ready(FREE)) == [Step(VALIDATE, "countries", "s3")]


def test_nothing_is_validated_when_nothing_was_loaded() -> None:
    plan = schedule("countries")
    drain(plan, changed=False)
    assert plan.finished


def test_children_wait_for_their_parents_where_references_are_enforced() -> None:
    plan = schedule("countries", "cities")
    for table in ("countries", "cities"):
        list(plan.ready(FREE))
        plan.ended(Step(STAGE, table), well=True)
    started = set(plan.ready(FREE))
    assert Step(LOAD, "cities", "s3") in started
    assert Step(LOAD, "cities", "postgresql") not in started
    plan.ended(Step(LOAD, "countries", "postgresql"), well=True)
    assert Step(LOAD, "cities", "postgresql") in set(plan.ready(FREE))


@pytest.mark.parametrize("broken", [STAGE, LOAD])
def test_children_of_a_failed_parent_are_skipped_all_the_way_down(broken: str) -> None:
    plan = schedule("countries", "cities", "users")
    failing = Step(STAGE, "countries") if broken == STAGE else Step(LOAD, "countries", "postgresql")
    ran = drain(plan, failing={failing})
    skipped = {(step.table, step.destination) for step in plan.skipped}
    assert skipped == {("cities", "postgresql"), ("users", "postgresql")}
    assert Step(LOAD, "users", "s3") in ran
    assert plan.finished


def test_a_destination_gets_no_more_loads_than_its_slots() -> None:
    plan = schedule("countries", "device_types", "browsers", ordered=(), limit=1)
    for step in list(plan.ready(FREE)):
        plan.ended(step, well=True)
    assert len(list(plan.ready(FREE))) == 2


def test_no_more_steps_start_than_there_is_room() -> None:
    assert len(list(schedule("countries", "device_types", "browsers").ready(2))) == 2


def drain(plan: Schedule, *, failing: set[Step] = frozenset(), changed: bool = True) -> list[Step]:  # type: ignore[assignment]
    ran: list[Step] = []
    while steps := list(plan.ready(FREE)):
        for step in steps:
            ran.append(step)
            plan.ended(step, well=step not in failing, changed=changed)
    return ran
