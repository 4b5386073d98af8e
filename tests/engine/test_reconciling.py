"""Stores that must show the same rows are compared; those that may differ by design are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from ownlens_plugins.api import Covers, LoadPlan, StagedPart, TouchedSlice
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.reconciling import Subject, compare
from ownlens_plugins.powers import SliceCounts
from ownlens_plugins.testing import sample_contract

from .sqlite_destination import SqliteConfig, SqliteDestination

DAY = date(2026, 1, 10)
DAYS = TouchedSlice("day", DAY, DAY + timedelta(days=4))
APPEND, UPSERT, OVERWRITE, REPLACE = Strategy.APPEND, Strategy.UPSERT, Strategy.OVERWRITE, Strategy.REPLACE_PARTITION


class Counting(SqliteDestination):
    """Shows the rows of each day that it is told, each with a key of its own."""

    shown: Mapping[date, int]
    aside = spared = doubled = 0
    kept: date | None = None

    def count(self, plan: LoadPlan) -> SliceCounts:
        slice_ = plan.touched
        rows = sum(n for day, n in self.shown.items() if slice_ is None or slice_.first <= day <= slice_.last)
        return SliceCounts(rows, rows - self.doubled, self.aside, self.spared)

    def kept_since(self, plan: LoadPlan) -> date | None:
        return self.kept


def store(*rows: int, name: str = "a", **facts: Any) -> Counting:
    made = type("Store", (Counting,), {"name": name, **facts})(SqliteConfig(path="none"))
    made.shown = {DAY + timedelta(days=at): number for at, number in enumerate(rows)}
    return made


def plan(destination: SqliteDestination, strategy: Strategy = UPSERT, *, rows: int = 0, **facts: Any) -> LoadPlan:
    contract = replace(sample_contract("entity"), **facts.pop("contract", {}))
    options = destination.options_type(strategy=strategy)
    parts = (StagedPart("0", "none", rows, 0, ""),)
    return LoadPlan(contract, destination.name, strategy, options, 7, "", parts, touched=DAYS, **facts)


def differences(*subjects: tuple[SqliteDestination, LoadPlan], touched: TouchedSlice | None = DAYS) -> list[str]:
    return [found.message for found in compare([Subject(*subject) for subject in subjects], touched)]


def of(made: Counting, strategy: Strategy = UPSERT, **facts: Any) -> tuple[Counting, LoadPlan]:
    return made, plan(made, strategy, **facts)


def test_stores_that_show_the_same_are_in_order() -> None:
    assert differences(of(store(3, 4)), of(store(3, 4, name="b"), OVERWRITE, rows=7)) == []


def test_another_row_count_is_told_with_both_stores_and_numbers() -> None:
    said = differences(of(store(3, 4)), of(store(3, 5, name="b")))
    days = "from 2026-01-10 to 2026-01-14"
    expected = (
        f"samples: the counts of set 7 differ: a shows 7 rows and 7 keys {days}, b shows 8 rows and 8 keys {days}; "
        "load it anew with `ownlens load --full-refresh --tables samples`, and report this"
    )
    assert said == [expected] * 2, "neither is taken for the truth"


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_of_three_stores_the_one_that_two_contradict_is_told(odd: int) -> None:
    stores = [store(3, 5 if number == odd else 4, name=name) for number, name in enumerate("abc")]
    found = compare([Subject(*of(made)) for made in stores], DAYS)
    assert [difference.destination for difference in found] == ["abc"[odd]]
    assert found[0].message.count("shows 7 rows and 7 keys") == 2
    assert found[0].message.count(f"{'abc'[odd]} shows 8 rows and 8 keys") == 1


def test_three_stores_that_all_differ_are_all_told() -> None:
    stores = [store(number, name=name) for number, name in enumerate("abc")]
    found = compare([Subject(*of(made)) for made in stores], DAYS)
    assert [difference.destination for difference in found] == ["a", "b", "c"]
    assert len({difference.message for difference in found}) == 1


@pytest.mark.parametrize(
    ("shown", "told"), [((6, 7), "a"), ((7, 6), "b"), ((6, 6), "ab"), ((6, 8), "ab"), ((7, 7), "")]
)
def test_two_stores_and_what_was_staged_are_three_sides(shown: tuple[int, int], told: str) -> None:
    stores = [store(rows, name=name) for rows, name in zip(shown, "ab", strict=True)]
    found = compare([Subject(*of(made, covers=Covers(), rows=7)) for made in stores], None)
    assert "".join(difference.destination for difference in found) == told
    for difference in found:
        assert difference.message.startswith(
            f"samples: the counts of set 7 differ: 7 rows are staged, a shows {shown[0]} rows, b shows {shown[1]} rows;"
        )


def test_the_same_rows_with_fewer_keys_differ() -> None:
    assert "7 rows and 6 keys" in differences(of(store(3, 4)), of(store(3, 4, name="b", doubled=1)))[0]


def test_only_the_touched_days_are_compared() -> None:
    outside = store(3, 4, 0, 0, 0, 9, name="b")
    assert differences(of(store(3, 4)), of(outside)) == []
    assert differences(of(store(3, 4)), of(outside), touched=None)


def test_rows_kept_aside_and_rows_spared_count_as_come_and_gone() -> None:
    assert differences(of(store(3, 4)), of(store(3, 3, name="b", aside=2, spared=1))) == []


@pytest.mark.parametrize(("shown", "told"), [(7, []), (6, ["7 rows are staged, a shows 6 rows;"])])
def test_a_set_of_the_whole_table_is_all_there_is(shown: int, told: list[str]) -> None:
    one = of(store(shown), covers=Covers(), rows=7)
    found = differences(one)
    assert len(found) == len(told)
    assert all(text in said for text, said in zip(told, found, strict=True))


def test_covered_days_hold_the_sets_rows_and_no_others() -> None:
    days = (DAY, DAY + timedelta(days=1), DAY + timedelta(days=3))
    covers = Covers("day", days)
    assert differences(of(store(3, 4, 9, 1), covers=covers, rows=8)) == []
    assert "8 rows are staged, a shows 9 rows" in differences(of(store(3, 5, 9, 1), covers=covers, rows=8))[0]


def test_a_set_of_keys_is_compared_with_keys() -> None:
    covers = Covers(keys_only=True)
    assert differences(of(store(3, 4, doubled=1), covers=covers, rows=6)) == []
    assert "shows 7 keys" in differences(of(store(3, 4), covers=covers, rows=6))[0]


def test_what_differs_by_design_is_not_compared() -> None:
    keep = {"deletes": "keep"}
    merged, replaced = of(store(9), UPSERT, contract=keep), of(store(7, name="b"), OVERWRITE, rows=7, contract=keep)
    assert differences(merged, replaced) == [], "what is gone from the source stays where rows are merged"
    history = of(store(99, name="c"), APPEND)
    assert differences(merged, history) == [], "every version of a row is kept there"


def test_appends_of_tables_without_versions_are_compared() -> None:
    events = {"version_by": None, "deletes": "keep"}
    said = differences(of(store(9), APPEND, contract=events), of(store(8, name="b"), UPSERT, contract=events))
    assert "b shows 8 rows" in said[0]


def test_days_that_a_retention_drops_are_left_out() -> None:
    short = store(0, 0, 4, name="b", kept=DAY)
    assert differences(of(store(3, 0, 4)), of(short)) == []
    assert differences(of(store(3, 0, 5)), of(short))
    assert differences(of(store(3, 0, 4)), of(store(name="b", kept=DAY + timedelta(days=9)))) == []
    assert differences(of(store(3, 0, 4)), of(short), touched=None) == [], "the whole table is not there any more"


def test_stores_that_cannot_count_are_left_out() -> None:
    class Silent(SqliteDestination):
        count = None  # type: ignore[assignment]
        name = "silent"

    silent = Silent(SqliteConfig(path="none"))
    assert differences(of(store(3)), (silent, plan(silent))) == []
