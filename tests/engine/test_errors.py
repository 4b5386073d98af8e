"""Errors cross process borders, and names that nobody knows come with the nearest one that somebody knows."""

from __future__ import annotations

import pickle

import pytest

from ownlens_plugins import errors
from ownlens_plugins.errors import ContractInvalid, OwnLensError, Problem, UnknownName

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OwnLensError)]
PLAIN = [kind for kind in KINDS if kind not in {ContractInvalid, UnknownName}]


@pytest.mark.parametrize("kind", PLAIN)
def test_errors_keep_their_kind_and_line_between_processes(kind: type[OwnLensError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("reads: postgresql: no; do this")))
    assert type(copy) is kind
    assert str(copy) == "reads: postgresql: no; do this"


def test_contract_problems_travel_and_print_one_a_line() -> None:
    error = ContractInvalid([Problem("a.yaml", 3, "no"), Problem("b.yaml", None, "empty")])
    copy = pickle.loads(pickle.dumps(error))
    assert copy.problems == error.problems
    assert str(copy).splitlines() == ["a.yaml:3: no", "b.yaml: empty"]


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("user", ["users", "orders"], "unknown table 'user'; did you mean 'users'?"),
        ("zzz", ["users", "orders"], "unknown table 'zzz'; known: orders, users"),
        ("zzz", [], "unknown table 'zzz'; known: "),
        ("q", [*"abcdefghijklmno"], "unknown table 'q'; known: a, b, c, d, e, f, g, h, i, j, k, l, and 3 more"),
    ],
)
def test_unknown_names_show_the_nearest_or_some_known_ones(name: str, known: list[str], message: str) -> None:
    error = UnknownName("table", name, known)
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == message
    assert str(UnknownName("table", name, known, where="cli")) == f"cli: {message}"
