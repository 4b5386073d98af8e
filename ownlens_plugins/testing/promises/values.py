"""Values and names come back as they were staged, or are refused; never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ...contracts import Strategy
from ...errors import OwnLensError
from ..cases.reading import Case, case_columns, case_table, odd_names, read_cases, read_oddities
from ..comparing import require_rows
from ..model import NARROW, narrow_row
from ..samples import EVERY_TYPE, sample_rows, sample_table
from ..trial import Trial
from .subject import Subject

_WIDE_COLUMNS = 300
_ROWS = 8


class Values(Subject):
    """Every type, wide tables, and odd names."""

    # A folder with case files that replace ours of the same name.
    cases: ClassVar[Path | None] = None
    # A YAML file of what the destination refuses: lists `types`, `columns` and `tables`, with the reasons as comments.
    oddities: ClassVar[Path | None] = None

    def test_each_type_comes_back_exactly(self, trial: Trial, case: str) -> None:
        refused = read_oddities(self.oddities).types
        cases = read_cases(case, self.cases)
        for odd in (each for each in cases if each.type in refused):
            self._require_refusal(trial, [odd])
        if kept := [each for each in cases if each.type not in refused]:
            self._load_cases(trial, kept)

    def _load_cases(self, trial: Trial, cases: Sequence[Case]) -> None:
        self._redefine(trial, case_columns(cases))
        table = case_table(trial.contract.arrow_schema, cases)
        trial.replay(trial.plan(table, sequence=1))
        require_rows(trial.landed(), table, "every value comes back exactly")

    def _require_refusal(self, trial: Trial, cases: Sequence[Case]) -> None:
        with pytest.raises(OwnLensError):
            self._load_cases(trial, cases)

    def _redefine(self, trial: Trial, columns: Mapping[str, str], **changes: Any) -> None:
        trial.contract = self.contract(trial.strategy, columns=dict(columns), **changes)

    def test_a_wide_table(self, trial: Trial) -> None:
        kinds = [(name, kind) for name, kind in EVERY_TYPE.items() if name not in NARROW]
        names = {f"c{n:03}": kinds[n % len(kinds)] for n in range(_WIDE_COLUMNS)}
        self._redefine(trial, {**NARROW, **{name: kind for name, (_, kind) in names.items()}})
        full = sample_rows(_ROWS)
        rows = [
            {**narrow_row(n, day=n % 2), **{name: full[n][source] for name, (source, _) in names.items()}}
            for n in range(_ROWS)
        ]
        table = sample_table(trial.contract, rows)
        trial.replay(trial.plan(table, sequence=1))
        require_rows(trial.landed(), table, f"a table of {len(trial.contract.columns)} columns comes back exactly")

    def test_odd_column_names(self, trial: Trial) -> None:
        refused = read_oddities(self.oddities).columns
        names = [name for name in odd_names() if name not in refused and name not in NARROW]
        self._load_columns(trial, names)
        for name in sorted(refused):
            with pytest.raises(OwnLensError):
                self._load_columns(trial, [*names, name])

    def _load_columns(self, trial: Trial, names: Sequence[str]) -> None:
        self._redefine(trial, {**NARROW, **dict.fromkeys(names, "text?")}, table=f"columns_{len(names)}")
        for version in range(2):
            rows = [
                {**narrow_row(n, day=0, version=version), **{name: f"{name}/{n}/{version}" for name in names}}
                for n in range(version * _ROWS, version * _ROWS + _ROWS)
            ]
            plan = trial.plan(rows, sequence=version + 1)
            trial.replay(plan)
            trial.model.apply(rows)
        require_rows(trial.landed(), trial.expected(), "columns with odd names keep their own values")

    def test_odd_table_names(self, trial: Trial) -> None:
        refused = read_oddities(self.oddities).tables
        tables = [
            replace(trial, contract=replace(trial.contract, table=name, path=f"tests/odd_{n}"))
            for n, name in enumerate(odd_names(every_reserved=20))
            if trial.strategy is self.first_strategy or n % 20 == 0
        ]
        for n, table in enumerate(tables):
            rows = [narrow_row(n, day=0)]
            if table.contract.table in refused:
                with pytest.raises(OwnLensError):
                    table.replay(table.plan(rows, sequence=1))
                continue
            table.load(table.plan(rows, sequence=1), rows)
        for table in tables:
            if table.contract.table not in refused:
                table.require(f"table {table.contract.table!r} holds its own rows")

    first_strategy: ClassVar[Strategy | None] = None
