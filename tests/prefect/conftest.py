"""One Prefect server and worker for all tests of deployments, and the alerts of a receiving web server."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.minio_server import binary

from .stack import CANARY, PASSWORDS, Stack, running_stack
from .webhook import Inbox, receiving

NOTIFICATION = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
CustomWebhookNotificationBlock(
    name="inbox", url=sys.argv[1], json_data={"text": "{{subject}} / {{body}}"}
).save("inbox", overwrite=True)
"""
AWS = """
import sys
from prefect_aws import AwsClientParameters, AwsCredentials
AwsCredentials(
    aws_access_key_id="ownlens", aws_secret_access_key=sys.argv[1], region_name="us-east-1",
    aws_client_parameters=AwsClientParameters(endpoint_url=sys.argv[2], use_ssl=False),
).save("lake", overwrite=True)
"""
WRONG = f"{CANARY}wrong"
ALERTS = [
    "ownlens failure",
    "ownlens slowness",
    "ownlens mismatch",
    "ownlens cancellation",
    "ownlens silence of nightly",
    "ownlens silence of hourly-events",
    "ownlens silence of maintain",
]


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    binary()
    # Not below pytest's own folder: another test session closes that to the user whom PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="ownlens-stack-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with running_stack(Path(folder)) as stack:
            yield stack


@pytest.fixture(scope="package")
def inbox(stack: Stack) -> Iterator[Inbox]:
    """The far end of all alerts, made as docs/prefect.md says: a notification block, then the alerts by its name."""
    with receiving() as inbox:
        run_python(stack, "-c", NOTIFICATION, inbox.address)
        said = run_python(stack, "-m", "ownlens_flows.automations", "--notify", "custom-webhook/inbox")
        assert said.splitlines() == ALERTS
        yield inbox


def run_python(stack: Stack, *arguments: str) -> str:
    """Run Python against the stack's server and return what it printed."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="package")
def elsewhere(stack: Stack) -> str:
    """Another database of the warehouse's server, and the block `sqlalchemy-connector/elsewhere` for it."""
    with psycopg.connect(stack.servers.warehouse, autocommit=True) as owner:
        owner.execute("CREATE DATABASE elsewhere TEMPLATE template0")
        owner.execute("GRANT CREATE ON DATABASE elsewhere TO loader")
    server = {"host": "127.0.0.1", "port": stack.servers.ports["postgresql"], "database": "elsewhere"}
    login = {"username": "loader", "password": PASSWORDS["loader"]}
    stack.servers.prefect.save({"sqlalchemy-connector/elsewhere": {**server, **login}})
    return stack.servers.warehouse.replace("dbname=warehouse", "dbname=elsewhere")


@pytest.fixture(scope="package")
def aws_block(stack: Stack) -> str:
    """A block of AWS credentials for the lake's server."""
    run_python(stack, "-c", AWS, PASSWORDS["minio"], f"http://127.0.0.1:{stack.servers.ports['minio']}")
    return "aws-credentials/lake"


@pytest.fixture(scope="package")
def wrong_blocks(stack: Stack) -> dict[str, str]:
    """Blocks for the three stores, each with a password that is not the server's."""
    ports = stack.servers.ports
    clickhouse = {"host": "127.0.0.1", "port": ports["clickhouse"], "user": "loader", "secure": False}
    postgresql = {"host": "127.0.0.1", "port": ports["postgresql"], "database": "warehouse", "username": "loader"}
    minio = {"minio_root_user": "ownlens", "endpoint_url": f"http://127.0.0.1:{ports['minio']}"}
    stack.servers.prefect.save(
        {
            "clickhouse-credentials/wrong": {**clickhouse, "password": WRONG},
            "sqlalchemy-connector/wrong": {**postgresql, "password": WRONG},
            "minio-credentials/wrong": {**minio, "minio_root_password": WRONG},
        }
    )
    kinds = {"clickhouse": "clickhouse-credentials", "postgresql": "sqlalchemy-connector", "s3": "minio-credentials"}
    return {store: f"{kind}/wrong" for store, kind in kinds.items()}
