"""What most cases need: some clicks, and a writer whose transaction the case ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from .worlds import World


def click(world: World, *numbers: int, at: str = "now()") -> None:
    for number in numbers:
        world.execute(f"INSERT INTO clicks VALUES ({number}, 'n', 1, '{{a}}', now(), {at})")


@contextmanager
def writer(world: World, **settings: Any) -> Iterator[psycopg.Connection[Any]]:
    with world.connect(**settings) as connection:
        yield connection
        connection.rollback()
