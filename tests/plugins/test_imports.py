"""What importing the public package costs: no orchestrator, no Spark, no validation library, no driver, no engine."""

from __future__ import annotations

import subprocess
import sys

import pytest

DRIVERS = {"deltalake", "boto3", "chdb", "clickhouse_connect", "psycopg", "adbc_driver_manager", "sqlalchemy"}
FRAMEWORKS = {"prefect", "pyspark", "great_expectations"}
ENGINE = {"duckdb", "narwhals", "pandas", "polars", "ownlens_plugins.engine", "ownlens_s3", "ownlens_postgresql"}


def loaded_by(program: str) -> set[str]:
    code = f"{program}\nimport sys\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_public_package_loads_nothing_heavy() -> None:
    modules = loaded_by("import ownlens_plugins, ownlens_plugins.registry, ownlens_plugins.settings")
    assert "pyarrow" in modules
    assert not modules & (DRIVERS | FRAMEWORKS | ENGINE)


def test_plugin_modules_load_no_driver_before_they_are_asked_for_their_class() -> None:
    modules = loaded_by("import ownlens_s3, ownlens_postgresql, ownlens_clickhouse")
    assert not modules & DRIVERS


def test_the_frame_loader_brings_the_engine_but_no_orchestrator_and_no_store() -> None:
    modules = loaded_by("from ownlens_plugins import load_frame")
    assert "ownlens_plugins.engine.staging" in modules
    assert not modules & (DRIVERS | FRAMEWORKS)


def test_the_public_package_has_no_other_lazy_names() -> None:
    import ownlens_plugins

    assert all(hasattr(ownlens_plugins, name) for name in ownlens_plugins.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'load_frames'"):
        _ = ownlens_plugins.load_frames
