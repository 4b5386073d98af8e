"""No secret leaves in text, however it is spelled."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownlens_plugins.engine.scrubbing import MASK, Scrubber, secrets_of
from ownlens_plugins.settings import Profile

from .test_settings import PASSWORDS

LONG = [password for password in PASSWORDS if len(password) >= 4]


@pytest.mark.parametrize("secret", LONG)
@pytest.mark.parametrize(
    "spell",
    [str, lambda s: quote(s, safe=""), quote_plus, repr, json.dumps, lambda s: f"postgresql://u:{quote(s)}@h/db"],
)
def test_known_secrets_are_masked_in_every_spelling(secret: str, spell: object) -> None:
    text = spell(secret)  # type: ignore[operator]
    scrubbed = Scrubber([secret]).text(f"cannot connect with {text} to h")
    assert MASK in scrubbed
    for form in (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]):
        assert form not in scrubbed


@given(st.text(st.characters(exclude_characters="*"), min_size=4), st.text(), st.text())
def test_any_secret_is_masked_anywhere(secret: str, before: str, after: str) -> None:
    assert secret not in Scrubber([secret]).text(before + secret + after)


def test_passwords_in_urls_are_masked_without_being_known() -> None:
    scrubbed = Scrubber([]).text("postgresql://user:hunter2@host/db and s3://key:abc/def@host, http://host/path:1@x")
    assert "hunter2" not in scrubbed
    assert "postgresql://user:***@host/db" in scrubbed


def test_a_secret_inside_another_leaves_nothing_of_the_longer() -> None:
    assert Scrubber(["abcd", "abcdefgh"]).text("x abcdefgh y") == f"x {MASK} y"


def test_errors_are_one_line_and_traces_are_masked() -> None:
    def fail() -> None:
        try:
            raise OSError("inner hunter22")
        except OSError as inner:
            raise ValueError("first\n  second hunter22") from inner

    scrubber = Scrubber(["hunter22"])
    with pytest.raises(ValueError, match="second") as caught:
        fail()
    assert scrubber.line(caught.value) == f"first second {MASK}"
    trace = scrubber.trace(caught.value)
    assert "inner" in trace
    assert "hunter22" not in trace
    assert "test_scrubbing.py" in trace
    assert scrubber.line(ValueError()) == "ValueError"


def test_a_secret_with_blanks_does_not_slip_through_the_folding_of_lines() -> None:
    assert Scrubber(["two  blanks\n"]).line(ValueError("with two  blanks\n in it")) == f"with {MASK} in it"


def test_secrets_are_found_wherever_settings_hold_them() -> None:
    profile = Profile.model_validate(
        {
            "source": {"host": "h", "database": "d", "user": "u", "password": "one-secret"},
            "destinations": {
                "s3": {"uri": "s3://b", "secret_access_key": "two-secret", "nested": {"token": "three-secret"}},
                "lite": {"path": "not-a-secret"},
            },
        }
    )
    assert sorted(secrets_of(profile)) == ["one-secret", "three-secret", "two-secret"]
