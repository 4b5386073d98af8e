"""A load that no validation has passed is validated by the next run, which has nothing new to load."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from .conftest import CONTRACTS, Project
from .interrupted import die_at_validation, loads_of

BAD_ARTICLE = '12,1,"",2026-01-03 08:00:00Z,2026-01-03 08:00:00Z'
GOOD_ARTICLE = "13,1,Later,2026-02-01 08:00:00Z,2026-02-01 08:00:00Z"


def summary(project: Project, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = project.load("--json", *arguments)
    return code, json.loads(capsys.readouterr().out)


def validations(document: dict[str, Any]) -> set[str]:
    return {load["validation"] for load in document["loads"]}


def test_a_process_that_dies_between_commit_and_validation(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.add_line("articles", BAD_ARTICLE)
    arguments = ("--tables", "articles", "--destinations", "s3")
    assert die_at_validation(project, tmp_path, *arguments) == -signal.SIGKILL
    code, document = summary(project, capsys, *arguments)
    (load,) = document["loads"]
    assert (code, load["status"], load["validation"]) == (1, "nothing new", "failed")
    assert "expect_column_value_lengths_to_be_between" in document["errors"][0]


def test_a_run_that_left_validation_out_is_made_up_for(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = summary(project, capsys, "--no-validate")
    assert (code, validations(document)) == (0, {"owed"})
    assert document["message"] == "6 loads: 6 loaded, 0 with nothing new, 6 not validated yet"
    code, document = summary(project, capsys)
    assert (code, validations(document)) == (0, {"passed"})
    assert {load["status"] for load in document["loads"]} == {"nothing new"}
    code, document = summary(project, capsys)
    assert (code, validations(document)) == (0, {"not run"}), "nothing is owed any more"


def test_a_profile_that_never_validates_owes_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(project.config)
    file.write_text(file.read_text().replace("retries = 1", "retries = 1\nvalidate_loads = false"))
    code, document = summary(project, capsys, "--tables", "authors")
    assert (code, validations(document)) == (0, {"not run"})


@pytest.mark.parametrize("store", ["s3", "postgresql"])
def test_older_sets_are_validated_with_the_newest(
    project: Project, capsys: pytest.CaptureFixture[str], store: str
) -> None:
    """The bad row is in a day that the newest set does not touch."""
    project.add_line("articles", BAD_ARTICLE)
    assert project.load("--tables", "authors,articles", "--destinations", store, "--no-validate") == 0
    project.add_line("articles", GOOD_ARTICLE)
    move_back(project, "articles")
    code, document = summary(project, capsys, "--tables", "authors,articles", "--destinations", store)
    load = loads_of(json.dumps(document))["articles", store]
    assert (code, load["status"], load["validation"]) == (1, "loaded", "failed")


def move_back(project: Project, table: str) -> None:
    """Let the last window have ended before the new rows were stamped."""
    (manifest,) = (project.folder / "staging" / table / "manifests").iterdir()
    content = json.loads(manifest.read_text())
    content["window"]["end"] = "2026-01-15T00:00:00+00:00"
    manifest.write_text(json.dumps(content))


def test_an_invalid_load_stays_invalid_until_it_passes(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.add_line("articles", BAD_ARTICLE)
    arguments = ("--tables", "articles", "--destinations", "s3")
    for status in ("loaded", "nothing new"):
        code, document = summary(project, capsys, *arguments)
        (load,) = document["loads"]
        assert (code, load["status"], load["validation"]) == (1, status, "failed")
    project.write_contract("articles", CONTRACTS["articles"].replace("min_value: 1", "min_value: 0"))
    code, document = summary(project, capsys, *arguments)
    assert (code, validations(document)) == (0, {"passed"}), "the check was changed, as the message says"
    code, document = summary(project, capsys, *arguments)
    assert (code, validations(document)) == (0, {"not run"})
