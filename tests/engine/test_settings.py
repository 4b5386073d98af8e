"""Profiles: what is not secret comes from the file, what is comes from the environment, and errors show neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from ownlens_plugins.errors import OwnLensError, SettingsInvalid, UnknownName
from ownlens_plugins.settings import FileSourceConfig, PostgreSQLSourceConfig, Profile, load_profile

PROFILES = """
[profiles.default]
staging = "staging"
[profiles.default.source]
host = "db.internal"
database = "news"
user = "loader"
schema = "newsroom"
[profiles.default.destinations.postgresql]
host = "warehouse.internal"
[profiles.files.source]
kind = "files"
folder = "incoming"
[profiles.bare]
"""
PASSWORDS = ["p@ss%w/o:r'd\"", "12345", "true", "null", "1.5", "0123", '["x"]', '{"a": 1}', " spaced "]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OWNLENS_CONFIG", raising=False)
    path = tmp_path / "ownlens.toml"
    path.write_text(PROFILES)
    return path


def line(error: OwnLensError) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_a_profile_is_read_with_its_defaults(file: Path) -> None:
    profile = load_profile(file=file)
    assert isinstance(profile.source, PostgreSQLSourceConfig)
    assert (profile.source.host, profile.source.port, profile.source.db_schema) == ("db.internal", 5432, "newsroom")
    assert (profile.staging, profile.contracts, profile.lag_seconds) == ("staging", "table_configs", 60)
    assert load_profile("files", file=file).source == FileSourceConfig(kind="files", folder="incoming")
    assert load_profile("bare", file=file) == Profile(staging="var/staging/bare")


def test_each_profile_has_a_staging_folder_of_its_own_unless_it_names_one(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("[profiles.default]\n[profiles.dev]\n[profiles.prod]\nstaging = 'kept'\n")
    names = ("default", "dev", "prod")
    assert [load_profile(name, file=file).staging for name in names] == [
        "var/staging/default",
        "var/staging/dev",
        "kept",
    ]
    monkeypatch.setenv("OWNLENS_STAGING", "s3://bucket/all")
    assert {load_profile(name, file=file).staging for name in names} == {"s3://bucket/all"}


@pytest.mark.parametrize("password", PASSWORDS)
def test_secrets_come_from_the_environment_as_they_are(
    file: Path, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("OWNLENS_SOURCE__PASSWORD", password)
    monkeypatch.setenv("OWNLENS_DESTINATIONS__POSTGRESQL__PASSWORD", password)
    profile = load_profile(file=file)
    assert isinstance(profile.source, PostgreSQLSourceConfig)
    assert profile.source.password is not None
    assert profile.source.password.get_secret_value() == password
    assert profile.destinations["postgresql"] == {"host": "warehouse.internal", "password": password}
    assert password not in repr(profile.source)


def test_the_environment_wins_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWNLENS_STAGING", "s3://bucket/staging")
    monkeypatch.setenv("OWNLENS_SOURCE__HOST", "other.internal")
    monkeypatch.setenv("OWNLENS_PLUGINS_BLOCK", "x")
    profile = load_profile(file=file)
    assert profile.staging == "s3://bucket/staging"
    assert isinstance(profile.source, PostgreSQLSourceConfig)
    assert (profile.source.host, profile.source.database) == ("other.internal", "news")


def test_the_file_is_named_by_argument_variable_or_custom(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[profiles.default]\nstaging = "elsewhere"\n')
    monkeypatch.chdir(tmp_path)
    assert load_profile().staging == "staging"
    monkeypatch.setenv("OWNLENS_CONFIG", str(other))
    assert load_profile().staging == "elsewhere"
    assert load_profile(file=file).staging == "staging"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[profiles.default]\nstagin = 'x'", "profiles.default: unknown setting 'stagin'; did you mean 'staging'?"),
        (
            "[profiles.default.source]\nhost='h'\ndatabase='d'\nuser='u'\npasword='s3cret'",
            "profiles.default: unknown setting 'source.pasword'; did you mean 'source.password'?",
        ),
        (
            "[profiles.default.source]\nhost='h'\ndatabase='d'\nuser='u'\nport='s3cret'",
            "profiles.default: source.port: Input should be a valid integer",
        ),
        ("[profiles.default.source]\nkind='files'", "profiles.default: source.folder: Field required"),
        ("[profiles.default.source]\nkind='mysql'", "source: kind must be 'postgresql' or 'files'"),
        ("[profiles.default.source]\nhost='h'\nsslmode='on'", "source.database: Field required"),
        ("[profiles.default]\nmax_workers = 0", "max_workers: Input should be greater than or equal to 1"),
        ("[profiles.default]\nsource = 's3cret'", "source: "),
        ("[profiles.default", "ownlens.toml: "),
        ("", "ownlens.toml: no [profiles.NAME] table"),
        ("profiles = 3", "ownlens.toml: no [profiles.NAME] table"),
    ],
)
def test_wrong_settings_are_one_line_without_values(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsInvalid) as caught:
        load_profile(file=file)
    assert message in line(caught.value)
    assert str(file) in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_missing_file_and_an_unknown_profile_say_what_to_do(file: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="does not exist; write one, or name it with --config or OWNLENS_CONFIG"):
        load_profile(file=tmp_path / "none.toml")
    with pytest.raises(UnknownName, match="unknown profile 'defualt'; did you mean 'default'"):
        load_profile("defualt", file=file)
    with pytest.raises(SettingsInvalid):
        load_profile(file=tmp_path)
