"""A contract's `checks`: Great Expectations by name, refused when a store could not answer them, or not alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..contracts import Column, Kind, TableContract
from ..contracts.documents import lines_of
from ..contracts.reading import file_name, segment
from ..errors import Problem, UnknownName
from .asking import Check, Rows
from .catalogue import BOUNDED, OFFERS, OPAQUE, ORDERED, OTHERS, PORTABLE, Offer, inquiry
from .dialects import PostgreSQL
from .keywords import moment_or_number
from .literals import MOMENTS, NUMBERS, TEXTS, number_of, value_of

_CONDITIONS = frozenset({"row_condition", "condition_parser"})


def checks_of(contract: TableContract) -> tuple[list[Check], list[tuple[int, str]]]:
    """Return the checks of a contract, and (place in the list, reason) of those that are refused."""
    checks, refused = [], []
    for place, name, keywords in _entries(contract):
        try:
            checks.append(accepted(contract, name, keywords))
        except (UnknownName, ValueError) as error:
            refused.append((place, str(error) if str(error).startswith(name) else f"{name}: {error}"))
    return checks, refused


def problems_of(contract: TableContract, *, folder: Path | str | None = None) -> list[Problem]:
    """Return everything wrong with a contract's checks, with lines where the contracts' folder is given."""
    refused = checks_of(contract)[1]
    file = f"{segment(contract.domain)}/{file_name(contract.table)}"
    lines = lines_of(Path(folder) / file) if refused and folder is not None else {}
    return [Problem(file, lines.get(("checks", index)), f"checks.{index}: {reason}") for index, reason in refused]


def _entries(contract: TableContract) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    for index, check in enumerate(contract.checks):
        for name, keywords in check.items():
            yield index, name, keywords


def accepted(contract: TableContract, name: str, keywords: Mapping[str, Any]) -> Check:
    """Return a check that every store answers, and answers alike.

    Raises:
        UnknownName: there is no such expectation, keyword, column or severity.
        ValueError: it can never hold, never be evaluated, or the stores would differ.
    """
    offer = _offer(name)
    kept = {key: value for key, value in keywords.items() if value is not None}
    _check_keywords(name, offer, kept)
    columns = [_column(contract, name, column, offer) for column in Check(name, kept).columns]
    _check_ignored(name, offer, kept)
    check = Check(name, kept)
    _check_bounds(check, columns)
    # Whatever else is wrong with it is noticed when its first questions are written.
    next(inquiry(check, Rows(PostgreSQL("t"), {column.name: column for column in contract.columns})))
    return check


def _offer(name: str) -> Offer:
    if name in OFFERS:
        return OFFERS[name]
    near = get_close_matches(name, PORTABLE, n=1, cutoff=0)
    if name in OTHERS:
        raise ValueError(f"{name} does not run alike on every destination; use another, such as {near[0]}")
    raise UnknownName("expectation", name, PORTABLE)


def _check_keywords(name: str, offer: Offer, keywords: Mapping[str, Any]) -> None:
    readers = offer.readers
    for keyword, written in keywords.items():
        if keyword in _CONDITIONS:
            raise ValueError(f"{name}: unknown keyword {keyword!r}: conditions are spelt differently for each store")
        if keyword == "ignore_row_if" and offer.ignored:
            continue
        if keyword not in readers:
            raise UnknownName("keyword", keyword, readers, where=name)
        _read(name, keyword, written, offer)
    for keyword in offer.required:
        if keyword not in keywords:
            raise ValueError(f"{name}: {keyword}: field required")


def _read(name: str, keyword: str, written: Any, offer: Offer) -> None:
    if keyword == "severity" and written not in ("critical", "warning"):
        raise UnknownName("severity", str(written), ("critical", "warning"), where=name)
    try:
        offer.readers[keyword](written)
    except ValueError as error:
        raise ValueError(f"{name}: {keyword}: {error}") from None


def _column(contract: TableContract, name: str, column: str, offer: Offer) -> Column:
    if column not in contract.column_names:
        raise UnknownName("column", column, contract.column_names, where=name)
    found = contract.column(column)
    if found.type.kind not in offer.kinds:
        raise ValueError(f"{name}: {_unsuited(found, offer.kinds)}")
    return found


def _unsuited(column: Column, kinds: frozenset[Kind]) -> str:
    kind = column.type.kind
    if kind in OPAQUE:
        return f"values of the {kind} column {column.name!r} cannot be compared; check for nulls only"
    return f"asks what only {_SUITED[kinds]} can be asked, and {column.name!r} is {column.type}"


_SUITED = {
    NUMBERS: "numbers",
    NUMBERS | MOMENTS: "numbers, dates and timestamps",
    TEXTS: "texts and enums",
    ORDERED: "numbers, dates, times and texts",
}


def _check_ignored(name: str, offer: Offer, keywords: Mapping[str, Any]) -> None:
    if keywords.get("ignore_row_if", offer.ignored) != offer.ignored:
        raise ValueError(f"{name}: ignore_row_if can only be {offer.ignored}, which is what SQL does")


def _check_bounds(check: Check, columns: list[Column]) -> None:
    given = [check.keywords[key] for key in ("min_value", "max_value") if key in check.keywords]
    if not given and check.name in BOUNDED:
        raise ValueError(f"{check.name}: min_value or max_value is required; without a bound it always holds")
    low, high = _ends(check, columns)
    strict = check.keywords.get("strict_min") or check.keywords.get("strict_max")
    if low is None or high is None or low < high or (low == high and not strict):
        return
    written = [check.keywords[key] for key in ("min_value", "max_value")]
    raise ValueError(
        f"{check.name}: min_value {written[0]} is {'not less' if strict else 'greater'} than max_value {written[1]}"
    )


def _ends(check: Check, columns: list[Column]) -> list[Any]:
    readers, kind = OFFERS[check.name].readers, columns[0].type.kind if columns else Kind.INT64
    given = [check.keywords.get(key) for key in ("min_value", "max_value")]
    if readers.get("min_value") is moment_or_number and kind in MOMENTS:
        return [None if written is None else value_of(written, columns[0].type) for written in given]
    exact = Kind.DECIMAL if kind is Kind.DECIMAL else Kind.FLOAT64
    return [None if written is None else number_of(written, exact) for written in given]
