"""A load is applied once, whoever tries and however often; other loads of the same table are not lost by that."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from ownlens_plugins.api import LoadPlan, LoadResult
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected, Retryable, StagedSetChanged
from ownlens_s3.delta import DeltaLake
from ownlens_s3.destination import S3Destination
from ownlens_s3.files import FileTable
from ownlens_s3.ledger import ATTEMPTS
from tests.destinations.s3.loads import Loader, all_files, contract_of, counts, ledger_files, left_over

STRATEGIES = [
    ("append", "delta"),
    ("upsert", "delta"),
    ("overwrite", "delta"),
    ("overwrite", "parquet"),
    ("overwrite", "json"),
]
APPENDING = STRATEGIES[:2]


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_a_load_is_found_and_replayed(local: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    rows = loader.rows(40)
    plan = loader.plan(7, rows)
    assert local.find_commit(plan) is None
    first = load(local, plan)
    files = all_files(local, loader.contract)
    again, found = load(local, plan), local.find_commit(plan)
    assert not first.replayed
    assert again.replayed
    assert found is not None
    assert replace(again, replayed=False) == replace(found, replayed=False) == first
    assert first.committed_at is not None
    assert all_files(local, loader.contract) == files
    loader.require(rows)


@pytest.mark.parametrize("step", ["commit", "ledger is gone"])
def test_the_log_knows_the_load_without_the_ledger(local: S3Destination, tmp_path: Path, step: str) -> None:
    loader = Loader(local, contract_of("upsert"), tmp_path)
    loader.load(1, loader.rows(20))
    result = loader.load(2, loader.rows(20, first=10, version=1))
    folder = local.folder(loader.contract)
    folder.delete(["_ownlens/ledger/00000002.json"])
    if step == "ledger is gone":  # and so is the log that could fill it in again
        table = local.delta(loader.contract, loader.plans[2].options).open()  # type: ignore[arg-type]
        assert table is not None
        table.create_checkpoint()
        folder.delete([f"_delta_log/{version:020d}.json" for version in range(2)])
    again = loader.load(2, loader.rows(20, first=10, version=1))
    assert counts(again) == counts(result) == (20, 10, 10, 0)
    assert ledger_files(local, loader.contract) == ["00000001.json", "00000002.json"]
    with pytest.raises(StagedSetChanged):
        load(local, replace(loader.plans[2], digest="0" * 64))


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_an_older_load_that_comes_late(local: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    """Appends and upserts still apply it; an overwrite has already replaced everything that it would bring."""
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    newer, older = loader.rows(20, first=20), loader.rows(20)
    loader.load(5, newer)
    result = loader.load(3, older)
    loader.plans.pop(3)
    if strategy == "overwrite":
        assert (result.rows, result.inserted, result.replayed) == (0, 0, True)
        loader.require(newer)
    else:
        assert counts(result) == (20, 20, 0, 0)
        loader.require(newer, older)
    assert loader.load(5, newer).replayed
    assert left_over(local, loader.plans[5]) == []


@pytest.mark.parametrize(("strategy", "form"), APPENDING)
def test_a_full_refresh_overtakes_what_was_not_loaded(
    local: S3Destination, tmp_path: Path, strategy: str, form: str
) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    loader.load(1, loader.rows(10))
    whole = loader.rows(30, version=1)
    loader.load(4, whole, strategy=Strategy.OVERWRITE)
    late = loader.load(3, loader.rows(5, first=25))
    assert (late.rows, late.replayed) == (0, True)
    more = loader.rows(5, first=30)
    loader.load(5, more)
    loader.require(whole, more)


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_a_stale_attempt_that_finishes_after_newer_loads_changes_nothing(
    local: S3Destination, tmp_path: Path, strategy: str, form: str
) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    base, one, two = loader.rows(10), loader.rows(20, first=10), loader.rows(20, first=30)
    loader.load(1, base)
    plan = loader.plan(2, one)
    with local.open(plan) as stale:
        receipts = [stale.writer.write(part) for part in plan.parts]
        load(local, plan)
        loader.load(3, two)
        result = stale.commit(receipts)
    assert result.replayed
    loader.require(*([two] if strategy == "overwrite" else [base, one, two]))
    assert left_over(local, loader.plans[3]) == []


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_a_part_written_twice_counts_once(local: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    rows = loader.rows(40)
    plan = loader.plan(1, rows)
    with local.open(plan) as session:
        elsewhere = pickle.loads(pickle.dumps(session.writer))  # as an executor gets it
        firsts = [session.writer.write(part) for part in plan.parts]
        seconds = [elsewhere.write(part) for part in plan.parts]
        session.commit([firsts[0], seconds[1]])
        with pytest.raises(Retryable, match="this attempt at s3 is over"):
            session.writer.write(plan.parts[0])  # a zombie that goes on
    loader.require(rows)
    assert not [name for name in all_files(local, loader.contract) if name.startswith(ATTEMPTS)]
    loader.load(2, loader.rows(0), strategy=Strategy.APPEND if form == "delta" else None)
    loader.require(*([rows] if form == "delta" else []), loader.rows(0))


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_two_threads_load_the_same_set(local: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    base, rows = loader.rows(10), loader.rows(40, first=10)
    loader.load(1, base)
    plan = loader.plan(2, rows)
    barrier = threading.Barrier(4)

    def attempt(_: int) -> LoadResult:
        barrier.wait()
        return load_patiently(local, plan)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(attempt, range(4)))
    assert sum(not result.replayed for result in results) == 1
    assert {counts(result) for result in results} == {(40, 40, 0, 0)}
    loader.require(*([rows] if strategy == "overwrite" else [base, rows]))
    assert load(local, plan).replayed
    assert left_over(local, plan) == []


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_four_sets_of_one_table_race(local: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    sets = {number: loader.rows(20, first=20 * number) for number in range(1, 5)}
    plans = [loader.plan(number, rows) for number, rows in sets.items()]
    barrier = threading.Barrier(4)

    def attempt(number: int) -> LoadResult:
        barrier.wait()
        return load_patiently(local, plans[number])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempt, range(4)))
    loader.require(*([sets[4]] if strategy == "overwrite" else sets.values()))
    assert left_over(local, plans[3]) == []


def load_patiently(destination: S3Destination, plan: LoadPlan) -> LoadResult:
    """Load as a flow does, which tries again when a rival has ended an attempt."""
    for _ in range(5):
        with suppress(Retryable):
            return load(destination, plan)
    return load(destination, plan)


@pytest.fixture
def after_the_last_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something happen once, right after the next time that a load is found missing."""

    def arrange(meanwhile: Callable[[], object]) -> None:
        pending = [meanwhile]
        for kind in (DeltaLake, FileTable):
            monkeypatch.setattr(kind, "recorded", _followed(kind.recorded, pending))

    return arrange


