"""Every name that a contract may have goes through the whole path: flow, validation, three stores, every command."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from .naming import TABLES, Naming, contract, wide

STORES = ("clickhouse", "postgresql", "s3")


@pytest.fixture
def naming(tmp_path: Path, database: dict[str, Any]) -> Naming:
    made = Naming(tmp_path, database)
    made.write_config()
    return made


def document(capsys: pytest.CaptureFixture[str], code: int, wanted: int) -> dict[str, Any]:
    """Return the one document on stdout, once the exit code is as wanted."""
    out = capsys.readouterr()
    assert code == wanted, out.err
    return dict(json.loads(out.out))


def loads_of(report: dict[str, Any]) -> dict[tuple[str, str], tuple[Any, ...]]:
    told = ("status", "rows", "validation")
    return {(one["table"], one["destination"]): tuple(one[name] for name in told) for one in report["loads"]}


def test_every_table_name_goes_through_the_whole_path(naming: Naming, capsys: pytest.CaptureFixture[str]) -> None:
    naming.write(*(contract(table) for table in TABLES))
    assert naming.run("contracts", "check") == 0
    capsys.readouterr()
    everywhere = [(table, store) for table in TABLES for store in STORES]
    report = document(capsys, naming.run("load", "--json"), 0)
    assert loads_of(report) == dict.fromkeys(everywhere, ("loaded", 2, "passed"))
    assert sorted(path.name for path in (naming.folder / "lake" / "odd").iterdir()) == sorted(
        f"t{number}" for number in range(len(TABLES))
    )
    refuse_a_row_of_each(naming)
    report = document(capsys, naming.run("load", "--json"), 3)
    assert {status for status, _, _ in loads_of(report).values()} == {"loaded"}
    follow_what_is_said(naming, report, capsys)
    standing = document(capsys, naming.run("status", "--json"), 0)
    assert {(one["table"], one["destination"]) for one in standing["loads"]} == set(everywhere)


def refuse_a_row_of_each(naming: Naming) -> None:
    for table in TABLES:
        naming.add_row(table, 3, "refused", "infinity")


def follow_what_is_said(naming: Naming, report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Run the command that each line on refused rows names, as a shell would read it."""
    for refused in report["refused"]:
        (command,) = re.findall(r"`(ownlens quarantine .*)` \(", refused["message"])
        program, *arguments = shlex.split(command)
        assert (program, naming.run(*arguments)) == ("ownlens", 0), command
        assert f"{refused['table']}: 0 rows staged, 1 still in quarantine" in capsys.readouterr().out
    assert {refused["table"] for refused in report["refused"]} == {*TABLES}


@pytest.mark.parametrize("store", STORES)
def test_every_command_takes_every_name(naming: Naming, capsys: pytest.CaptureFixture[str], store: str) -> None:
    chosen = ["[/x]", "{table}", " leading", "a,b", "--tables", "..", "User", "user", ":smile:"]
    naming.write(*(contract(table) for table in chosen))
    tables = ["--tables", ",".join(f'"{table}"' for table in chosen)]
    assert naming.run("load", *tables, "--destinations", store) == 0, capsys.readouterr().err
    assert naming.run("status", *tables, "--destinations", store) == 0
    for table in chosen:
        capsys.readouterr()
        assert naming.run("show", "--destination", store, "--", table) == 0
        assert f"{table} in {store}" in capsys.readouterr().out
        assert naming.run("quarantine", "show", "--", table) == 0
    assert naming.run("quarantine", "list") == 0


def test_every_column_name_goes_through_the_whole_path(naming: Naming, capsys: pytest.CaptureFixture[str]) -> None:
    naming.write(wide("wide", "number"), wide("keyed", 'the, "key" {x}'))
    report = document(capsys, naming.run("load", "--json"), 0)
    # Great Expectations cannot name a column with a double quote, and the warning says so.
    assert {key: told[:2] for key, told in loads_of(report).items()} == {
        (table, store): ("loaded", 2) for table in ("wide", "keyed") for store in STORES
    }
    for store in STORES:
        assert naming.run("show", "wide", "--destination", store) == 0
