"""Quarantined rows come in when the contract or a plugin takes them, each once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pytest

from ownlens_plugins import hookimpl
from ownlens_plugins.api import Window
from ownlens_plugins.contracts import Extraction, TableContract, contract_from
from ownlens_plugins.engine import replaying, staging
from ownlens_plugins.engine.quarantining import open_rows
from ownlens_plugins.engine.replaying import replay
from ownlens_plugins.engine.sources.source import Extracted
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.engine.windows import StageRequest, keys_of
from ownlens_plugins.errors import Retryable

from .staging_rows import REFRESH, WHOLE, WINDOW, ids, reads, row, stage, staged_rows


@pytest.fixture
def known(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many refused rows a replay meets whose key came later: older versions did not settle them at once."""
    if request.param:
        monkeypatch.setattr(staging, "settled_by", lambda *_: ())
    return int(request.param)


unsettled = pytest.mark.parametrize("known", [0, 1], indirect=True)


def states(labels: str, preset: str = "events", number: str = "int16", **changes: Any) -> TableContract:
    columns = {"id": "int64", "state": f"enum({labels})", "number": number, "created_at": "timestamptz"}
    document = {
        "table": "states",
        "domain": "tests",
        "preset": preset,
        "key": ["id"],
        "partition_by": "created_at",
        "path": "tests/states",
        "max_rejected": 1.0,
        "columns": {**columns, "updated_at": "timestamptz"},
    }
    return contract_from({**document, **changes})


def put(area: StagingArea, contract: TableContract, *values: tuple[Any, ...], request: Any = WINDOW) -> Any:
    """Stage rows of (id, state, number)."""
    stamp = pa.array([0] * len(values), pa.int64()).cast(pa.timestamp("us", "UTC"))
    table = pa.table(
        {
            "id": pa.array([value[0] for value in values], pa.int64()),
            "state": pa.array([value[1] for value in values], pa.string()).dictionary_encode(),
            "number": pa.array([value[2] for value in values], pa.int64()),
            "created_at": stamp,
            "updated_at": pa.array([(value[3:] or (0,))[0] for value in values], pa.int64()).cast(stamp.type),
        }
    )
    return area.stage(contract, Extracted(table.to_reader()), request)


def test_a_new_label_and_a_wider_type_bring_their_rows_in(area: StagingArea) -> None:
    put(area, states("a"), (1, "a", 1), (2, "b", 2), (3, "b", 2**20), (4, "c", 1), (5, "a", 2**20))
    outcome = replay(states("a, b"), area)
    assert (outcome.sequences, outcome.rows, outcome.refused) == ((2,), 1, 3)
    assert outcome.message == (
        "states: 1 rows staged, 3 still in quarantine; `ownlens load --tables states` brings them into the destinations"
    )
    assert ids_of(area, 2) == [2]
    assert area.manifests("states")[1].replayed == ((1, 0, 0),)
    outcome = replay(states("a, b", number="int64"), area)
    assert (outcome.sequences, outcome.rows, outcome.refused) == ((3,), 2, 1)
    assert ids_of(area, 3) == [3, 5]
    again = replay(states("a, b", number="int64"), area)
    assert (again.sequences, again.rows, again.refused) == ((), 0, 1)
    assert open_rows(area.manifests("states")) == {1: {2}}


def ids_of(area: StagingArea, sequence: int) -> list[int]:
    manifest = area.manifests("states")[sequence - 1]
    return [value["id"] for value in staged_rows(area, manifest)]


def test_values_are_those_of_the_source_to_the_bit(area: StagingArea) -> None:
    columns = {"id": "int64", "f": "float32?", "d": "decimal(38,10)?", "b": "bytes?", "l": "array<text>?", "u": "uuid?"}
    document = {"table": "states", "domain": "t", "preset": "events", "extraction": "window", "cursor": "at"}
    document |= {"key": ["id"], "path": "t/s", "max_rejected": 1.0}
    contracts = [
        contract_from({**document, "columns": {**columns, "e": f"enum({labels})", "at": "timestamptz"}})
        for labels in ("x", "x, y")
    ]
    rows = pa.table(
        {
            "id": [1, 2],
            "f": pa.array([0.1, float("nan")], pa.float32()),
            "d": pa.array(["0.0000000001", None]).cast(pa.decimal128(38, 10)),
            "b": [b"\0\xff", None],
            "l": pa.array([["a", None, '"'], []], pa.list_(pa.string())),
            "u": pa.array([bytes(range(16)), None], pa.binary(16)),
            "e": ["y", "y"],
            "at": pa.array([1, -1], pa.int64()).cast(pa.timestamp("us", "UTC")),
            "more": [[{"not": "in the contract"}]] * 2,
        }
    )
    area.stage(contracts[0], Extracted(rows.to_reader()), WINDOW)
    replay(contracts[1], area)
    expected = area.stage(contracts[1], Extracted(rows.to_reader()), REFRESH)
    assert expected is not None
    replayed = area.manifests("states")[1]
    assert replayed.parts[0].sha256 == expected.parts[0].sha256


