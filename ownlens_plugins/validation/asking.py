"""A suite as questions to a store: what all checks need to know is asked at once, in as few statements as can be."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..contracts import Column
from .dialects import Dialect


@dataclass(frozen=True)
class Check:
    """An expectation and its keywords, in the contract's own words."""

    name: str
    keywords: Mapping[str, Any]

    @property
    def severity(self) -> str:
        return str(self.keywords.get("severity", "critical"))

    @property
    def columns(self) -> list[str]:
        """The columns that the keywords name, in order."""
        entries = [self.keywords[key] for key in COLUMN_KEYS if key in self.keywords]
        return [column for entry in entries for column in (entry if isinstance(entry, list) else [entry])]


@dataclass(frozen=True)
class Verdict:
    """Whether an expectation holds, and Great Expectations' `result`: counts, never the value of a row."""

    success: bool
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """The rows that are asked about."""

    dialect: Dialect
    columns: Mapping[str, Column]

    def named(self, check: Check, key: str = "column") -> Column:
        return self.columns[check.keywords[key]]

    def value(self, column: Column) -> str:
        return self.dialect.value(column)


COLUMN_KEYS = ("column", "column_A", "column_B", "column_list")
# Yields expressions, is sent their answers (integers and texts), and may ask again. What is wrong with a check's
# keywords is raised before the first question, so that `contracts check` finds it without a store.
Inquiry = Generator[list[str], list[Any], Verdict]
Ask = Callable[[Sequence[str]], list[Any]]
Blame = Callable[[int, "Unanswered"], Exception]


class Unanswered(Exception):
    """The store refused a statement. `reason` is the class of its error, for a message may hold values of rows."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def verdicts(inquiries: Sequence[Inquiry], ask: Ask, blame: Blame) -> list[Verdict]:
    """Answer all inquiries; each round of questions goes to the store together, each question once.

    When the store cannot answer them together they are asked one by one, and `blame` makes the error of the first
    inquiry that it cannot answer.
    """
    found: dict[int, Verdict] = {}
    asked = {place: next(inquiry) for place, inquiry in enumerate(inquiries)}
    while asked:
        answers = _answers(asked, ask, blame)
        asked = dict(_next_round(inquiries, asked, answers, found, blame))
    return [found[place] for place in range(len(inquiries))]


def _answers(asked: Mapping[int, list[str]], ask: Ask, blame: Blame) -> dict[str, Any]:
    wanted = list(dict.fromkeys(question for questions in asked.values() for question in questions))
    try:
        return dict(zip(wanted, ask(wanted), strict=True))
    except Unanswered:
        return {question: answer for place in asked for question, answer in _alone(place, asked[place], ask, blame)}


def _alone(place: int, questions: list[str], ask: Ask, blame: Blame) -> Iterator[tuple[str, Any]]:
    try:
        yield from zip(questions, ask(questions), strict=True)
    except Unanswered as error:
        raise blame(place, error) from None


def _next_round(
    inquiries: Sequence[Inquiry],
    asked: Mapping[int, list[str]],
    answers: Mapping[str, Any],
    found: dict[int, Verdict],
    blame: Blame,
) -> Iterator[tuple[int, list[str]]]:
    for place, questions in asked.items():
        try:
            yield place, inquiries[place].send([answers[question] for question in questions])
        except StopIteration as done:
            found[place] = done.value
        except (ValueError, TypeError, ArithmeticError) as error:
            # The table is not the contract's: where a number was asked for, something else is.
            raise blame(place, Unanswered(type(error).__name__)) from None
