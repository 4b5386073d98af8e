"""The example plugin: installed as a stranger would, found, loaded by the command, proved by its own suite."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ownlens_cli.environment import quiet_dependencies

EXAMPLE = Path(__file__).parents[2] / "examples" / "ownlens_duckdb"
GUIDE = Path(__file__).parents[2] / "docs" / "writing-a-destination.md"
MOST_LINES = 100
CONTRACTS = {
    "authors": """
preset: reference
key: [author_id]
columns: {author_id: int32, name: text, updated_at: timestamptz}
""",
    "articles": """
preset: entity
key: [article_id]
columns: {article_id: int64, author_id: int32, title: 'text?', created_at: timestamptz, updated_at: timestamptz}
references: {author_id: authors.author_id}
""",
    "reads": """
preset: events
key: [read_id]
columns: {read_id: int64, article_id: 'int64?', seconds: 'decimal(8,3)', created_at: timestamptz}
""",
}
ROWS = {
    "authors": "author_id,name,updated_at\n1,Ada,2026-01-01 00:00:00Z\n2,Bo,2026-01-01 00:00:00Z\n",
    "articles": (
        "article_id,author_id,title,created_at,updated_at\n"
        "10,1,First,2026-01-01 08:00:00Z,2026-01-01 08:00:00Z\n"
        "11,2,,2026-01-02 08:00:00Z,2026-01-02 09:00:00Z\n"
    ),
    "reads": (
        "read_id,article_id,seconds,created_at\n"
        "100,10,30.125,2026-01-02 10:00:00Z\n101,11,40,2026-01-02 11:00:00Z\n102,,50.5,2026-01-03 11:00:00Z\n"
    ),
}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the built package, and its suite beside it."""
    folder = tmp_path_factory.mktemp("installed")
    uv = Path(sys.executable).with_name("uv")
    flags = ["--offline", "--no-deps", "--no-build-isolation", "--python", sys.executable, "--target", str(folder)]
    done = subprocess.run([uv, "pip", "install", *flags, str(EXAMPLE)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def environment(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = str(tmp_path_factory.mktemp("prefect"))
    # A test session of its own would close this one's folder to other users.
    return {**os.environ, "PYTHONPATH": str(installed), "PREFECT_HOME": home, "PYTEST_DEBUG_TEMPROOT": home}


@pytest.fixture(scope="module")
def prefect_server(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """An environment with a Prefect server: each command's own would cost 10 s; the demo's tests start theirs."""
    quiet_dependencies()
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_HOME, temporary_settings

    with temporary_settings({PREFECT_HOME: environment["PREFECT_HOME"]}), SubprocessASGIServer() as server:
        yield {**environment, "PREFECT_API_URL": server.api_url}


def ownlens(environment: dict[str, str], *arguments: str) -> Any:
    """Run the installed command; return the JSON document that it prints."""
    command = [str(Path(sys.executable).with_name("ownlens")), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "contracts" / "press").mkdir(parents=True)
    for table, body in CONTRACTS.items():
        head = f"table: {table}\ndomain: press\npath: press/{table}\n"
        (tmp_path / "contracts" / "press" / f"{table}.yaml").write_text(head + body)
        (tmp_path / "data" / f"{table}.csv").write_text(ROWS[table])
    (tmp_path / "ownlens.toml").write_text(
        f"""
[profiles.default]
contracts = "{tmp_path}/contracts"
staging = "{tmp_path}/staging"
log_file = "{tmp_path}/ownlens.log"
lag_seconds = 0
[profiles.default.source]
kind = "files"
folder = "{tmp_path}/data"
[profiles.default.destinations.duckdb]
path = "{tmp_path}/press.duckdb"
"""
    )
    return tmp_path


def test_the_plugin_is_listed_with_its_distribution(environment: dict[str, str]) -> None:
    listed = {plugin["name"]: plugin for plugin in ownlens(environment, "plugins")}
    mine = listed["duckdb"]
    assert (mine["distribution"], mine["version"], mine["status"]) == ("ownlens-duckdb", "0.1.0", "ok")
    assert mine["strategies"] == ["append", "overwrite", "upsert"]
    assert {"s3", "postgresql", "clickhouse"} < listed.keys()


def test_loads_land_once_and_by_each_tables_strategy(prefect_server: dict[str, str], project: Path) -> None:
    command = ("load", "--config", str(project / "ownlens.toml"), "--destinations", "duckdb")
    loads = ownlens(prefect_server, *command)["loads"]
    assert {load["table"]: load["rows"] for load in loads} == {"authors": 2, "articles": 2, "reads": 3}
    assert {load["validation"] for load in loads} == {"passed"}
    first = landed(project)
    assert [name for _, name, _ in first["authors"]] == ["Ada", "Bo"]
    assert [title for _, _, title, *_ in first["articles"]] == ["First", None]
    assert [str(seconds) for _, _, seconds, _ in first["reads"]] == ["30.125", "40.000", "50.500"]

    moment = datetime.now(UTC).isoformat()  # after the window before closed
    # One author is staged anew as she was, one comes, one goes.
    (project / "data" / "authors.csv").write_text(ROWS["authors"].replace("2,Bo", "3,Cy"))
    add_line(project, "articles", f"10,1,First again,2026-01-01 08:00:00Z,{moment}")
    add_line(project, "reads", f"103,,1,{moment}")
    again = ownlens(prefect_server, *command, "--no-validate")["loads"]
    assert {load["table"]: load["rows"] for load in again} == {"authors": 2, "articles": 1, "reads": 1}
    now = landed(project)
    assert [(author, name) for author, name, _ in now["authors"]] == [(1, "Ada"), (3, "Cy")]
    assert now["articles"][1:] == first["articles"][1:], "a row that did not change stays as it was, once"
    assert [title for _, _, title, *_ in now["articles"]] == ["First again", None]
    assert now["reads"][:3] == first["reads"], "rows that were loaded before stay, each once"
    assert [read for read, *_ in now["reads"]] == [100, 101, 102, 103]


def add_line(project: Path, table: str, line: str) -> None:
    with (project / "data" / f"{table}.csv").open("a") as file:
        file.write(line + "\n")


def landed(project: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Read the tables with DuckDB itself."""
    with duckdb.connect(str(project / "press.duckdb")) as db:
        return {table: db.execute(f"FROM {table} ORDER BY 1").fetchall() for table in CONTRACTS}


@pytest.mark.timeout(600)
def test_the_suite_passes(environment: dict[str, str], tmp_path: Path, pytestconfig: pytest.Config) -> None:
    share = pytestconfig.getoption("--share")
    done = run_suite(environment, tmp_path, "-p", "tests.sampling", f"--share={share}")
    assert done.returncode == 0, done.stdout[-5_000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.parametrize(
    ("kept", "broken", "caught_by"),
    [
        ("if staged != plan.rows:", "if staged > plan.rows:", "test_lost_rows_are_noticed_inside_the_commit"),
        ("found(db, self.plan) or applied", "applied", "test_a_stale_attempt_after_a_newer_load"),
    ],
    ids=["no count", "no look before the commit"],
)
def test_the_suite_catches_a_broken_copy(
    environment: dict[str, str], installed: Path, tmp_path: Path, kept: str, broken: str, caught_by: str
) -> None:
    source = (installed / "ownlens_duckdb" / "destination.py").read_text()
    assert source.count(kept) == 1, f"the example has no {kept!r} to break"
    copy = tmp_path / "broken" / "ownlens_duckdb"
    copy.mkdir(parents=True)
    (copy / "__init__.py").write_text((installed / "ownlens_duckdb" / "__init__.py").read_text())
    (copy / "destination.py").write_text(source.replace(kept, broken))
    done = run_suite({**environment, "PYTHONPATH": str(copy.parent)}, tmp_path, "-k", caught_by)
    assert done.returncode == 1, done.stdout[-5_000:]
    assert "failed" in done.stdout


def run_suite(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the example's tests where its source is not in the way."""
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.examples.kept_open", f"--basetemp={folder / 'suite'}"]
    command = [sys.executable, "-m", "pytest", str(EXAMPLE / "tests"), *options, *arguments]
    places = os.pathsep.join([environment["PYTHONPATH"], str(EXAMPLE.parents[1])])
    spoken = {**environment, "PYTHONPATH": places}
    return subprocess.run(command, capture_output=True, text=True, env=spoken, cwd=folder, timeout=580)


def test_the_package_is_small() -> None:
    lines = {file.name: code_lines(file.read_text()) for file in (EXAMPLE / "ownlens_duckdb").glob("*.py")}
    assert sum(lines.values()) <= MOST_LINES, lines


def code_lines(source: str) -> int:
    """Count lines that hold code: no blanks, no comments, no docstrings."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    held: set[int] = set()
    starts_line = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        docstring = token.type == tokenize.STRING and starts_line
        if token.type not in silent and not docstring:
            held.update(range(token.start[0], token.end[0] + 1))
        starts_line = token.type in silent
    return len(held)


def test_the_guide_shows_the_examples_code() -> None:
    files = [*EXAMPLE.rglob("*.py"), EXAMPLE / "pyproject.toml", EXAMPLE / "tests" / "oddities.yaml"]
    source = " ".join(" ".join(file.read_text().split()) for file in files)
    blocks = fenced(GUIDE.read_text())
    assert len(blocks) > 5
    strange = [block for block in blocks if " ".join(block.split()) not in source]
    assert not strange, f"the guide shows code that the example does not have:\n{strange[0]}"


def fenced(text: str) -> list[str]:
    """Return the blocks of Python, TOML and YAML."""
    pieces = text.split("```")[1::2]
    return [piece.split("\n", 1)[1] for piece in pieces if piece.split("\n", 1)[0] in {"python", "toml", "yaml"}]
