"""Each table in each place has a Prefect asset of its own, whatever the two are called."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prefect.assets import Asset

from ownlens_flows.assets import asset_key, source_key, staged_key
from ownlens_plugins.contracts.rules import name_problem

from .naming import TABLES

NAMES = st.text(min_size=1, max_size=63).filter(lambda name: name_problem(name) is None)
PLACES = ("s3", "source", "staged", "destination", "my_lake", "My-Lake", "own.lens", "postgresql")


def keys(table: str) -> list[str]:
    return [source_key(table), staged_key(table), *(asset_key(table, place) for place in PLACES)]


def test_plain_names_keep_their_keys() -> None:
    assert asset_key("customer_events", "s3") == "s3://ownlens/customer_events"
    assert staged_key("a-b.c") == "staged://ownlens/a-b.c"


def test_no_two_tables_or_places_share_a_key() -> None:
    made = [key for table in TABLES for key in keys(table)]
    assert len({*made}) == len(made)
    assert [Asset(key=key).key for key in made] == made


@given(NAMES, NAMES)
def test_prefect_takes_the_key_of_every_name(one: str, other: str) -> None:
    for mine, theirs in zip(keys(one), keys(other), strict=True):
        assert Asset(key=mine).key == mine
        assert (mine == theirs) == (one == other)
