"""A pytest plugin for the example's suite, which opens its file thousands of times: DuckDB takes 20 ms for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest


@pytest.fixture(autouse=True)
def kept_open(destination: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the file open until the suite gives it up or looks at it from outside."""
    path = destination.config.path
    kept = [duckdb.connect(path)]
    look = request.cls.traces

    def traces(suite: Any, *arguments: Any) -> Any:
        destination.close()  # DuckDB keeps a log beside an open file
        return look(suite, *arguments)

    monkeypatch.setattr(destination, "close", lambda: kept and kept.pop().close())
    monkeypatch.setattr(request.cls, "traces", traces)
    yield
    if kept:
        held = everything(path)
        destination.close()
        assert everything(path) == held, "the file holds the same when it is opened again"


def everything(path: str) -> dict[str, str]:
    """Return the rows of every table of a file, as text: NaN is not equal to itself."""
    with duckdb.connect(path) as db:
        names = [name for (name,) in db.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {
            name: repr(db.table(f'"{name.replace(chr(34), chr(34) * 2)}"').order("ALL").fetchall()) for name in names
        }