def test_a_float_that_would_be_rounded_stays_refused(area: StagingArea) -> None:
    contract = states("a", number="float32")
    table = pa.table(
        {"id": [1], "state": ["a"], "number": [0.1], "created_at": ["2026-01-01Z"], "updated_at": ["2026-01-01Z"]}
    )
    area.stage(contract, Extracted(table.to_reader()), WINDOW)
    assert replay(contract, area).refused == 1


@unsettled
def test_an_append_leaves_out_keys_that_were_staged_meanwhile(area: StagingArea, known: int) -> None:
    put(area, states("a"), (1, "b", 1), (2, "b", 1), (3, "a", 1), (3, "a", 2))
    put(area, states("a"), (1, "a", 1))
    outcome = replay(states("a, b"), area)
    assert (outcome.rows, outcome.known, ids_of(area, 3)) == (1, known, [2])
    assert area.manifests("states")[2].replayed == (((1, 0, 1),) if known else ((1, 1, 1),))
    assert open_rows(area.manifests("states")) == {1: {2}}  # the repeated key is not


@unsettled
def test_an_upsert_leaves_out_what_a_later_set_has_corrected(area: StagingArea, known: int) -> None:
    put(area, states("a", "entity"), (1, "a", 1), (2, "a", 1))
    put(area, states("a", "entity"), (1, "b", 2, 5), (2, "b", 2, 5))
    put(area, states("a", "entity"), (2, "a", 3, 5))
    outcome = replay(states("a, b", "entity"), area)
    assert (outcome.rows, outcome.known, ids_of(area, 4)) == (1, known, [1])
    assert open_rows(area.manifests("states")) == {}


def test_rows_that_a_sweep_found_gone_are_not_replayed(area: StagingArea) -> None:
    contract = states("a", "entity", deletes="follow")
    put(area, contract, (1, "a", 1), (2, "b", 1), (3, "b", 1))
    keys = pa.table({"id": pa.array([1, 3], pa.int64())})
    sweep = StageRequest(Extraction.WHOLE, Window(None, None), keys_only=True)
    assert area.stage(keys_of(contract), Extracted(keys.to_reader()), sweep) is not None
    outcome = replay(states("a, b", "entity", deletes="follow"), area)
    assert (outcome.rows, ids_of(area, 3)) == (1, [3])
    assert open_rows(area.manifests("states")) == {}


@unsettled
def test_an_append_of_versions_leaves_out_the_same_version_only(area: StagingArea, known: int) -> None:
    history = {"destinations": {"s3": {"strategy": "append"}}}
    put(area, states("a", "entity", **history), (1, "a", 1, 1))
    put(area, states("a", "entity", **history), (1, "b", 2, 2), (2, "b", 2, 2))
    put(area, states("a", "entity", **history), (1, "a", 3, 3), (2, "a", 2, 2))
    outcome = replay(states("a, b", "entity", **history), area)
    assert (outcome.rows, outcome.known, ids_of(area, 4)) == (1, known, [1])


def test_of_several_refused_versions_the_newest_comes_in(area: StagingArea) -> None:
    put(area, states("a", "entity"), (1, "b", 1, 1))
    put(area, states("a", "entity"), (1, "b", 3, 3), (1, "b", 2, 2))
    replay(states("a, b", "entity"), area)
    assert [value["number"] for value in staged_rows(area, area.manifests("states")[-1])] == [3]


def test_an_older_version_that_was_replayed_does_not_keep_a_newer_one_out(area: StagingArea) -> None:
    put(area, states("a", "entity"), (1, "b", 1, 1), (1, "c", 2, 2))
    # Of one key the newest version is staged only when it fits, so both are in quarantine.
    assert replay(states("a, b", "entity"), area).rows == 1
    assert replay(states("a, b, c", "entity"), area).rows == 1


def test_the_next_window_starts_where_it_would_have(area: StagingArea) -> None:
    put(area, states("a"), (1, "b", 1))
    replay(states("a, b"), area)
    assert area.manifests("states")[-1].window.end is None


@pytest.mark.parametrize(("preset", "told"), [("reference", "nothing to replay: each load"), ("daily", "not replayed")])
def test_tables_whose_sets_replace_are_loaded_instead(area: StagingArea, preset: str, told: str) -> None:
    changes = {
        "partition_by": "day",
        "columns": {
            "id": "int64",
            "day": "date",
            "state": "enum(a)",
            "created_at": "timestamptz",
            "updated_at": "timestamptz",
        },
    }
    contract = reads(preset, table="states", **(changes | {"key": ["id", "day"]} if preset == "daily" else {}))
    outcome = replay(contract, area)
    assert (outcome.rows, outcome.sequences) == (0, ())
    assert outcome.message.startswith(f"states: {told}")


