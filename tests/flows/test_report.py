"""The summary: what needs a person first, with its reason in the first columns."""

from __future__ import annotations

from ownlens_cli.matrix import loads_table
from ownlens_flows.report import RunReport
from ownlens_plugins.engine.outcomes import LoadOutcome, Status


def report() -> RunReport:
    made = RunReport()
    for table, status in (("a", Status.LOADED), ("b", Status.NOTHING_NEW), ("c", Status.FAILED), ("d", Status.LOADED)):
        error = f"{table}: s3: full" if status is Status.FAILED else None
        made.outcomes[table, "s3"] = LoadOutcome(table, "s3", status, error=error)
    made.invalid["d", "s3"] = "d: s3 has rows that break a check"
    return made


def test_the_artifact_has_failures_first_and_why() -> None:
    rows = report().table_rows()
    assert [(row["table"], row["reason"]) for row in rows] == [
        ("c", "c: s3: full"),
        ("d", "d: s3 has rows that break a check"),
        ("a", ""),
        ("b", ""),
    ]
    assert list(rows[0])[:5] == ["table", "destination", "status", "reason", "validation"]
    assert {"deleted", "spared"} <= rows[0].keys()


def test_the_terminal_has_failures_first() -> None:
    (names,) = [column for column in loads_table(report(), 200).columns if column.header == "table"]
    assert list(map(str, names.cells)) == ["c", "d", "a"]


def test_a_mismatch_alone_fails_a_run() -> None:
    made = RunReport({("a", "s3"): LoadOutcome("a", "s3", Status.LOADED)})
    assert made.succeeded
    made.mismatches["a", "s3"] = "a: s3 shows 1 rows"
    assert not made.succeeded
    assert made.message() == "1 loads: 1 loaded, 0 with nothing new, 1 differ"
