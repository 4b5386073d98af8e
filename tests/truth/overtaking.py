"""A run that is overtaken by another one at a moment of the test's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ownlens_plugins.contracts import TableContract
from ownlens_plugins.engine.sources.source import Extracted, Selection, Snapshot


class Overtaken:
    """A snapshot in which something happens between the run's decision and its first row."""

    def __init__(self, inner: Snapshot, happens: Callable[[], object]) -> None:
        self._inner, self._happens = inner, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextmanager
    def read(self, contract: TableContract, selection: Selection) -> Iterator[Extracted]:
        happens, self._happens = self._happens, _nothing
        happens()
        with self._inner.read(contract, selection) as extracted:
            yield extracted


def _nothing() -> None:
    """It happens once."""
