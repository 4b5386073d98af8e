"""Staged sets: numbered, immutable, and made only when there is something new."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ownlens_plugins.api import TouchedSlice, Window
from ownlens_plugins.contracts import Extraction
from ownlens_plugins.engine import drafts
from ownlens_plugins.engine.manifest import Manifest
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.registry import Registry

from .staging_rows import (
    ONCE,
    REFRESH,
    SCHEMA,
    START,
    WHOLE,
    WINDOW,
    extracted,
    ids,
    reads,
    row,
    rows,
    stage,
    staged_rows,
)


def test_a_set_says_what_it_holds(area: StagingArea) -> None:
    contract = reads()
    request = StageRequest(Extraction.WINDOW, Window(START, datetime(2026, 2, 1, tzinfo=UTC)))
    manifest = stage(area, contract, [row(1, day=3), row(2, day=1), row(None)], request)
    assert (manifest.table, manifest.sequence, manifest.rows, manifest.rejected) == ("reads", 1, 2, 1)
    assert manifest.window == request.window
    assert manifest.touched == TouchedSlice("created_at", date(2026, 1, 2), date(2026, 1, 4))
    assert manifest.schema == {
        "read_id": "int64",
        "title": "text?",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
    }
    assert manifest.contract_fingerprint == contract.fingerprint
    (part,) = area.parts(manifest)
    content = Path(part.uri).read_bytes()
    assert (part.rows, part.bytes, part.sha256) == (2, len(content), hashlib.sha256(content).hexdigest())
    assert manifest.bytes == part.bytes
    assert pq.read_schema(part.uri).equals(contract.arrow_schema)
    assert ids(area, manifest) == [1, 2]


def test_sets_are_numbered_per_table(area: StagingArea) -> None:
    other = reads(table="others", path="news/others")
    assert [stage(area, reads(), rows(n)).sequence for n in (1, 2, 3)] == [1, 2, 3]
    assert stage(area, other, rows(1)).sequence == 1
    assert [manifest.sequence for manifest in area.manifests("reads")] == [1, 2, 3]
    assert area.latest("others") == area.manifests("others")[0]
    assert area.latest("nothing") is None


def test_earlier_sets_never_change(area: StagingArea) -> None:
    first = stage(area, reads(), rows(1, 2))
    content = [Path(part.uri).read_bytes() for part in area.parts(first)]
    stage(area, reads(), rows(1, 2, 3))
    stage(area, reads(), rows(4), REFRESH)
    assert area.manifests("reads")[0] == first
    assert [Path(part.uri).read_bytes() for part in area.parts(first)] == content


def test_a_number_is_taken_by_one_run_only(area: StagingArea, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stage(area, reads(), rows(1))
    monkeypatch.setattr(area, "latest", lambda table: None)  # as if the other run had not published yet
    with pytest.raises(Retryable, match="reads: another run staged set 1 at the same time; run it again"):
        area.stage(reads(), extracted(rows(2)), WINDOW)
    monkeypatch.undo()
    assert area.manifests("reads") == [first]
    assert len(list((Path(area.uri) / "reads").iterdir())) == 2  # manifests/ and the set's own folder


@pytest.mark.parametrize("batch_rows", [1, 7, 100, 1000])
def test_equal_rows_have_equal_digests_however_they_arrive(
    area: StagingArea, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, batch_rows: int
) -> None:
    monkeypatch.setattr(drafts, "ROWS_PER_GROUP", 64)
    monkeypatch.setattr(drafts, "ROWS_PER_PART", 256)
    values = [row(n, f"title {n % 13}" if n % 5 else None, day=n % 3) for n in range(700)]
    manifest = stage(area, reads(), values)
    other = StagingArea(str(tmp_path / "other"), Registry())
    again = other.stage(reads(), extracted(values, batch_rows=batch_rows), WINDOW)
    assert again is not None
    assert again.digest == manifest.digest
    assert [part.rows for part in again.parts] == [256, 256, 188]
    assert [part.sha256 for part in again.parts] == [part.sha256 for part in manifest.parts]


@pytest.mark.parametrize(
    "values",
    [rows(1, 2, 3, 4), rows(1, 3, 2), rows(1, 2), [*rows(1, 2), row(3, None)], [*rows(1, 2), row(3, "")], []],
)
def test_other_rows_have_another_digest(area: StagingArea, tmp_path: Path, values: list[dict[str, object]]) -> None:
    other = StagingArea(str(tmp_path / "other"), Registry())
    assert stage(area, reads(), rows(1, 2, 3)).digest != stage(other, reads(), values).digest


def test_an_unchanged_whole_table_brings_no_new_set(area: StagingArea) -> None:
    contract = reads("reference")
    assert stage(area, contract, rows(1, 2), WHOLE).sequence == 1
    assert area.stage(contract, extracted(rows(1, 2)), WHOLE) is None
    assert stage(area, contract, rows(1, 2, 3), WHOLE).sequence == 2
    assert stage(area, contract, rows(1, 2), WHOLE).sequence == 3  # changed back is a change
    assert area.stage(contract, extracted(rows(1, 2)), WHOLE) is None


def test_a_whole_table_that_became_empty_is_a_change_that_the_contract_has_to_allow(area: StagingArea) -> None:
    contract = reads("reference")
    stage(area, contract, rows(1), WHOLE)
    for request in (WHOLE, REFRESH):
        with pytest.raises(Rejected, match="reads: the source has no rows any more"):
            area.stage(contract, extracted([]), request)
    assert len(area.manifests("reads")) == 1
    allowed = reads("reference", allow_empty=True)
    emptied = stage(area, allowed, [], WHOLE)
    assert (emptied.sequence, emptied.rows, emptied.parts) == (2, 0, ())
    assert area.stage(allowed, extracted([]), WHOLE) is None
    assert area.stage(contract, extracted([]), WHOLE) is None


def test_a_further_refused_row_of_a_whole_table_is_news(area: StagingArea) -> None:
    contract = reads("reference")
    stage(area, contract, rows(1), WHOLE)
    assert stage(area, contract, [*rows(1), row(None)], WHOLE).rejected == 1
    assert area.stage(contract, extracted([*rows(1), row(None)]), WHOLE) is None


def test_an_empty_window_brings_no_set_but_an_empty_table_its_first(area: StagingArea) -> None:
    first = stage(area, reads(), [])
    assert (first.sequence, first.rows, first.parts, first.touched) == (1, 0, (), None)
    assert area.stage(reads(), extracted([]), WINDOW) is None
    assert stage(area, reads(), rows(1)).sequence == 2


def test_a_window_of_refused_rows_only_is_a_set(area: StagingArea) -> None:
    stage(area, reads(), rows(1))
    manifest = stage(area, reads(), [row(None)])
    assert (manifest.sequence, manifest.rows, manifest.rejected) == (2, 0, 1)


def test_a_full_refresh_is_always_a_new_set(area: StagingArea) -> None:
    contract = reads()
    usual = stage(area, contract, rows(1), WINDOW)
    first, second = (stage(area, contract, rows(1), REFRESH) for _ in range(2))
    assert (first.sequence, second.sequence, first.full_refresh) == (2, 3, True)
    assert first.digest == second.digest != usual.digest


def test_content_handed_in_once_more_is_the_set_that_holds_it(area: StagingArea) -> None:
    first = stage(area, reads(), rows(1), ONCE)
    second = stage(area, reads(), rows(2), ONCE)
    assert stage(area, reads(), rows(1), ONCE) == first
    assert stage(area, reads(), rows(2), ONCE) == second
    assert len(area.manifests("reads")) == 2


def test_rows_that_break_the_contract_are_kept_aside(area: StagingArea) -> None:
    manifest = stage(area, reads(), [row(1), row(None, "secret"), row(3, "a\0b")])
    quarantined = area.quarantined(manifest)
    assert quarantined is not None
    assert quarantined["reason"].to_pylist() == [
        "read_id: is null, but the contract does not allow it",
        "title: holds a NUL character, which PostgreSQL cannot store",
    ]
    shown = [json.loads(text) for text in quarantined["row"].to_pylist()]
    assert [values["title"] for values in shown] == ["secret", "a\0b"]
    assert (manifest.rejected, manifest.key_violations) == (2, 1)
    assert area.quarantined(stage(area, reads(), rows(5))) is None


def test_on_bad_value_fail_stages_nothing(area: StagingArea) -> None:
    contract = reads(on_bad_value="fail")
    with pytest.raises(Rejected) as caught:
        area.stage(contract, extracted([row(1), row(2, "secret\0")]), WINDOW)
    assert str(caught.value) == (
        "reads: nothing was published, 1 of 2 rows break the contract: title: holds a NUL character, which PostgreSQL "
        f"cannot store (1 row) (they are kept in {area.unpublished('reads')}); "
        "correct them in the source, or set on_bad_value: quarantine"
    )
    assert area.manifests("reads") == []
    assert [path.name for path in (Path(area.uri) / "reads").iterdir()] == ["unpublished"]
    assert stage(area, contract, rows(1)).sequence == 1


def test_an_error_while_rows_arrive_leaves_nothing(area: StagingArea) -> None:
    def batches() -> object:
        yield pa.RecordBatch.from_pylist(rows(1), SCHEMA)
        raise Retryable("reads: the source went away")

    with pytest.raises(Retryable, match="went away"):
        area.stage(reads(), Extracted(pa.RecordBatchReader.from_batches(SCHEMA, batches())), WINDOW)
    assert list((Path(area.uri) / "reads").iterdir()) == []


def test_manifest_reads_back_from_its_own_json(area: StagingArea) -> None:
    manifest = stage(area, reads(), [row(1), row(None)], StageRequest(Extraction.DAYS, Window(START, START)))
    assert Manifest.from_json(manifest.to_json()) == manifest
    bare = dataclasses.replace(manifest, window=Window(None, None), touched=None, quarantine=None, parts=())
    assert Manifest.from_json(bare.to_json()) == bare


def test_a_manifest_of_a_newer_format_is_refused(area: StagingArea) -> None:
    content = json.loads(stage(area, reads(), rows(1)).to_json())
    newer = json.dumps({**content, "format": 3, "ownlens_version": "9.0", "new": 1}).encode()
    with pytest.raises(Rejected, match=r"reads: staged set 1 was written by OwnLens 9\.0; upgrade this installation"):
        Manifest.from_json(newer)


@pytest.mark.parametrize(
    "table",
    ["../x", "..", ".", "a/b", "a\\b", 'a"b', "a'b", "naïve 🚀", "订单", "%2e", "a b", "*?[x]", ".hidden", "x" * 63],
)
def test_hostile_table_names_stay_inside_the_area_and_apart(area: StagingArea, table: str) -> None:
    contract = reads(table=table)
    manifest = stage(area, contract, rows(1))
    assert ids(area, manifest) == [1]
    assert area.latest(table) == manifest
    root = Path(area.uri)
    assert [path.name for path in root.parent.iterdir()] == [root.name]
    assert len(list(root.iterdir())) == 1
    plain = stage(area, reads(), rows(2))
    assert area.manifests("reads") == [plain]
    assert area.manifests(table) == [manifest]


def test_an_area_below_a_folder_with_odd_characters(tmp_path: Path) -> None:
    area = StagingArea(str(tmp_path / "st[a]g*ing? 'ü'"), Registry())
    manifest = stage(area, reads(), [row(1), row(1), row(2)])
    assert ids(area, manifest) == [1, 2]
    assert manifest.key_violations == 1


def test_part_rows_are_read_by_column(area: StagingArea) -> None:
    manifest = stage(area, reads(), rows(1, 2))
    (part,) = area.parts(manifest)
    assert [batch.schema.names for batch in part.read(["title"])] == [["title"]]
    assert staged_rows(area, manifest)[0] == row(1)