def test_a_column_that_is_new_is_null_and_a_required_one_keeps_the_rows(area: StagingArea) -> None:
    put(area, states("a"), (1, "b", 1))
    columns = {"id": "int64", "state": "enum(a, b)", "created_at": "timestamptz", "updated_at": "timestamptz"}
    assert replay(states("a, b", columns={**columns, "more": "text"}), area).refused == 1
    assert replay(states("a, b", columns={**columns, "more": "text?"}), area).rows == 1
    assert staged_rows(area, area.manifests("states")[-1])[0]["more"] is None


def test_rows_go_through_transforms_once(area: StagingArea, registry: Any) -> None:
    class Plugin:
        @hookimpl
        def ownlens_transform(self, contract: TableContract, frame: Any) -> Any:
            return frame.with_columns(nw.col("number").cast(nw.Int64) + 1)

    registry.register(Plugin(), "adder")
    area = StagingArea(area.uri, registry)
    put(area, states("a"), (1, "b", 1), (2, "a", 2**15 - 1), (3, "a", 3))
    assert ids_of(area, 1) == [3]
    outcome = replay(states("a, b", number="int64"), area)
    assert (outcome.rows, outcome.refused) == (2, 0)
    landed = {value["id"]: value["number"] for m in area.manifests("states") for value in staged_rows(area, m)}
    assert landed == {1: 2, 2: 2**15, 3: 4}


def test_two_replays_at_once_bring_each_row_once(area: StagingArea, monkeypatch: pytest.MonkeyPatch) -> None:
    put(area, states("a"), *[(number, "b", 1) for number in range(50)])
    both = threading.Barrier(2)
    read = area.manifests
    first = threading.local()

    def together(table: str) -> Any:
        manifests = read(table)
        if not getattr(first, "met", False):
            first.met = True
            both.wait(30)
        return manifests

    monkeypatch.setattr(area, "manifests", together)
    threads = [threading.Thread(target=replay, args=(states("a, b"), area)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    monkeypatch.undo()
    staged = [number for manifest in area.manifests("states") for number in _ids(area, manifest)]
    assert sorted(staged) == list(range(50))


def _ids(area: StagingArea, manifest: Any) -> list[int]:
    return [value["id"] for value in staged_rows(area, manifest)]


def test_a_set_that_came_in_between_makes_the_replay_decide_anew(
    area: StagingArea, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(area, states("a"), (1, "b", 1), (2, "b", 1))
    once = []
    decide = replaying._staged_in

    def late(*arguments: Any) -> Any:
        found = decide(*arguments)
        if not once:
            once.append(put(area, states("a"), (1, "a", 7)))
        return found

    monkeypatch.setattr(replaying, "_staged_in", late)
    assert replay(states("a, b"), area).rows == 1
    assert ids_of(area, 3) == [2]


def test_a_replay_that_is_always_overtaken_says_so(area: StagingArea, monkeypatch: pytest.MonkeyPatch) -> None:
    put(area, states("a"), (1, "b", 1))
    numbers = iter(range(10, 20))
    decide = replaying._staged_in

    def late(*arguments: Any) -> Any:
        put(area, states("a"), (next(numbers), "a", 7))
        return decide(*arguments)

    monkeypatch.setattr(replaying, "_staged_in", late)
    with pytest.raises(Retryable, match=r"states: another run staged set \d+ at the same time; run it again"):
        replay(states("a, b"), area)


def test_rows_that_a_whole_refresh_took_are_not_replayed(area: StagingArea) -> None:
    put(area, states("a"), (1, "b", 1), (2, "c", 1))
    put(area, states("a, b"), (1, "b", 1), (2, "c", 1), request=REFRESH)
    assert replay(states("a, b, c"), area).rows == 1
    assert ids_of(area, 3) == [2]


def test_what_older_versions_kept_stays(area: StagingArea) -> None:
    import pyarrow.parquet as pq

    manifest = put(area, states("a"), (1, "b", 1))
    pq.write_table(pa.table({"reason": ["x"], "row": ["{}"]}), Path(area.address(manifest.quarantine)))
    assert replay(states("a, b"), area).refused == 1


def test_nothing_is_in_quarantine(area: StagingArea) -> None:
    assert replay(states("a"), area).rows == 0
    stage(area, reads(table="states"), [row(1)], WHOLE)
    assert replay(reads(table="states"), area).message.startswith("states: 0 rows staged, 0 still in quarantine")
    assert ids(area, area.manifests("states")[0]) == [1]
