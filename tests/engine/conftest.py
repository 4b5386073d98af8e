from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ownlens_plugins.registry import GROUP, Registry

from .sqlite_destination import SqliteConfig, SqliteDestination


@pytest.fixture
def registry() -> Registry:
    """A registry that knows one destination, the small one of these tests."""
    return Registry([EntryPoint("sqlite", "tests.engine.sqlite_destination", GROUP)])


@pytest.fixture
def sqlite(tmp_path: Path) -> SqliteDestination:
    return SqliteDestination(SqliteConfig(path=str(tmp_path / "store.sqlite")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a source of files."""
    (tmp_path / "files").mkdir()
    return tmp_path / "files"
