"""Refused rows are told by exit code, summary and document; `ownlens quarantine` lists, shows and replays them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import CONTRACTS, Project

READS = "read_id,article_id,read_date,seconds,created_at\n"


@pytest.fixture
def quarantine(project: Project, capsys: pytest.CaptureFixture[str]) -> Any:
    def run_it(*arguments: str, code: int = 0) -> Any:
        from ownlens_cli.main import run

        capsys.readouterr()
        assert run(["quarantine", *arguments, "--config", project.config, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run_it


def spoil(project: Project) -> None:
    lines = ["100,10,2026-01-02,30,2026-01-02 10:00:00Z", "101,11,2026-01-02,x,2026-01-02 11:00:00Z"]
    more = ["102,,0044-03-15,99999999999,2026-01-03 11:00:00Z", "103,99,2026-01-03,5,2026-01-03 11:00:00Z"]
    project.write_table("reads", READS + "\n".join([*lines, *more]) + "\n")


def test_every_newly_refused_row_is_told_once(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(project)
    assert project.load("--json") == 3
    out, err = capsys.readouterr()
    document = json.loads(out)
    (refused,) = document["refused"]
    assert (refused["table"], refused["rows"]) == ("reads", 2)
    assert refused["reasons"] == {"seconds: does not fit int32 exactly": 2}
    assert not document["succeeded"]
    assert "2 rows refused" in document["message"]
    assert refused["message"] in document["errors"]
    line = next(line for line in err.replace("\n", " ").split("ownlens: ") if line.startswith("reads: 2 rows refused"))
    assert "seconds: does not fit int32 exactly (2 rows)" in line
    assert "staging/reads/" in line
    assert "ownlens quarantine replay reads" in line
    assert "reads: 2 rows refused" in (project.folder / "ownlens.log").read_text()
    assert project.load() == 0


def test_a_table_of_refused_rows_fails_and_keeps_what_the_stores_hold(
    project: Project, capsys: pytest.CaptureFixture[str], quarantine: Any
) -> None:
    assert project.load() == 0
    project.write_table("authors", "author_id,name,updated_at\nx,Ada,2026-01-01 00:00:00Z\n")
    assert project.load() == 1
    assert "authors: nothing was published, 1 of 1 row break" in capsys.readouterr().err.replace("\n", " ")
    assert project.query("SELECT count(*) FROM press.authors") == [(2,)]
    (entry,) = quarantine("list")["quarantines"]
    assert (entry["table"], entry["state"], entry["rows"]) == ("authors", "not published", 1)
    (row,) = quarantine("show", "authors")["rows"]
    assert row["row"] == {"author_id": "x", "name": "Ada", "updated_at": "2026-01-01 00:00:00Z"}


def test_a_row_is_shown_replayed_and_loaded(project: Project, quarantine: Any) -> None:
    spoil(project)
    assert project.load() == 3
    found = {(entry["table"], entry["state"]): entry for entry in quarantine("list")["quarantines"]}
    assert found["reads", "refused"]["rows"] == 2
    assert found["reads", "kept aside in postgresql"]["reasons"] == {
        "article_id: no such row in articles.article_id": 1
    }
    rows = quarantine("show", "reads")["rows"]
    assert [row["row"]["seconds"] for row in rows] == ["x", "99999999999", "5"]
    assert rows[0]["reasons"] == ["seconds: does not fit int32 exactly"]
    assert rows[2]["place"] == "postgresql, load reads/00000001"

    assert quarantine("replay", "reads")["rows"] == 0
    project.write_contract("reads", CONTRACTS["reads"].replace("seconds: int32", "seconds: int64"))
    outcome = quarantine("replay", "reads")
    assert (outcome["rows"], outcome["refused"], outcome["sequences"]) == (1, 1, [2])
    assert "`ownlens load --tables reads` brings them into the destinations" in outcome["message"]
    assert [row["row"]["seconds"] for row in quarantine("show", "reads")["rows"]] == ["x", "5"]
    assert quarantine("replay", "reads")["sequences"] == []


def test_a_replayed_row_reaches_every_store(project: Project, quarantine: Any) -> None:
    states = "preset: events\nkey: [id]\npartition_by: at\nmax_rejected: 0.7\n"
    columns = "columns: {id: int64, state: 'enum(%s)', number: %s, at: date, created_at: timestamptz}\n"
    project.write_contract("states", states + columns % ("a", "int16"))
    day = "2026-01-02,2026-01-02 10:00:00Z"
    project.write_table("states", f"id,state,number,at,created_at\n1,a,1,{day}\n2,b,2,{day}\n3,a,100000,{day}\n")
    assert project.load("--tables", "states") == 3
    project.write_contract("states", states + columns % ("a, b", "int32"))
    assert quarantine("replay", "states")["rows"] == 2
    for _ in range(2):
        assert project.load("--tables", "states") == 0
        rows = project.query("SELECT id, state, number FROM press.states ORDER BY 1")
        assert rows == [(1, "a", 1), (2, "b", 2), (3, "a", 100_000)]


def test_people_read_lines(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    from ownlens_cli.main import run

    spoil(project)
    project.load()
    capsys.readouterr()
    assert run(["quarantine", "list", "--config", project.config]) == 0
    assert "reads: 2 rows refused: seconds: does not fit int32 exactly (2 rows)" in capsys.readouterr().out
    assert run(["quarantine", "show", "reads", "--limit", "1", "--config", project.config]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:3] == ["reads, refused, set 1, row 0", "  ! seconds: does not fit int32 exactly", "    read_id: 101"]
    assert shown[-1] == "1 row shown"
    assert run(["quarantine", "show", "raeds", "--config", project.config]) == 2
    assert "did you mean 'reads'" in capsys.readouterr().err
    project.write_config(host="127.0.0.1", port=1)
    assert run(["quarantine", "list", "--config", project.config]) == 1
    out, err = capsys.readouterr()
    assert "reads: 2 rows refused" in out
    assert "ownlens: postgresql" in err


def test_a_row_that_was_corrected_and_is_refused_again_is_told_again(
    project: Project, capsys: pytest.CaptureFixture[str], quarantine: Any
) -> None:
    good, bad = "102,11,2026-01-02,5,2026-01-02 11:00:00Z", "102,11,2026-01-02,x,2026-01-02 11:00:00Z"
    project.write_contract("reads", CONTRACTS["reads"] + "max_rejected: 1.0\n")
    lines = ["100,10,2026-01-02,30,2026-01-02 10:00:00Z"]
    for line, code in ((bad, 3), (bad, 0), (good, 0), (bad, 3), (bad, 0)):
        lines.append(f"{200 + len(lines)},10,2026-01-02,30,2026-01-02 10:00:00Z")
        project.write_table("reads", READS + "\n".join([*lines, line]) + "\n")
        capsys.readouterr()
        assert project.load("--tables", "reads") == code, (line, capsys.readouterr())
    assert [row["row"]["seconds"] for row in quarantine("show", "reads")["rows"] if row["place"][:3] == "set"] == ["x"]
