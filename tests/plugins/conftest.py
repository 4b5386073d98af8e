from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .packages import Packages


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """A folder on sys.path into which a test installs distributions."""
    for variable in ("OWNLENS_PLUGINS_ONLY", "OWNLENS_PLUGINS_BLOCK"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    installed = Packages(folder)
    yield installed
    installed.forget()
