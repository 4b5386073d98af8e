"""What a loader has to be allowed: the policy of docs/lake.md suffices, and a permission that is missing is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import Rejected
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination
from ownlens_s3.maintenance import clean
from tests.destinations.s3.loads import Loader, all_files, contract_of, left_over
from tests.minio_admin import MinioAdmin
from tests.minio_server import MinioServer

pytestmark = pytest.mark.minio
DOCUMENTED = Path(__file__).parents[3] / "docs" / "lake.md"
CASES = [
    ("append", "delta"),
    ("upsert", "delta"),
    ("overwrite", "delta"),
    ("overwrite", "parquet"),
    ("overwrite", "json"),
]
SECRET = "l0ader'5/s3cr3t@%:"


def policy(prefix: str, *, without: str = "") -> dict[str, Any]:
    """Return the documented policy for a prefix of the bucket `lake`, without one permission."""
    found = re.search(r"```json\n(\{\n  \"Version\".*?)```", DOCUMENTED.read_text("utf-8"), re.DOTALL)
    assert found is not None
    text = found[1].replace("BUCKET", "lake").replace("PREFIX", prefix)
    document: dict[str, Any] = json.loads(text)
    for statement in document["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != without]
    document["Statement"] = [statement for statement in document["Statement"] if statement["Action"]]
    return document


class Limited:
    """A user who may only load below one prefix of the bucket, and that user's lake."""

    def __init__(self, server: MinioServer) -> None:
        self.admin, self.user, self.prefix = MinioAdmin(server), uuid4().hex, f"lakes/{uuid4().hex}"
        self.admin.add_user(self.user, SECRET, policy(self.prefix))
        keys = {"access_key_id": self.user, "secret_access_key": SECRET}
        self.destination = S3Destination(S3Config(**{**server.settings, **keys, "uri": f"s3://lake/{self.prefix}"}))

    def take(self, permission: str) -> None:
        self.admin.set_policy(self.user, policy(self.prefix, without=permission))


@pytest.fixture
def limited(minio: MinioServer) -> Limited:
    return Limited(minio)


@pytest.mark.parametrize(("strategy", "form"), CASES)
def test_the_documented_policy_suffices(limited: Limited, tmp_path: Path, strategy: str, form: str) -> None:
    """For loads, a replay, an attempt that is given up, a full refresh, and maintenance."""
    destination = limited.destination
    loader = Loader(destination, contract_of(strategy, form), tmp_path)
    destination.check()
    for number in (1, 2):
        loader.load(number, loader.rows(20, first=20 * number))
    assert loader.load(2, loader.rows(20, first=40)).replayed
    given_up = loader.plan(3, loader.rows(5, first=90))
    with destination.open(given_up) as session:
        session.writer.write(given_up.parts[0])
        session.abort()
    whole = loader.rows(10, version=1)
    plan = loader.plan(4, whole, strategy=Strategy.OVERWRITE)
    loader.load(4, whole, strategy=Strategy.OVERWRITE)
    loader.require(whole)
    assert left_over(destination, plan) == []
    if form == "delta":
        assert clean(destination.delta(loader.contract, plan.options)) == 0  # type: ignore[arg-type]


def test_the_documented_policy_ends_at_the_prefix(limited: Limited, minio: MinioServer, tmp_path: Path) -> None:
    minio.client().put_object(Bucket="lake", Key="secret/of-others", Body=b"1")
    beside = S3Destination(limited.destination.config.model_copy(update={"uri": f"s3://lake/{limited.prefix}-other"}))
    loader = Loader(beside, contract_of("append"), tmp_path)
    with pytest.raises(Rejected, match=r"^samples: s3 could not look for the load: the store denies access; grant s3:"):
        loader.load(1, loader.rows(1))
    client = minio.client(limited.user, SECRET)
    for forbidden in (
        lambda: client.get_object(Bucket="lake", Key="secret/of-others"),
        lambda: client.list_objects_v2(Bucket="lake"),
        lambda: client.delete_object(Bucket="lake", Key="secret/of-others"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            forbidden()


@pytest.mark.parametrize(("strategy", "form"), [("append", "delta"), ("overwrite", "parquet")])
@pytest.mark.parametrize("permission", ["s3:PutObject", "s3:GetObject", "s3:ListBucket"])
def test_a_permission_that_is_missing_is_named(
    limited: Limited, tmp_path: Path, permission: str, strategy: str, form: str
) -> None:
    loader = Loader(limited.destination, contract_of(strategy, form), tmp_path)
    base, more = loader.rows(20), loader.rows(20, first=20)
    loader.load(1, base)
    plan = loader.plan(2, more)
    before = all_files(limited.destination, loader.contract)
    limited.take(permission)
    with pytest.raises(Rejected) as caught:
        loader.load(2, more)
    assert re.fullmatch(rf"samples: s3 could not [^\n]*denies access; grant {permission} [^\n]*", str(caught.value))
    assert SECRET not in str(caught.value)
    limited.take("nothing")
    assert all_files(limited.destination, loader.contract) == before  # at once: nothing was written
    loader.load(2, more)
    loader.require(*([] if strategy == "overwrite" else [base]), more)
    assert left_over(limited.destination, plan) == []


@pytest.mark.parametrize(("strategy", "form"), [("append", "delta"), ("overwrite", "parquet")])
def test_rights_that_go_while_a_load_runs(limited: Limited, tmp_path: Path, strategy: str, form: str) -> None:
    """The put that commits is denied: the load fails with that reason, and nothing of it is visible."""
    loader = Loader(limited.destination, contract_of(strategy, form), tmp_path)
    base, more = loader.rows(20), loader.rows(20, first=20)
    loader.load(1, base)
    plan = loader.plan(2, more)
    with limited.destination.open(plan) as session:
        receipts = [session.writer.write(part) for part in plan.parts]
        limited.take("s3:PutObject")
        with pytest.raises(Rejected, match=r"^samples: s3 could not commit the load: .* grant s3:PutObject"):
            session.commit(receipts)
        session.abort()
    limited.take("nothing")
    assert limited.destination.find_commit(plan) is None
    loader.load(2, more)
    loader.require(*([] if strategy == "overwrite" else [base]), more)
    assert left_over(limited.destination, plan) == []


def test_a_load_without_the_right_to_delete_succeeds_and_says_so(
    limited: Limited, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader = Loader(limited.destination, contract_of("append"), tmp_path)
    limited.take("s3:DeleteObject")
    rows = loader.rows(20)
    loader.load(1, rows)
    loader.require(rows)
    said = "samples: s3 could not clear what is left over: the store denies access; grant s3:DeleteObject"
    assert said in caplog.text
