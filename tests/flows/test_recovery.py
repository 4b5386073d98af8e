"""`ownlens load --backfill` and `--since`, as commands and as parameters of the flow."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from deltalake import DeltaTable
from pydantic import ValidationError

from ownlens_cli.main import run
from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_flows.request import LoadRequest
from ownlens_plugins.engine.manifest import Manifest

from .conftest import Project


def load(project: Project, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = project.load("--json", *arguments)
    return code, json.loads(capsys.readouterr().out)


def change(project: Project, statement: str) -> None:
    """Do what an operator does in the database by hand."""
    place = {"dbname" if name == "database" else name: value for name, value in project.database.items()}
    with psycopg.connect(**place, autocommit=True) as connection:
        connection.execute(statement.encode())


def sets(project: Project, table: str) -> list[Manifest]:
    files = sorted((project.folder / "staging" / table / "manifests").glob("*.json"))
    return [Manifest.from_json(file.read_bytes()) for file in files]


def counts(found: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(one["table"], one["destination"]): one["inserted"] for one in found["loads"]}


def test_a_new_destination_is_filled_alone(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(project, capsys, "--destinations", "s3")[0] == 0
    code, found = load(project, capsys, "--destinations", "postgresql", "--backfill")
    assert (code, found["succeeded"]) == (0, True)
    assert counts(found) == {("authors", "postgresql"): 2, ("articles", "postgresql"): 2, ("reads", "postgresql"): 3}
    assert [one.only for one in sets(project, "reads")] == [None, ("postgresql",)]
    code, found = load(project, capsys)
    assert (code, {one["status"] for one in found["loads"]}) == (0, {"nothing new"})
    assert project.query("SELECT count(*) FROM press.reads") == [(3,)]


def test_a_stretch_comes_once_more_into_stores_that_upsert(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(project, capsys)[0] == 0
    code, found = load(project, capsys, "--destinations", "postgres", "--since", "2026-01-02T09:00")
    assert (code, found["succeeded"]) == (0, True)
    assert [one.only for one in sets(project, "articles")] == [None, ("postgresql",)]
    # An append would have rows twice, and a whole table is one set anyway.
    assert [len(sets(project, table)) for table in ("authors", "reads")] == [1, 1]
    assert project.query("SELECT count(*) FROM press.articles") == [(2,)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backfill"], "backfill fills the destinations that are named; name them, or use full_refresh for all"),
        (["--since", "yesterday"], "--since: Input should be a valid datetime"),
        (["--since", "2999-01-01"], "since lies in the future; name the moment from which on rows lack"),
        (["--since", "2026-01-01", "--full-refresh"], "full_refresh and since exclude one another; choose one"),
    ],
)
def test_options_that_say_nothing_sensible_are_wrong_usage(
    project: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    assert project.load(*arguments) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "staging").exists()


def test_the_flow_refuses_what_excludes_one_another() -> None:
    with pytest.raises(ValidationError, match="backfill and since exclude one another"):
        LoadRequest(backfill=True, since="2026-01-01", destinations=["s3"])  # type: ignore[arg-type]
    assert LoadRequest(since="2026-01-01").since.isoformat() == "2026-01-01T00:00:00+00:00"  # type: ignore[arg-type,union-attr]


def test_a_lost_ledger_is_made_up_for_by_adopting(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(project, capsys)[0] == 0
    change(project, "DROP SCHEMA ownlens CASCADE")
    project.add_line("articles", "12,1,Third,2026-01-03 08:00:00Z,2026-01-03 08:00:00Z")
    capsys.readouterr()
    assert run(["adopt", "articles", "--destination", "postgres", "--config", project.config, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "succeeded": True, "table": "articles", "destination": "postgresql", "sequence": 1, "rows": 2, "kept": 0,
        "behind": 1,
    }  # fmt: skip
    assert load(project, capsys, "--destinations", "postgresql", "--tables", "articles,authors")[0] == 0
    assert project.query("SELECT count(*) FROM press.articles") == [(3,)]
    assert run(["adopt", "articles", "--destination", "postgres", "--config", project.config]) == 1
    said = capsys.readouterr().err
    assert "postgresql's ledger knows load 2; bring the table up to date with `ownlens load --destinations" in said


def test_adopting_refuses_other_rows(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert load(project, capsys)[0] == 0
    change(project, "DROP SCHEMA ownlens CASCADE")
    change(project, "UPDATE press.articles SET title = 'mine' WHERE article_id = 10")
    assert run(["adopt", "articles", "--destination", "postgres", "--config", project.config]) == 1
    assert "0 rows of the source lack there, 1 differ" in capsys.readouterr().err
    assert load(project, capsys, "--destinations", "postgresql", "--backfill", "--tables", "articles")[0] == 0
    assert project.query("SELECT title FROM press.articles WHERE article_id = 10") == [("First",)]


def test_lost_staging_is_refused_with_the_options_that_fill_all_stores_anew(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the lake, PostgreSQL and ClickHouse: a first set would double rows."""
    place = json.dumps(str(project.folder / "engine"))
    with Path(project.config).open("a") as config:
        config.write(f'[profiles.default.destinations.clickhouse]\ninterface = "chdb"\npath = {place}\n')
    assert load(project, capsys)[0] == 0
    shutil.rmtree(project.folder / "staging")
    code, found = load(project, capsys)
    assert (code, found["succeeded"]) == (1, False)
    project.add_line("reads", "103,10,2026-01-03,60,2026-01-03 12:00:00Z")
    for table in ("authors", "articles", "reads"):
        said = next(one["error"] for one in found["loads"] if one["table"] == table)
        options = re.search(
            r"s3 \(load 1\), postgresql \(load 1\), clickhouse \(load 1\).* with (--full-refresh .*)", said
        )
        assert options, said
        assert load(project, capsys, *shlex.split(options[1]))[0] == 0
    assert counted(project) == {"postgresql": 4, "s3": 4, "clickhouse": 4}
    assert load(project, capsys)[0] == 0
    assert counted(project) == {"postgresql": 4, "s3": 4, "clickhouse": 4}


def counted(project: Project) -> dict[str, int]:
    """Count the reads by another road than ours."""
    store = Store(ClickHouseConfig(interface="chdb", path=project.folder / "engine"))
    with closing(store):
        ((clicked,),) = store.rows("SELECT count() FROM ownlens.reads")
    ((held,),) = project.query("SELECT count(*) FROM press.reads")
    lake = DeltaTable(project.folder / "lake" / "press" / "reads").to_pyarrow_table().num_rows
    return {"postgresql": held, "s3": lake, "clickhouse": int(clicked)}
