"""Refused rows: which are news, how many are too many, and where they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ownlens_plugins.contracts import Extraction, TableContract
from ownlens_plugins.engine.manifest import Manifest
from ownlens_plugins.engine.quarantining import kept_rows, numbers_of, open_rows, spans
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StageRequest, StagingArea
from ownlens_plugins.errors import Rejected

from .staging_rows import ONCE, REFRESH, WHOLE, WINDOW, extracted, ids, reads, row, rows, stage

BAD = "t\0"
NUL = "holds a NUL character, which PostgreSQL cannot store"


def strict(preset: str = "events", **changes: Any) -> TableContract:
    return reads(preset, **{"max_rejected": 0.5, **changes})


def unpublished(area: StagingArea) -> list[str]:
    uri = area.unpublished("reads")
    return [] if uri is None else [kept.text for kept in kept_rows(uri, None, None)]


@pytest.mark.parametrize("request_", [WINDOW, WHOLE, REFRESH, ONCE])
def test_a_set_of_refused_rows_is_not_published_and_its_rows_can_be_seen(
    area: StagingArea, request_: StageRequest
) -> None:
    first = stage(area, strict("reference"), rows(1), request_)
    with pytest.raises(Rejected) as caught:
        area.stage(strict("reference"), extracted([row(1, BAD), row(None, BAD), row(3)]), request_)
    assert str(caught.value) == (
        "reads: nothing was published, 2 of 3 rows break the contract: title: holds a NUL character, which PostgreSQL "
        "cannot store (2 rows), read_id: is null, but the contract does not allow it (1 row) (they are kept in "
        f"{area.unpublished('reads')}); more than max_rejected: 0.5; see them with `ownlens quarantine show reads`, "
        "correct the source or the contract, or raise max_rejected"
    )
    assert area.manifests("reads") == [first]
    assert [json.loads(text)["read_id"] for text in unpublished(area)] == ["1", None]


def test_the_newest_attempt_is_shown_until_a_set_is_published(area: StagingArea) -> None:
    for number in (1, 2):
        with pytest.raises(Rejected):
            area.stage(strict(), extracted([row(number, BAD)]), WINDOW)
        assert [json.loads(text)["read_id"] for text in unpublished(area)] == [str(number)]
    stage(area, strict(), rows(3))
    assert area.unpublished("reads") is None


def test_a_source_that_was_repaired_to_what_is_staged_clears_the_unpublished_rows(area: StagingArea) -> None:
    stage(area, strict("reference"), rows(1), WHOLE)
    with pytest.raises(Rejected):
        area.stage(strict("reference"), extracted([row(1, BAD)]), WHOLE)
    assert area.stage(strict("reference"), extracted(rows(1)), WHOLE) is None
    assert area.unpublished("reads") is None


@pytest.mark.parametrize(("share", "bad", "published"), [(0.5, 2, True), (0.5, 3, False), (0, 1, False), (1, 4, True)])
def test_the_share_is_of_all_rows_and_may_be_reached(
    area: StagingArea, share: float, bad: int, published: bool
) -> None:
    values = [row(number, BAD if number < bad else "t") for number in range(4)]
    if published:
        assert stage(area, strict(max_rejected=share), values).rejected == bad
    else:
        with pytest.raises(Rejected, match="nothing was published"):
            area.stage(strict(max_rejected=share), extracted(values), WINDOW)


def test_a_manifest_says_the_commonest_reasons(area: StagingArea) -> None:
    manifest = stage(area, reads(), [row(1, BAD), row(2, BAD), row(None, BAD), row(4)])
    assert manifest.reasons == {
        "title: holds a NUL character, which PostgreSQL cannot store": 3,
        "read_id: is null, but the contract does not allow it": 1,
    }
    assert manifest.key_violations == 1
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_row_that_is_refused_again_as_it_is_is_no_news(area: StagingArea) -> None:
    first = stage(area, strict(), [row(1), row(2, BAD)])
    again = stage(area, strict(), [row(3), row(2, BAD)])
    assert (first.rejected, again.rejected, again.quarantine, again.reasons) == (1, 0, None, {})
    assert again.standing == ((1, 0, 0),)
    assert area.stage(strict(), extracted([row(2, BAD)]), WINDOW) is None  # nor too many
    changed = stage(area, strict(), [row(4), row(2, BAD, version=1)])
    assert (changed.rejected, changed.standing) == (1, ())


def test_equal_rows_are_counted(area: StagingArea) -> None:
    stage(area, reads(), [row(1), row(None)])
    more = stage(area, reads(), [row(2), row(None), row(None), row(None)])
    assert (more.rejected, more.standing) == (2, ((1, 0, 0),))


def test_a_whole_table_with_an_old_refused_row_is_new_only_when_something_is(area: StagingArea) -> None:
    contract = strict("reference")
    stage(area, contract, [row(1), row(2, BAD)], WHOLE)
    assert area.stage(contract, extracted([row(1), row(2, BAD)]), WHOLE) is None
    second = stage(area, contract, [row(1), row(3), row(2, BAD)], WHOLE)
    assert (second.rejected, second.standing, ids(area, second)) == (0, ((1, 0, 0),), [1, 3])
    assert open_rows(area.manifests("reads")) == {1: {0}}
    # The share of a whole table is that of all its rows, also the old ones.
    with pytest.raises(Rejected, match="2 of 3 rows break"):
        area.stage(contract, extracted([row(1), row(2, BAD), row(3, BAD)]), WHOLE)


def test_a_row_that_was_good_in_between_is_news_again(area: StagingArea) -> None:
    contract = strict("reference")
    stage(area, contract, [row(1), row(2, BAD)], WHOLE)
    stage(area, contract, [row(1), row(2)], WHOLE)
    assert open_rows(area.manifests("reads")) == {}
    assert stage(area, contract, [row(1), row(2, BAD)], WHOLE).rejected == 1


def test_a_refused_row_that_is_gone_is_settled(area: StagingArea) -> None:
    contract = strict("reference")
    stage(area, contract, [row(1), row(2, BAD)], WHOLE)
    assert stage(area, contract, rows(1), WHOLE).rejected == 0
    assert open_rows(area.manifests("reads")) == {}
    assert area.stage(contract, extracted(rows(1)), WHOLE) is None


def test_a_full_refresh_of_a_windowed_table_settles_what_it_does_not_refuse(area: StagingArea) -> None:
    stage(area, reads(), [row(1), row(2, BAD), row(3, BAD)])
    stage(area, reads(), [row(1), row(2), row(3, BAD)], REFRESH)
    assert open_rows(area.manifests("reads")) == {1: {1}}


def test_the_rows_of_a_frame_are_its_own_whatever_came_before(area: StagingArea) -> None:
    stage(area, reads(), [row(1), row(2, BAD)], ONCE)
    assert stage(area, reads(), [row(3), row(2, BAD)], ONCE).rejected == 1


def test_files_of_older_versions_can_be_read(area: StagingArea) -> None:
    manifest = stage(area, reads(), [row(1), row(2, BAD)])
    file = Path(area.address(manifest.quarantine or ""))
    pq.write_table(pa.table({"reason": ["title: bad"], "row": ['{"read_id": 2, "ti']}), file)
    (kept,) = kept_rows(str(file), None, 1)
    assert (kept.reasons, kept.text) == (("title: bad",), '{"read_id": 2, "ti')
    assert stage(area, reads(), [row(3), row(2, BAD)]).rejected == 1


def test_spans_are_row_numbers_in_short() -> None:
    numbers = {2: {0, 1, 2, 5}, 1: {7}}
    assert spans(numbers) == ((1, 7, 7), (2, 0, 2), (2, 5, 5))
    assert numbers_of(spans(numbers)) == numbers


def test_a_thousand_refused_rows_keep_their_order(area: StagingArea) -> None:
    values = [row(number, BAD if number % 3 else "t") for number in range(5000)]
    manifest = area.stage(reads(), extracted(values, batch_rows=700), WINDOW)
    assert manifest is not None
    kept = list(kept_rows(area.address(manifest.quarantine or ""), None, 1))
    assert [json.loads(one.text)["read_id"] for one in kept] == [str(n) for n in range(5000) if n % 3]


# --- a later set brings the key of a refused row


def test_a_row_that_was_corrected_and_is_refused_again_is_news(area: StagingArea) -> None:
    stage(area, reads(), [row(1), row(2, BAD)])
    corrected = stage(area, reads(), [row(2, "good")])
    assert (corrected.settled, open_rows(area.manifests("reads"))) == (((1, 0, 0),), {})
    again = stage(area, reads(), [row(3), row(2, BAD)])
    assert (again.rejected, again.standing, again.reasons) == (1, (), {f"title: {NUL}": 1})
    assert open_rows(area.manifests("reads")) == {3: {0}}
    assert Manifest.from_json(corrected.to_json()) == corrected


def test_a_row_refused_in_another_way_stands_for_its_older_state(area: StagingArea) -> None:
    stage(area, reads(), [row(1), row(2, BAD)])
    other = stage(area, reads(), [row(3), row(2, BAD * 2)])
    assert (other.rejected, other.settled) == (1, ((1, 0, 0),))
    assert open_rows(area.manifests("reads")) == {2: {0}}
    assert stage(area, reads(), [row(4), row(2, BAD)]).rejected == 1


def test_a_bad_row_beside_a_good_one_of_its_key_stays_refused(area: StagingArea) -> None:
    stage(area, reads(), [row(1), row(2, BAD)])
    again = stage(area, reads(), [row(2, "good"), row(2, BAD)])
    assert (again.rejected, again.standing, again.settled) == (0, ((1, 0, 0),), ())


def test_rows_without_a_key_and_rows_of_other_keys_are_not_settled(area: StagingArea) -> None:
    stage(area, reads(), [row(None), row(2, BAD), row(3, BAD)])
    stage(area, reads(), rows(1, 3))
    assert open_rows(area.manifests("reads")) == {1: {0, 1}}


def test_a_compound_key_settles_under_a_wider_type(area: StagingArea) -> None:
    columns = {"read_id": "int32", "title": "text?", "created_at": "timestamptz", "updated_at": "timestamptz"}
    key = ["read_id", "created_at"]
    stage(area, reads(key=key, columns=columns), [row(1), row(2, BAD), row(2, BAD, day=1)])
    stage(area, reads(key=key), [row(2, "good", day=1)])
    assert open_rows(area.manifests("reads")) == {1: {0}}


def test_what_left_out_rows_repeat_settles_nothing(area: StagingArea) -> None:
    """The second row of a key is refused by every look-back; the first one is left out, and comes only once."""
    first = stage(area, reads(), [row(1), row(1, "twice")])
    request = replace(WINDOW, after=1, known=(first,))
    again = stage(area, reads(), [row(1), row(1, "twice"), row(5)], request)
    assert (again.rejected, again.standing, again.settled) == (0, ((1, 0, 0),), ())


@pytest.mark.parametrize("after", [[row(1), row(2, "good")], [row(1)]], ids=["corrected", "gone"])
def test_a_day_that_is_read_anew_settles_what_it_does_not_refuse(area: StagingArea, after: list[Any]) -> None:
    contract = reads("daily", columns=DAILY, partition_by="day", key=["read_id", "day"])
    stage_days(area, contract, [row(1), row(2, BAD), row(3, BAD, day=1)])
    stage_days(area, contract, after)
    assert open_rows(area.manifests("reads")) == {1: {1}}
    assert stage_days(area, contract, [row(1), row(2, BAD)]).rejected == 1


DAILY = {"read_id": "int64", "day": "date", "title": "text?", "updated_at": "timestamptz"}


def stage_days(area: StagingArea, contract: TableContract, values: list[dict[str, Any]]) -> Manifest:
    table = pa.Table.from_pylist([{**value, "day": value["created_at"].date()} for value in values])
    request = StageRequest(Extraction.DAYS, WINDOW.window)
    manifest = area.stage(contract, Extracted(table.to_reader()), request)
    assert manifest is not None
    return manifest