def _followed(look: Callable[..., LoadResult | None], pending: list[Callable[[], object]]) -> Callable[..., object]:
    def recorded(*arguments: object) -> LoadResult | None:
        found = look(*arguments)
        if found is None and pending:
            pending.pop()()
        return found

    return recorded


@pytest.mark.parametrize("clears", [True, False])
@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_a_rival_that_commits_after_the_last_look(
    destination: S3Destination,
    tmp_path: Path,
    after_the_last_look: Callable[[Callable[[], object]], None],
    strategy: str,
    form: str,
    clears: bool,
) -> None:
    """The rival either finishes, which clears our files, or dies after its commit, which leaves them all there."""
    loader = Loader(destination, contract_of(strategy, form), tmp_path)
    base, rows = loader.rows(10), loader.rows(20, first=10)
    loader.load(1, base)
    plan = loader.plan(2, rows)
    with destination.open(plan) as session, destination.open(plan) as rival:
        ours, theirs = ([one.writer.write(part) for part in plan.parts] for one in (session, rival))
        after_the_last_look(lambda: rival.commit(theirs) if clears else rival._commit(theirs))
        result = session.commit(ours)
    assert result.replayed
    assert counts(result) == (20, 20, 0, 0)
    loader.require(*([rows] if strategy == "overwrite" else [base, rows]))
    assert load(destination, plan).replayed
    assert left_over(destination, plan) == []


