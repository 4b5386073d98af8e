"""Whatever the runs before left behind holds no password: files of every server, and the answers of Prefect's API."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .stack import CANARY, Stack

# Every encoding leaves these letters as they are.
MARK = CANARY[:6].encode()
PAGES = ("/logs", "/flow_runs", "/task_runs", "/artifacts", "/deployments", "/block_documents", "/automations")


def test_only_the_file_of_passwords_holds_one(stack: Stack) -> None:
    holding = [str(file.relative_to(stack.folder)) for file in files_of(stack.folder) if MARK in file.read_bytes()]
    assert holding == ["passwords.json"]


def files_of(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (path for name in names if (path := Path(place, name)).is_file())


def test_that_file_is_for_its_owner_alone(stack: Stack) -> None:
    assert stat.S_IMODE((stack.folder / "passwords.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("page", PAGES)
def test_prefect_answers_with_no_password(stack: Stack, page: str) -> None:
    answers = list(pages_of(stack, f"{page}/filter"))
    assert answers or page == "/automations"
    assert MARK.decode() not in json.dumps(answers)


def pages_of(stack: Stack, path: str) -> Iterator[Any]:
    offset = 0
    while answer := stack.ask("POST", path, limit=200, offset=offset):
        yield from answer
        offset += len(answer)


def test_events_hold_no_password(stack: Stack) -> None:
    ours = {"prefix": ["ownlens.", "prefect.flow-run.", "prefect.artifact", "prefect.asset.materialization"]}
    answer = stack.ask("POST", "/events/filter", filter={"order": "DESC", "event": ours}, limit=50)
    assert answer["events"]
    while answer["events"]:
        assert MARK.decode() not in json.dumps(answer["events"])
        if not (following := answer.get("next_page")):
            return
        answer = stack.ask("GET", following.partition("/api")[2])


def test_the_processes_show_no_password(stack: Stack) -> None:
    """Any user of the machine may read command lines."""
    for server in stack.servers.standing():
        assert MARK not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
