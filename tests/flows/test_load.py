"""`ownlens load` from files into a lake and PostgreSQL: what lands, what is said, and what the exit code is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Project


def test_loads_everything_and_then_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.load("--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert [(load["table"], load["destination"], load["rows"]) for load in first["loads"]] == [
        ("articles", "postgresql", 2),
        ("articles", "s3", 2),
        ("authors", "postgresql", 2),
        ("authors", "s3", 2),
        ("reads", "postgresql", 3),
        ("reads", "s3", 3),
    ]
    assert {load["validation"] for load in first["loads"]} == {"passed"}
    assert project.load("--json") == 0
    assert {load["status"] for load in json.loads(capsys.readouterr().out)["loads"]} == {"nothing new"}
    assert project.query("SELECT count(*) FROM press.reads") == [(3,)]


def test_loads_only_what_is_new(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.load() == 0
    project.add_line("reads", "103,10,2026-01-01,5,2026-01-04 00:00:00Z")  # a late event of an earlier day
    project.write_table(
        "articles",
        "article_id,author_id,title,created_at,updated_at\n"
        "10,1,First again,2026-01-01 08:00:00Z,2026-01-05 08:00:00Z\n"
        "11,2,Second,2026-01-02 08:00:00Z,2026-01-02 09:00:00Z\n",
    )
    # Windows begin where the last one closed, so rows of the past are only found through a full refresh.
    capsys.readouterr()
    assert project.load("--full-refresh", "--json") == 0
    loads = {(load["table"], load["destination"]): load for load in json.loads(capsys.readouterr().out)["loads"]}
    articles, reads = loads["articles", "postgresql"], loads["reads", "postgresql"]
    assert (articles["inserted"], articles["updated"], articles["unchanged"]) == (0, 1, 1)
    assert (reads["inserted"], reads["unchanged"]) == (1, 3)
    assert project.query("SELECT title FROM press.articles ORDER BY article_id") == [("First again",), ("Second",)]


def test_load_destinations_and_aliases_choose_where_to(project: Project) -> None:
    assert project.load("--load-destinations", "minio", "--tables", "authors") == 0
    assert (project.folder / "lake").exists()
    assert project.query("SELECT to_regclass('press.authors')") == [(None,)]


def test_one_unreachable_destination_leaves_the_others(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_config(host="127.0.0.1", port=1)
    assert project.load("--json") == 1
    out = capsys.readouterr()
    document = json.loads(out.out)
    assert {load["status"] for load in document["loads"] if load["destination"] == "s3"} == {"loaded"}
    assert {load["status"] for load in document["loads"] if load["destination"] == "postgresql"} == {"failed"}
    assert len(document["errors"]) == 1, "one cause is told once"
    assert "postgresql" in document["errors"][0]
    assert_one_line_each(out.err)


def test_a_failed_check_fails_the_run_by_name(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.add_line("articles", '12,1,"",2026-01-03 08:00:00Z,2026-01-03 08:00:00Z')
    assert project.load() == 1
    out = capsys.readouterr()
    assert "articles" in out.err
    assert "expect_column_value_lengths_to_be_between" in out.err
    assert_one_line_each(out.err)


def test_a_check_that_can_never_run_is_told_before_anything_moves(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    file = project.folder / "contracts/press/articles.yaml"
    sound = file.read_text()
    file.write_text(sound.replace("min_value: 1}", "min_value: 1, max_value: 0}"))
    assert project.load() == 1
    out = capsys.readouterr()
    line = next(number for number, text in enumerate(sound.splitlines(), 1) if "- expect_" in text)
    assert f"press/articles.yaml:{line}: checks.0: " in out.err
    assert "min_value 1 is greater than max_value 0" in out.err
    assert project.query("SELECT to_regclass('press.articles')") == [(None,)]
    file.write_text(sound)
    assert project.load() == 0


def test_rows_without_a_usable_key_are_kept_aside_and_told(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.add_line("reads", ",10,2026-01-03,5,2026-01-03 11:00:00Z")
    project.add_line("reads", "100,11,2026-01-03,5,2026-01-03 12:00:00Z")
    assert project.load() == 3
    out = capsys.readouterr()
    said = out.err.replace("\n", " ")
    assert "reads: 2 rows refused, which went to no destination: read_id: is null" in said
    assert "key: another row of this set has the same key, and an append takes each key once (1 row)" in said
    assert "correct the source, or the contract" in said
    assert_one_line_each(out.err)
    assert project.query("SELECT count(*) FROM press.reads") == [(3,)]


def test_a_second_row_of_a_key_that_an_append_already_holds_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.load() == 0
    project.add_line("reads", "100,10,2026-01-04,1,2099-01-01 00:00:00Z")
    project.add_line("reads", "200,10,2026-01-04,1,2099-01-01 00:00:00Z")
    move_window(project, "reads")
    capsys.readouterr()
    assert project.load("--tables", "reads", "--destinations", "postgresql") == 3
    err = capsys.readouterr().err
    # The look-back reads the first row again, and the set has both.
    assert "reads: 1 row refused, which went to no destination: key: another row" in err.replace("\n", " ")
    assert_one_line_each(err)
    assert project.query("SELECT read_id, seconds FROM press.reads WHERE read_id IN (100, 200)") == [
        (100, 30),
        (200, 1),
    ]


def move_window(project: Project, table: str) -> None:
    """Let the source's clock be far ahead, so that rows stamped in the future are inside the next window."""
    text = (project.folder / "data" / f"{table}.csv").read_text()
    project.write_table(table, text.replace("2099-01-01", "2026-01-04"))
    manifest = next((project.folder / "staging" / table / "manifests").iterdir())
    content = json.loads(manifest.read_text())
    content["window"]["end"] = "2026-01-04T00:00:00+00:00"
    manifest.write_text(json.dumps(content))


