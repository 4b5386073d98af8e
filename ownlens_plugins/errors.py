"""The errors of a load, named by what the engine does about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any


class OwnLensError(Exception):
    """Base of every error raised on purpose. The message is one line: what, where, and the fix."""


class Retryable(OwnLensError):
    """Nothing landed and the same call may succeed later. The engine aborts; the Prefect task retries."""


class Rejected(OwnLensError):
    """The destination refused the data or the schema. The engine aborts and fails with the reason."""


class CommitUnknown(OwnLensError):
    """The commit was sent and no answer came back. The engine asks `find_commit`; it never aborts."""


class StagedSetChanged(OwnLensError):
    """The destination already holds this load id with another digest. The engine fails."""


class DestinationUnavailable(OwnLensError):
    """The plugin is not installed, does not load, or its configuration is wrong. Fails before data moves."""


class SourceInvalid(OwnLensError):
    """The source cannot give what the contract asks for. Fails before anything is staged."""


class Stopped(OwnLensError):
    """The run was told to stop, and this step left off where nothing of it had landed. The next run makes up for it."""


class ValidationFailed(OwnLensError):
    """A critical expectation does not hold for the rows that a load touched."""


class SettingsInvalid(OwnLensError):
    """The connection settings are incomplete or contradict themselves."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a contract, with its place."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


class ContractInvalid(OwnLensError):
    """One or more contracts cannot be used. Carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class UnknownName(OwnLensError):
    """A table, domain, destination or option that nobody knows."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        super().__init__(kind, name)
        self.kind, self.name, self.known, self.where = kind, name, tuple(sorted(known)), where

    def __reduce__(self) -> tuple[Any, ...]:
        return _unknown_name, (self.kind, self.name, self.known, self.where)

    def __str__(self) -> str:
        near = get_close_matches(self.name, self.known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {_some(self.known)}"
        place = f"{self.where}: " if self.where else ""
        return f"{place}unknown {self.kind} {self.name!r}; {hint}"


def _unknown_name(kind: str, name: str, known: tuple[str, ...], where: str) -> UnknownName:
    return UnknownName(kind, name, known, where=where)


def _some(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, and {len(names) - most} more"