@pytest.mark.parametrize("clears", [True, False])
@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_a_newer_load_that_commits_after_the_last_look(
    local: S3Destination,
    tmp_path: Path,
    after_the_last_look: Callable[[Callable[[], object]], None],
    strategy: str,
    form: str,
    clears: bool,
) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    older, newer = loader.rows(20), loader.rows(20, first=20)
    plan, next_plan = loader.plan(1, older), loader.plan(2, newer)
    with local.open(plan) as session, local.open(next_plan) as rival:
        ours, theirs = [session.writer.write(p) for p in plan.parts], [rival.writer.write(p) for p in next_plan.parts]
        after_the_last_look(lambda: rival.commit(theirs) if clears else rival._commit(theirs))
        result = session.commit(ours)
    # A file table's rival that did not clear yet may note this load as replaced: so it counts as applied.
    skipped = strategy == "overwrite" and (form == "delta" or clears)
    assert (result.rows, result.replayed) == ((0, True) if skipped else (20, False))
    loader.require(*([newer] if strategy == "overwrite" else [older, newer]))
    again = load(local, plan)
    assert (again.rows, again.replayed) == (result.rows, True)
    assert load(local, next_plan).replayed
    noted = sorted(int(Path(name).stem) for name in ledger_files(local, plan.contract))
    assert noted == ([2] if skipped else [1, 2])
    assert left_over(local, next_plan) == []


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_abort_never_touches_what_a_commit_may_have_named(
    local: S3Destination, tmp_path: Path, strategy: str, form: str
) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    rows = loader.rows(20)
    plan = loader.plan(1, rows)
    with local.open(plan) as session:
        session._commit([session.writer.write(part) for part in plan.parts])
        session.abort()  # as if the answer had been lost and the store could not be asked
    loader.require(rows)
    assert load(local, plan).replayed
    assert left_over(local, plan) == []


def test_a_crashed_attempt_of_an_open_load_stays_until_that_load_is_in(local: S3Destination, tmp_path: Path) -> None:
    """Nobody can tell a crashed attempt from a slow one before its load is committed."""
    loader = Loader(local, contract_of("append"), tmp_path)
    plan = loader.plan(2, loader.rows(20, first=100))
    crashed = local.open(plan)
    for part in plan.parts:
        crashed.writer.write(part)
    loader.load(1, loader.rows(10))
    assert left_over(local, plan)
    loader.require(loader.rows(10))
    load(local, plan)
    assert left_over(local, plan) == []
    loader.require(loader.rows(10), loader.rows(20, first=100))


@pytest.mark.parametrize(("strategy", "form"), STRATEGIES)
def test_abort_leaves_nothing(local: S3Destination, tmp_path: Path, strategy: str, form: str) -> None:
    loader = Loader(local, contract_of(strategy, form), tmp_path)
    loader.load(1, loader.rows(10))
    before = all_files(local, loader.contract)
    plan = loader.plan(2, loader.rows(20))
    with local.open(plan) as session:
        for part in plan.parts:
            session.writer.write(part)
        session.abort()
    assert all_files(local, loader.contract) == before
    loader.require(loader.rows(10))


def test_a_part_with_fewer_rows_than_staged_is_refused(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("append"), tmp_path)
    plan = loader.plan(1, loader.rows(10))
    short = replace(plan, parts=(replace(plan.parts[0], rows=99), plan.parts[1]))
    with pytest.raises(Rejected, match="wrote 10 rows in 2 parts, but 104 rows"):
        load(local, short)
    assert left_over(local, plan) == []
    assert loader.landed().num_rows == 0


def test_a_data_file_that_vanished_stops_the_commit(local: S3Destination, tmp_path: Path) -> None:
    loader = Loader(local, contract_of("append"), tmp_path)
    plan = loader.plan(1, loader.rows(10))
    with local.open(plan) as session:
        receipts = [session.writer.write(part) for part in plan.parts]
        local.folder(loader.contract).delete([receipts[0].payload["files"][0]["path"]])
        with pytest.raises(Retryable, match="lost 1 of 6 new files"):
            session.commit(receipts)
    assert local.find_commit(plan) is None
    assert isinstance(loader.landed(), pa.Table)


def test_a_table_is_created_once(local: S3Destination, tmp_path: Path) -> None:
    """A second creation that lands on top of the first would replace its metadata."""
    for number in range(8):
        loader = Loader(local, contract_of("append", path=f"tests/created{number}"), tmp_path)
        plan = loader.plan(1, loader.rows(0))
        lake = local.delta(loader.contract, plan.options)  # type: ignore[arg-type]
        barrier = threading.Barrier(6)

        def create(_: int, lake: DeltaLake = lake, plan: LoadPlan = plan, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            lake.prepare(plan)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(create, range(6)))
        assert [name for name in all_files(local, loader.contract) if name.endswith(".json")] == [
            "_delta_log/00000000000000000000.json",
            "_delta_log/00000000000000000001.json",  # names the feature `invariants`
        ]