def test_a_column_missing_in_the_source_stages_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_table("authors", "author_id,nam,updated_at\n1,Ada,2026-01-01 00:00:00Z\n")
    assert project.load("--tables", "authors") == 1
    err = capsys.readouterr().err
    assert "column 'name'" in err
    assert "did you mean 'nam'?" in err
    assert_one_line_each(err)
    assert not list((project.folder / "staging").glob("authors/manifests/*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tables", "artcles"], "unknown table 'artcles'; did you mean 'articles'?"),
        (["--domains", "pres"], "unknown domain 'pres'; did you mean 'press'?"),
        (["--destinations", "postgre"], "unknown destination 'postgre'; did you mean 'postgres'?"),
        (["--destinations", "clickhouse"], "no connection for this destination"),
        (["--fullrefresh"], "unknown option '--fullrefresh'; did you mean '--full-refresh'?"),
        (["--profile", "defalt"], "unknown profile 'defalt'; did you mean 'default'?"),
    ],
)
def test_unknown_names_are_told_with_the_nearest_known(
    project: Project, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert project.load(*arguments) in (1, 2)
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (project.folder / "staging").exists()


def test_an_unknown_option_in_a_contract_is_told_before_anything_moves(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write_contract(
        "authors",
        "preset: reference\nkey: [author_id]\n"
        "columns: {author_id: int32, name: text, updated_at: timestamptz}\n"
        "destinations: {s3: {compresion: zstd}}\n",
    )
    assert project.load() != 0
    assert "unknown option 'compresion'; did you mean 'compression'?" in capsys.readouterr().err
    assert not (project.folder / "staging").exists()


def test_the_log_holds_each_load_and_the_masked_trace(project: Project) -> None:
    project.write_config(host="127.0.0.1", port=1, password="hunter2@%/")
    assert project.load("--tables", "authors") == 1
    log = Path(project.folder / "ownlens.log").read_text()
    assert "load authors/00000001 into s3 starts: overwrite, 2 rows" in log
    assert "load authors/00000001 into s3 ended: inserted 2" in log
    assert "Traceback" in log
    assert "hunter2" not in log


def assert_one_line_each(err: str) -> None:
    """Check that a person sees lines of ours and no stack trace."""
    assert "Traceback" not in err
    assert any(line.startswith("ownlens: ") for line in err.splitlines())


def test_show_prints_values_as_they_are(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_table("authors", "author_id,name,updated_at\n1,[b]Ada[/x],2026-01-01 00:00:00Z\n")
    assert project.load("--tables", "authors", "--destinations", "s3") == 0
    from ownlens_cli.main import run

    capsys.readouterr()
    assert run(["show", "authors", "--destination", "s3", "--config", project.config]) == 0
    assert "[b]Ada[/x]" in capsys.readouterr().out
