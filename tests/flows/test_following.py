"""What a run says to do is done here, as it is written, and the next run ends well."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import prefect
import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME, temporary_settings

from ownlens_cli.main import run
from ownlens_flows.finding import find_server
from ownlens_flows.report import RunReport
from ownlens_flows.serving import check_server
from ownlens_plugins.commands import split_names
from ownlens_plugins.errors import OwnLensError
from ownlens_postgresql.destination import PostgreSQLDestination

from .conftest import Project
from .test_finding import answering, pages


def errors(project: Project, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a load that fails, and return what it says."""
    capsys.readouterr()
    assert project.load("--json", *arguments) == 1
    return " ".join(json.loads(capsys.readouterr().out)["errors"])


def follow(project: Project, said: str) -> int:
    """Run the command of `ownlens load` that a line names, as a shell would read it."""
    (command,) = re.findall(r"`(ownlens load .*?)`", said)
    program, load, *arguments = shlex.split(command)
    assert (program, load) == ("ownlens", "load")
    return project.load(*arguments)


# --- loads


def test_a_store_that_says_other_rows_than_were_staged(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PostgreSQLDestination.open

    def miscounting(self: Any, plan: Any) -> Any:
        session = original(self, plan)
        commit = session.commit
        session.commit = lambda receipts: replace(commit(receipts), rows=plan.rows + 1)
        return session

    with monkeypatch.context() as patched:
        patched.setattr(PostgreSQLDestination, "open", miscounting)
        said = errors(project, capsys, "--tables", "authors")
    assert "postgresql: says 3 rows, but 2 are staged" in said
    assert follow(project, said) == 0
    assert project.query("SELECT count(*) FROM press.authors") == [(2,)]
    assert project.load("--tables", "authors") == 0


def test_a_store_that_somebody_took_rows_from_shows_them_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.load() == 0
    project.query("DELETE FROM press.reads WHERE read_id = 100 RETURNING 1")
    project.add_line("reads", "103,10,2026-01-02,50,2026-01-02 12:00:00Z")
    said = errors(project, capsys, "--tables", "reads")
    assert "reads: the counts of set 2 differ: " in said
    assert follow(project, said) == 0
    assert project.query("SELECT read_id FROM press.reads ORDER BY 1") == [(100,), (101,), (102,), (103,)]


@pytest.mark.parametrize("table", ["reads", "Order Details", "a,b", 'say "hi"', "O'Hara", "--tables"])
def test_the_hint_on_new_columns_takes_any_table(table: str) -> None:
    report = RunReport()
    report.added[table] = ("device",)
    (hint,) = report.hints
    *_, option, names = shlex.split(hint[hint.index("ownlens load") :])
    assert (option, split_names(names)) == ("--tables", [table])


def test_rows_that_were_not_published_are_shown_by_the_command(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write_table("authors", "author_id,name,updated_at\nx,Ada,2026-01-01 00:00:00Z\n")
    said = errors(project, capsys, "--tables", "authors")
    (command,) = re.findall(r"`(ownlens quarantine show .*?)`", said)
    assert run([*shlex.split(command)[1:], "--config", project.config]) == 0
    assert "author_id" in capsys.readouterr().out
    project.write_table("authors", "author_id,name,updated_at\n1,Ada,2026-01-01 00:00:00Z\n")
    assert project.load("--tables", "authors") == 0


# --- settings


def test_a_destination_that_the_profile_lacks(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(project.config)
    head, _, rest = config.read_text().partition("[profiles.default.destinations.s3]")
    config.write_text(head + rest[rest.index("[profiles") :])
    assert project.load("--destinations", "s3", "--tables", "authors") != 0
    (section,) = re.findall(r"add (\[profiles\.NAME\.destinations\.s3\])", capsys.readouterr().err.replace("\n", " "))
    added = f'{section.replace("NAME", "default")}\nuri = "{project.folder}/lake"\n'
    config.write_text(config.read_text() + added)
    assert project.load("--destinations", "s3", "--tables", "authors") == 0


@pytest.mark.parametrize("way", ["log_file", "OWNLENS_LOG_FILE"])
def test_a_log_file_that_cannot_be_written(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    config, good = Path(project.config), f"{project.folder}/ownlens.log"
    (project.folder / "in the way").write_text("")
    config.write_text(config.read_text().replace(good, f"{project.folder}/in the way/ownlens.log"))
    assert project.load("--tables", "authors") != 0
    assert way in capsys.readouterr().err.replace("\n", " ")
    if way == "log_file":
        config.write_text(config.read_text().replace("in the way/ownlens.log", "ownlens.log"))
    else:
        monkeypatch.setenv(way, good)
    assert project.load("--tables", "authors") == 0


@pytest.mark.parametrize("act", ["change", "status"])
def test_a_sandbox_that_is_not_there_is_made_in_its_own_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], act: str
) -> None:
    folder = tmp_path / "my sandbox"
    assert run(["sandbox", act, "--folder", str(folder)]) != 0
    out = capsys.readouterr()
    said = f"{out.out}{out.err}".replace("\n", "")
    assert shlex.split(said[said.index("ownlens sandbox up") :]) == [
        "ownlens",
        "sandbox",
        "up",
        "--folder",
        str(folder),
    ]


# --- Prefect's server


@contextmanager
def demanding_login(login: str) -> Iterator[str]:
    import base64

    wanted = f"Basic {base64.b64encode(login.encode()).decode()}"

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages(prefect.__version__).get(self.path, (404, ""))
            status = status if self.headers["Authorization"] == wanted else 401
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api"
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_wants_a_login() -> None:
    with demanding_login("admin:s3cret") as url, temporary_settings({PREFECT_API_URL: url}):
        with pytest.raises(OwnLensError, match="set PREFECT_API_AUTH_STRING or") as caught:
            find_server(url)
        assert "s3cret" not in str(caught.value)
        with temporary_settings({PREFECT_API_AUTH_STRING: "admin:s3cret"}):
            find_server(url)


@pytest.mark.parametrize("version", ["2.20.1", "no version"])
def test_a_server_of_another_version_or_none_is_left_for_a_temporary_one(tmp_path: Path, version: str) -> None:
    with answering(pages(version)) as address:
        theirs = temporary_settings({PREFECT_API_URL: f"{address}/api"})
        with theirs, pytest.raises(OwnLensError, match=r"unset (PREFECT_API_URL|it) to load with a temp"):
            check_server()
    with temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}):
        assert not PREFECT_API_URL.value()
        check_server()


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with temporary_settings({PREFECT_HOME: tmp_path / "file" / "home"}, restore_defaults={PREFECT_API_URL}):
        with pytest.raises(
            OwnLensError, match="set PREFECT_HOME to a folder that can be written, or set PREFECT_API_URL"
        ):
            check_server()
        with temporary_settings({PREFECT_HOME: tmp_path / "home"}):
            check_server()
        with answering(pages(prefect.__version__)) as url, temporary_settings({PREFECT_API_URL: f"{url}/api"}):
            check_server()
