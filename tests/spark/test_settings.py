"""The block `[profiles.NAME.spark]`: what it takes, and what it refuses with a fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from ownlens_plugins.engines import FIXED, Engine, Threshold
from ownlens_plugins.errors import OwnLensError, SettingsInvalid
from ownlens_plugins.settings import Profile, load_profile


def profile(tmp_path: Path, block: str, top: str = "") -> Profile:
    file = tmp_path / "ownlens.toml"
    file.write_text(f"[profiles.default]\n{top}\n[profiles.default.spark]\n{block}\n")
    return load_profile(file=file)


def refused(tmp_path: Path, block: str) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        profile(tmp_path, block)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_profile_without_the_block_has_no_cluster_and_decides_by_size(tmp_path: Path) -> None:
    settings = Profile()
    assert settings.spark is None
    assert settings.engine is Engine.AUTO


@pytest.mark.parametrize("master", ["local", "local[4]", "local[*]", "local-cluster[2,1,1024]", "spark://a:1,b:2"])
def test_masters_that_spark_knows(tmp_path: Path, master: str) -> None:
    spark = profile(tmp_path, f'master = "{master}"').spark
    assert spark is not None
    assert spark.place == master


@pytest.mark.parametrize("master", ["spark://host", "http://host:8080", "mesos://a:1", "local[x]", ""])
def test_a_wrong_master_is_refused_with_examples(tmp_path: Path, master: str) -> None:
    assert "spark.master" in (told := refused(tmp_path, f'master = "{master}"'))
    assert "write local[4], spark://host:7077" in told


def test_master_and_remote_are_two_clusters(tmp_path: Path) -> None:
    assert "set one of them" in refused(tmp_path, 'master = "local"\nremote = "sc://host:15002"')


@pytest.mark.parametrize(
    "name",
    ["spark.hadoop.fs.s3a.secret.key", "spark.hadoop.fs.s3a.access.key", "spark.ssl.keyStorePassword", "my.token"],
)
def test_secrets_have_no_place_in_conf(tmp_path: Path, name: str) -> None:
    told = refused(tmp_path, f'conf = {{"{name}" = "hunter2-hunter2"}}')
    assert name in told
    assert "hunter2" not in told


def test_files_that_hold_secrets_are_named(tmp_path: Path) -> None:
    block = 'conf = {"spark.authenticate.secret.file" = "/run/s", "spark.redaction.regex" = "token"}'
    assert profile(tmp_path, block).spark is not None


@pytest.mark.parametrize("name", list(FIXED))
def test_settings_that_change_values_are_ours(tmp_path: Path, name: str) -> None:
    assert f"must stay {FIXED[name]}" in refused(tmp_path, f'conf = {{"{name}" = "other"}}')
    assert profile(tmp_path, f'conf = {{"{name}" = "{FIXED[name]}"}}').spark is not None


def test_numbers_and_booleans_of_toml_are_what_spark_reads(tmp_path: Path) -> None:
    spark = profile(tmp_path, 'conf = {"spark.ui.enabled" = true, "spark.executor.cores" = 2}').spark
    assert spark is not None
    assert spark.conf == {"spark.ui.enabled": "true", "spark.executor.cores": "2"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("5_000_000", Threshold(rows=5_000_000)),
        ('"20000 rows"', Threshold(rows=20_000)),
        ('"1.5 GB"', Threshold(bytes=1_500_000_000)),
        ('"300MB"', Threshold(bytes=300_000_000)),
        ("0", Threshold(rows=0)),
    ],
)
def test_thresholds(tmp_path: Path, written: str, meant: Threshold) -> None:
    spark = profile(tmp_path, f"engine_threshold = {written}").spark
    assert spark is not None
    assert spark.engine_threshold == meant


@pytest.mark.parametrize("written", ['"2 apples"', "true", "-1", '""'])
def test_other_thresholds_are_refused(tmp_path: Path, written: str) -> None:
    assert "write a number of rows" in refused(tmp_path, f"engine_threshold = {written}")


def test_a_misspelt_setting_is_named(tmp_path: Path) -> None:
    assert "did you mean 'spark.engine_threshold'" in refused(tmp_path, "engine_treshold = 1")


def test_an_engine_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(OwnLensError, match="engine"):
        profile(tmp_path, "", top='engine = "flink"')
