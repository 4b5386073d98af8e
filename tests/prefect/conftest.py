"""One Prefect server and worker for all tests of deployments, and the alerts of a receiving web server."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .stack import REPOSITORY, Stack, running_stack
from .webhook import Inbox, receiving

BLOCKS = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from pydantic import SecretStr
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
CustomWebhookNotificationBlock(
    name="inbox", url=sys.argv[1], json_data={"text": "{{subject}} / {{body}}"}
).save("inbox", overwrite=True)
SqlAlchemyConnector(
    connection_info=ConnectionComponents(
        driver="postgresql+psycopg", username="postgres", password=SecretStr("canary@%/:'x"), database="postgres",
        query={"host": sys.argv[2]},
    )
).save("warehouse", overwrite=True)
"""


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    # Not below pytest's own folder: another test session closes that to the user whom PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="ownlens-stack-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with running_stack(Path(folder)) as stack:
            yield stack


@pytest.fixture(scope="session")
def inbox(stack: Stack) -> Iterator[Inbox]:
    """The far end of all alerts, made as docs/prefect.md says: a notification block, then the alerts by its name."""
    with receiving() as inbox:
        socket_folder = stack.sandbox.warehouse.rpartition("host=")[2]
        run_python(stack, "-c", BLOCKS, inbox.address, socket_folder)
        said = run_python(stack, "-m", "ownlens_flows.automations", "--notify", "custom-webhook/inbox")
        assert said.splitlines() == ["ownlens failure", "ownlens slowness", "ownlens mismatch"]
        yield inbox


def run_python(stack: Stack, *arguments: str) -> str:
    """Run Python against the stack's server and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, env=stack.environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def config(stack: Stack) -> Path:
    return stack.sandbox.config
