"""What compose.yaml says, tried without Docker: the roles' script, the profile with its variables, names and ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import load_profile
from ownlens_sandbox.prefect_server import PrefectServer
from ownlens_sandbox.servers import postgresql_programs
from ownlens_sandbox.services import Service, free_port
from tests.postgresql_servers import debian_programs, running_server

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
HOSTILE = "p@ss:w/%'\""
ROLES = ("reader", "loader", "prefect")
DATABASES = ("newsroom", "warehouse", "prefect")


def test_no_password_has_a_default() -> None:
    used = re.findall(r"\$\{(\w+)([^}]*)\}", TEXT)
    assert used
    assert {rest for _, rest in used} == {":?set it in .env"}


def test_docs_name_every_variable_of_the_env_file() -> None:
    told = set(re.findall(r"^(\w+)='…'$", (REPOSITORY / "docs" / "production.md").read_text(), re.M))
    assert told == set(re.findall(r"\$\{(\w+):", TEXT))


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_have_a_version() -> None:
    for name, service in SERVICES.items():
        assert service["image"].count(":") == 1, name
        assert not service["image"].endswith(":latest"), name


def test_services_wait_only_for_services_that_exist() -> None:
    for service in SERVICES.values():
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()
        assert {config["source"] for config in service.get("configs", [])} <= COMPOSE["configs"].keys()
        named = {volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith(".")}
        assert named <= COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", ["prefect", "deployments", "worker"])
def test_telemetry_is_off(name: str) -> None:
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "GX_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    assert quiet.items() <= SERVICES[name]["environment"].items()


def test_the_image_copies_what_exists() -> None:
    recipe = SERVICES["worker"]["build"]["dockerfile_inline"]
    for line in re.findall(r"^COPY (.*)$", recipe, re.M):
        *files, _ = line.split()
        assert all((REPOSITORY / file).exists() for file in files), line
    assert all((REPOSITORY / file).exists() for file in re.findall(r"-r (\S+)", recipe))


def test_the_workers_profile_has_every_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = SERVICES["worker"]
    file = tmp_path / "ownlens.toml"
    file.write_text(COMPOSE["configs"][worker["configs"][0]["source"]]["content"])
    for variable in worker["environment"]:
        if variable.startswith("OWNLENS_") and variable.endswith(("PASSWORD", "KEY")):
            monkeypatch.setenv(variable, HOSTILE)
    profile = load_profile(file=file)
    assert profile.source.password.get_secret_value() == HOSTILE  # type: ignore[union-attr]
    registry = Registry()
    # The image of PostgreSQL has no certificate.
    assert registry.create("postgresql", profile.destinations["postgresql"]).config.tls == "disable"
    for name in ("s3", "postgresql", "clickhouse"):
        config = registry.create(name, profile.destinations[name]).config
        secret = config.secret_access_key if name == "s3" else config.password
        assert secret.get_secret_value() == HOSTILE
        host = SERVICES[{"s3": "minio"}.get(name, name)]
        assert host["healthcheck"]


@pytest.fixture
def new_databases(postgresql_folder: Path) -> Iterator[Path]:
    yield postgresql_folder
    with psycopg.connect(host=str(postgresql_folder), user="postgres", autocommit=True) as admin:
        for name in DATABASES:
            admin.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        for role in ROLES:
            admin.execute(f"DROP ROLE IF EXISTS {role}".encode())


def test_the_roles_script_makes_roles_with_hostile_passwords(new_databases: Path, tmp_path: Path) -> None:
    loader = str(REPOSITORY / "docs" / "postgresql-loader.sql")
    script = COMPOSE["configs"]["roles"]["content"].replace("/opt/ownlens/postgresql-loader.sql", loader)
    passwords = {f"{role.upper()}_PASSWORD": HOSTILE for role in ROLES}
    place = {"PGHOST": str(new_databases), "PATH": f"{postgresql_programs()}:{os.environ['PATH']}"}
    ran = subprocess.run(
        ["sh", "-c", script], env={**os.environ, **place, **passwords}, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    with psycopg.connect(host=str(new_databases), user="loader", dbname="warehouse") as connection:
        may = "SELECT has_schema_privilege('newsroom', 'CREATE'), has_schema_privilege('ownlens', 'CREATE')"
        assert connection.execute(may.encode()).fetchone() == (True, True)
        assert not connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'loader'").fetchone()[0]
    with psycopg.connect(host=str(new_databases), user="postgres") as admin:
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'prefect'"
        assert admin.execute(owner).fetchone() == ("prefect",)
        stored = admin.execute("SELECT rolpassword FROM pg_authid WHERE rolname = ANY(%s)", [list(ROLES)]).fetchall()
    assert all(password.startswith("SCRAM-SHA-256$") for (password,) in stored)


def test_prefects_server_starts_on_postgresql_with_its_password_in_a_variable(tmp_path: Path) -> None:
    """With Debian's PostgreSQL: the wheel's lacks pg_trgm. The address is the file's, but for host and port."""
    address = SERVICES["prefect"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    with running_server(debian_programs(), tls=False) as server:
        with server.connect() as owner:
            owner.execute(sql.SQL("CREATE ROLE prefect LOGIN PASSWORD {}").format(HOSTILE))
            owner.execute("CREATE DATABASE prefect OWNER prefect")
        here = address.replace("postgresql:5432", f"127.0.0.1:{server.port}")
        assert here != address
        prefect = PrefectServer(tmp_path, free_port())
        database = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": here, "PGPASSWORD": HOSTILE}
        service = Service("prefect", tmp_path, signal.SIGINT)
        command = [str(Path(sys.executable).with_name("prefect")), "server", "start", "--port", str(prefect.port)]
        service.start(command, {**prefect.environment, **database})
        try:
            service.wait_until(prefect.answers)
            assert server.sql("SELECT count(*) FROM flow_run", database="prefect") == [(0,)]
        finally:
            service.stop()
