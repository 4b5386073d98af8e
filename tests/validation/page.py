"""docs/checks.md: what a check means, and which expectation every store answers for which type, from the grid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from ownlens_plugins.contracts import Kind, contract_from
from ownlens_plugins.validation.catalogue import OFFERS
from ownlens_plugins.validation.checks import checks_of

from .grid import KINDS, cases_of
from .refusals import COLUMNS, REFUSED

_TEXT = r"""# Checks

`checks` in a contract are expectations by the names and keywords of Great Expectations, with its `mostly` and
`severity` (`critical` fails the validation, `warning` does not). They are asked in SQL of our own
([decision 13](decisions/0013-checks-are-asked-in-our-own-sql.md)): in PostgreSQL and ClickHouse where the rows are, for
the lake in DuckDB over its Arrow batches. So a check means the same in every store, or `ownlens contracts check`
refuses it, with file, line and reason. `ownlens_plugins.validation.build_suite` returns a contract's suite, and
`suite_result` a validation, as Great Expectations' own objects.

This page is made by `make generate`. `tests/validation/test_grid.py` runs each ✓ below in the lake, PostgreSQL and
ClickHouse, on rows for which it must hold and rows for which it must not, against a reference in plain Python: NULL,
NaN, infinities, empty text, accents, emoji, decimals of 38 digits, int64 beyond 2^53, fractions of a second, zones,
no rows, `mostly` at its edge, strict bounds.

## What they mean

- **Missing values** are never compared. A row that lacks one of the columns of a pair or a list is not considered;
  `mostly` counts among the rows that are. Where no row is considered, what is asked of each row holds, and what is
  asked of a minimum, maximum or statistic does not.
- **Numbers** are compared exactly, as the column's type holds them: `max_value: 99.99` holds for a decimal 99.99, and
  `0.1` for a float32 is the float32 next to it. A bound between two values of a type, such as 0.5 for integers, means
  what it says. Quote decimals of more than 15 digits; YAML's numbers would lose the others.
- **NaN** lies outside of every bound and set, equals nothing beside it, and makes a minimum or maximum fail. Among
  distinct values it is one value.
- **Means, medians, sums, deviations and z-scores** are exact for integers and decimals (deviations: to 9 digits). Those
  of floats meet a bound within one part in 10^9 of what was added (float32: 10^6), as each store adds in an order of
  its own. A column with NaN or an infinity has none, so no bound holds.
- **Times** without a zone are UTC for a `timestamptz`; a day is its first microsecond.
- **Lengths** count characters (code points), not bytes.
- **Regular expressions** may match anywhere in the text. `^` and `$` are the ends of the text, `.` is anything but a
  line break, `\d`, `\w` and `\s` are those of ASCII. Look-around, back-references, flags and word boundaries are
  refused.
- **Text** is compared code point by code point, whatever the collation of a column.

## Which column may be asked what

✓ the stores agree · a letter: refused, for the reason below
"""


def checks_page() -> str:
    """Return the page."""
    reasons: dict[str, str] = {}
    table = list(_grid(reasons))
    listed = [f"- **{letter}** {reason}" for reason, letter in reasons.items()]
    return "\n".join([_TEXT, *table, "", *listed, "", *_pairs(), *_refused(), ""])


def _grid(reasons: dict[str, str]) -> Iterator[str]:
    yield f"| expectation | {' | '.join(KINDS)} |"
    yield "|---" * (len(KINDS) + 1) + "|"
    for name in sorted(OFFERS):
        cells = [_cell(name, kind, reasons) for kind in KINDS]
        yield f"| {name.removeprefix('expect_')} | {' | '.join(cells)} |"


def _cell(name: str, kind: Kind, reasons: dict[str, str]) -> str:
    if kind in OFFERS[name].kinds:
        return "✓"
    reason = _reason(name, kind)
    return reasons.setdefault(reason, "abcdefghijk"[len(reasons)])


def _reason(name: str, kind: Kind) -> str:
    other = next(one for one in KINDS if one in OFFERS[name].kinds)
    keywords = next(keywords for case, keywords in cases_of(other) if case == name)
    refused = _refusal({"v": KINDS[kind].type, "w": KINDS[kind].type}, name, keywords)
    assert refused is not None, (name, kind)
    reason = re.sub(rf", and '[vw]' is .*| ?{kind} column '[vw]'", "", refused.partition(": ")[2])
    return reason.replace("values of the ", "its values ").replace("  ", " ")


def _refusal(columns: Mapping[str, str], name: str, keywords: Mapping[str, Any]) -> str | None:
    document = {"table": "t", "domain": "tests", "preset": "events", "key": ["id"], "path": "tests/t"}
    every = {"id": "int64", "n": "int32", "created_at": "timestamptz", **columns}
    refused = checks_of(contract_from({**document, "columns": every, "checks": [{name: keywords}]}))[1]
    return refused[0][1] if refused else None


def _pairs() -> Iterator[str]:
    yield from ("## Columns of different types", "")
    yield "These may stand beside one another in pairs and lists; other types are refused, for they would be converted."
    yield from ("", "| type | and |", "|---|---|")
    name = "expect_column_pair_values_to_be_equal"
    both = {"column_A": "v", "column_B": "w"}
    types = {kind: kinded.type for kind, kinded in KINDS.items() if kind in OFFERS[name].kinds}
    types[Kind.DECIMAL] = "decimal(18,2)"
    fitting: dict[Kind, list[Kind]] = {kind: [] for kind in types}
    for a, b in combinations(types, 2):
        if _refusal({"v": types[a], "w": types[b]}, name, both) is None:
            fitting[a].append(b)
            fitting[b].append(a)
    yield from (f"| {kind} | {', '.join(others)} |" for kind, others in fitting.items() if others)
    yield ""


def _refused() -> Iterator[str]:
    yield from ("## What is refused as well", "", "Each was tried (`tests/validation/refusals.py`).", "")
    yield from ("| check | reason |", "|---|---|")
    for name, keywords, _ in REFUSED:
        reason = _refusal(COLUMNS, name, keywords) or ""
        told = ", ".join(f"{key}: {value}" for key, value in keywords.items()).replace("|", "\\|")
        if reason.startswith(f"{name}: asks what only"):
            continue  # the table says it
        short = reason.removeprefix(f"{name}: ").replace("|", "\\|")
        yield f"| {name.removeprefix('expect_')} `{told}` | {short} |"
