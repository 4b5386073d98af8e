"""docs/drift.md: what becomes of a change, by store and policy, from the cases that the stores' own tests prove."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec

from tests.destinations.drift import CHANGES, Case

STORES = {"lake": "s3", "PostgreSQL": "postgresql", "ClickHouse": "clickhouse"}
POLICIES = ("evolve", "evolve, drop_columns", "freeze")
REFRESH = "--full-refresh"
Told = Mapping[tuple[str, str], Case]

HEAD = """# When a table changes

A column is renamed, a type gets wider, somebody loses the staging folder: what a run does then, and what to run. This
page is made from the tests by `make generate`; each line is a test on the real store.

- `schema_policy: evolve` (the default) does what loses nothing: it adds nullable columns, widens types, lets null in.
  A column that left the contract stays in the table, null in new rows; with `drop_columns: true` it is dropped. A
  renamed column is one that left and one that came.
- `schema_policy: freeze` refuses every change of a table.
- What is refused is refused before data moves. The message names the table, the store and all columns that differ.
- **`ownlens load --full-refresh --tables TABLE` always gets through.** It stages the whole table, and replaces rows and
  schema in every store, whatever `schema_policy` says. A window reads new rows only: rows that are there get the values
  of a new column, or of a renamed one, by a full refresh.
"""


def page() -> str:
    """Return the page's text."""
    return "\n".join([HEAD, *_staging(), *_stores()])


def _staging() -> Iterator[str]:
    yield from ("## Before a store is asked", "", "| what changed | what happens | what to run |", "|---|---|---|")
    for case in _cases("tests.truth.test_drift"):
        change = f"{case.change}, with `{REFRESH}`" if case.policy == REFRESH else case.change
        yield f"| {change} | {case.outcome} | {_code(case.run)} |"
    yield ""


def _stores() -> Iterator[str]:
    told = {title: _told(_cases(f"tests.destinations.{name}.test_drift")) for title, name in STORES.items()}
    yield from ("## In the stores", "", f"| change | policy | {' | '.join(told)} | what to run |")
    yield "|---|---|" + "---|" * (len(told) + 1)
    for change in CHANGES:
        yield from _lines(change, told)
    yield ""
    yield from _refreshed(told)


def _lines(change: str, told: Mapping[str, Told]) -> Iterator[str]:
    for policy in POLICIES:
        cells = _outcomes(change, policy, told)
        # A column that stays in the contract is not dropped.
        if policy != "evolve, drop_columns" or cells != _outcomes(change, "evolve", told):
            yield f"| {change} | {policy} | {' | '.join(cells)} | {_runs(change, policy, told)} |"


def _outcomes(change: str, policy: str, told: Mapping[str, Told]) -> list[str]:
    return [cases[change, policy].outcome if (change, policy) in cases else "" for cases in told.values()]


def _runs(change: str, policy: str, told: Mapping[str, Told]) -> str:
    found = {title: cases[change, policy].run for title, cases in told.items() if (change, policy) in cases}
    runs = {run for run in found.values() if run}
    if len(runs) < 2 and (None not in found.values() or not runs):
        return _code(next(iter(runs), None))
    return "; ".join(f"{title}: {_code(run)}" for title, run in found.items() if run)


def _refreshed(told: Mapping[str, Told]) -> Iterator[str]:
    yield from (f"With `{REFRESH}`, each of these changes:", "")
    for title, cases in told.items():
        outcomes = dict.fromkeys(case.outcome for (_, policy), case in cases.items() if policy == REFRESH)
        yield f"- {title}: {'; '.join(outcomes) or 'not told yet'}."
    yield ""


def _told(cases: Sequence[Case]) -> Told:
    return {(case.change, case.policy): case for case in cases}


def _cases(module: str) -> Sequence[Case]:
    if find_spec(module) is None:
        return ()
    found: Sequence[Case] = import_module(module).CASES
    return found


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""
