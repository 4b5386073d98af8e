"""`ownlens status`: how far each destination has come, what is not validated, and the exit code for scripts."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from ownlens_cli.main import run

from .conftest import Project
from .interrupted import die_at_validation
from .test_owed_validations import BAD_ARTICLE


def status(project: Project, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[Any, Any]]:
    capsys.readouterr()
    code = run(["status", "--config", project.config, "--json", *arguments])
    document = json.loads(capsys.readouterr().out)
    return code, {(load["table"], load["destination"]): load for load in document["loads"]}


def test_a_project_that_was_never_loaded_has_nothing_to_do(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    code, loads = status(project, capsys)
    assert (code, len(loads)) == (0, 6)
    assert {(load["newest"], load["validation"]) for load in loads.values()} == {(0, "none")}


def test_what_is_loaded_and_validated_is_in_order(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.load() == 0
    code, loads = status(project, capsys)
    assert code == 0
    assert {(one["position"], one["newest"], one["behind"], one["validation"]) for one in loads.values()} == {
        (1, 1, 0, "passed")
    }


def test_a_load_that_no_validation_has_seen_is_owed_one(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--tables", "authors", "--destinations", "s3")
    assert die_at_validation(project, tmp_path, *arguments) == -signal.SIGKILL
    code, loads = status(project, capsys, *arguments)
    assert (code, loads["authors", "s3"]["validation"]) == (1, "owed")
    assert project.load(*arguments) == 0
    code, loads = status(project, capsys, *arguments)
    assert (code, loads["authors", "s3"]["validation"]) == (0, "passed")


def test_a_failed_validation_stays_visible_with_its_reason(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.add_line("articles", BAD_ARTICLE)
    assert project.load("--destinations", "s3") == 1
    code, loads = status(project, capsys, "--destinations", "s3")
    article = loads["articles", "s3"]
    assert (code, article["validation"]) == (1, "failed")
    assert "expect_column_value_lengths_to_be_between" in article["reason"]
    assert run(["status", "--config", project.config]) == 1
    out = capsys.readouterr().out
    assert out.index("articles") < out.index("authors"), "what needs a person comes first"


def test_a_destination_that_lacks_sets_is_behind(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.load("--tables", "authors", "--destinations", "s3") == 0
    code, loads = status(project, capsys, "--tables", "authors")
    assert (code, loads["authors", "postgresql"]["behind"], loads["authors", "s3"]["behind"]) == (1, 1, 0)


def test_a_destination_that_is_away_is_told_for_each_table(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.load("--destinations", "s3") == 0
    project.write_config(host="127.0.0.1", port=1, password="hunter2@%/")
    code, loads = status(project, capsys)
    assert code == 1
    assert all(loads[table, "postgresql"]["reason"] for table in ("authors", "articles", "reads"))
    assert loads["authors", "s3"]["validation"] == "passed"
    assert "hunter2" not in json.dumps(list(loads.values()))


def test_unknown_names_are_told(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--config", project.config, "--tables", "artcles"]) == 2
    assert "did you mean 'articles'?" in capsys.readouterr().err
