"""`contracts check` refuses what can never be right, with file, line and reason; and takes what is beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ownlens_cli.contracts import command
from ownlens_plugins import TableContract
from ownlens_plugins.contracts import contract_from
from ownlens_plugins.validation import check_expectations

from .refusals import BETWEEN, COLUMNS, IN_SET, REFUSED, REGEX

DOCUMENT = {
    "table": "readings",
    "domain": "tests",
    "preset": "events",
    "key": ["id"],
    "partition_by": "created_at",
    "path": "tests/readings",
}


def checked(*checks: dict[str, Any]) -> TableContract:
    return contract_from({**DOCUMENT, "columns": COLUMNS, "checks": list(checks)})


@pytest.mark.parametrize(("name", "keywords", "reason"), REFUSED)
def test_what_can_never_be_right_is_refused(name: str, keywords: dict[str, Any], reason: str) -> None:
    (problem,) = check_expectations(checked({BETWEEN: {"column": "rank", "min_value": 0}}, {name: keywords}))
    assert problem.file == "tests/readings.yaml"
    assert problem.message.startswith(f"checks.1: {name}") or problem.message.startswith("checks.1: ")
    assert reason in problem.message
    assert "\n" not in problem.message


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        (BETWEEN, {"column": "rank", "min_value": 2, "max_value": 2}),
        (BETWEEN, {"column": "small", "max_value": 40_000}),
        (BETWEEN, {"column": "rank", "min_value": 0.5}),
        (BETWEEN, {"column": "price", "max_value": "99.995"}),
        (BETWEEN, {"column": "wide", "max_value": "12345678901234567890123456789012345678"}),
        (BETWEEN, {"column": "created_at", "min_value": "2026-01-31"}),
        (IN_SET, {"column": "rank", "value_set": [1.0]}),
        (IN_SET, {"column": "token", "value_set": ["00000000-0000-0000-0000-00000000000A"]}),
        (REGEX, {"column": "code", "regex": r"^(?P<year>\d{4})-[^-\]]+(a|b)?$"}),
        ("expect_column_pair_values_to_be_equal", {"column_A": "day", "column_B": "local_at"}),
        ("expect_column_pair_values_to_be_equal", {"column_A": "rank", "column_B": "ratio"}),
        ("expect_column_pair_values_to_be_equal", {"column_A": "code", "column_B": "status"}),
    ],
)
def test_what_is_right_is_taken(name: str, keywords: dict[str, Any]) -> None:
    assert check_expectations(checked({name: keywords})) == []


def test_all_problems_come_with_their_lines(tmp_path: Path) -> None:
    checks = [{BETWEEN: {"column": "rank", "min_value": 0}}, {REGEX: {"column": "code", "regex": "["}}]
    text = yaml.safe_dump({**DOCUMENT, "columns": COLUMNS, "checks": [*checks, {"expect_much": {}}]}, sort_keys=False)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/readings.yaml").write_text(text)
    done = CliRunner().invoke(command, ["check", "--contracts", str(tmp_path), "--json"])
    problems = json.loads(done.stdout)["problems"]
    lines = text.splitlines()
    assert [(one["file"], lines[one["line"] - 1].split(":")[0]) for one in problems] == [
        ("tests/readings.yaml", f"- {REGEX}"),
        ("tests/readings.yaml", "- expect_much"),
    ]


def test_a_number_that_yaml_would_round_is_told(tmp_path: Path) -> None:
    document = yaml.safe_dump({**DOCUMENT, "columns": COLUMNS}, sort_keys=False)
    (tmp_path / "tests").mkdir()
    file = tmp_path / "tests/readings.yaml"
    text = f"{document}checks:\n- {BETWEEN}: {{column: fine, max_value: 0.12345678901234567891}}\n"
    file.write_text(text)
    done = CliRunner().invoke(command, ["check", "--contracts", str(tmp_path), "--json"])
    (problem,) = json.loads(done.stdout)["problems"]
    assert problem["line"] == len(text.splitlines())
    assert "quote it as '0.12345678901234567891'" in problem["message"]
    file.write_text(text.replace("0.12345678901234567891", "'0.12345678901234567891'"))
    assert json.loads(CliRunner().invoke(command, ["check", "--contracts", str(tmp_path), "--json"]).stdout) == {
        "contracts": 1,
        "problems": [],
    }
