"""The script for the loading user in docs/clickhouse.md; no engine at hand could run it, but one can read it."""

from __future__ import annotations

import re
from pathlib import Path

from ownlens_clickhouse.client import SETTINGS

from .loads import Loads

PAGE = (Path(__file__).parents[3] / "docs" / "clickhouse.md").read_text(encoding="utf-8")


def _script() -> list[str]:
    found = re.search(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return [statement.strip() for statement in found[1].split(";") if statement.strip()]


def test_clickhouse_can_read_the_script(loads: Loads) -> None:
    for statement in _script():
        assert loads.sql("SELECT formatQuerySingleLine({text:String})", text=statement)[0][0]


def test_the_rights_in_the_script_exist(loads: Loads) -> None:
    known = {str(name) for (name,) in loads.sql("SELECT privilege FROM system.privileges")}
    granted = {
        right.strip()
        for statement in _script()
        if (found := re.fullmatch(r"GRANT (.*) ON \S+ TO loader", statement))
        for right in found[1].split(",")
    }
    assert "ALTER TABLE" in granted
    assert granted <= known


def test_the_page_names_every_setting_that_is_sent() -> None:
    assert {name for name in SETTINGS if f"`{name}`" not in PAGE} == set()
