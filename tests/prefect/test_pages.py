"""Prefect's own pages of a load, as a person's browser shows them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from .screenshots import picture, shown_text
from .stack import Stack

pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None and not os.environ.get("CI"), reason="no chromium (Debian's package `chromium`)"
)


def test_the_run_and_its_artifact_are_shown(stack: Stack, tmp_path: Path) -> None:
    earlier = [run for run in stack.runs_of("adhoc") if run["state"]["message"].startswith("9 loads: 9 loaded")]
    run = earlier[0] if earlier else stack.adhoc({"tables": ["browsers", "cities", "countries"]})
    page = f"{stack.address}/runs/flow-run/{run['id']}"
    text = shown_text(page)
    assert run["name"] in text
    assert "load countries into clickhouse" in text or "ownlens-load-summary" in text
    picture(page, tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 20_000, "an empty page is smaller"
    of_the_run = {"flow_run_id": {"any_": [run["id"]]}, "type": {"any_": ["table"]}}
    (artifact,) = stack.ask("POST", "/artifacts/filter", artifacts=of_the_run)
    text = shown_text(f"{stack.address}/artifacts/artifact/{artifact['id']}")
    for cell in ("countries", "clickhouse", "postgresql", "s3", "passed"):
        assert cell in text
