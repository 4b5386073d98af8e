"""A server in trouble: what passes is tried again and succeeds, what stays fails at once; nothing is half written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.engine.loading import load
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.testing.processes import until_done
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, contract_of, left_over
from tests.full_disk import full_disk
from tests.minio_admin import MinioAdmin
from tests.minio_server import MinioServer, running_minio

pytestmark = pytest.mark.minio
FORMATS = [("append", "delta"), ("overwrite", "parquet")]
SECRET = "l0ader'5/s3cr3t@%:"
ANYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}],
}
# How a server writes a new object; its network uses other calls.
_CHANGES = "mkdir,mkdirat,rename,renameat,renameat2"
_REQUESTS_AT_ONCE = 2


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A server of its own: it takes two requests at once, and the others wait a tenth of a second."""
    settings = {"MINIO_API_REQUESTS_MAX": str(_REQUESTS_AT_ONCE), "MINIO_API_REQUESTS_DEADLINE": "100ms"}
    with running_minio(tmp_path_factory.mktemp("small"), settings=settings) as server:
        server.client().create_bucket(Bucket="lake")
        server.client().put_object(Bucket="lake", Key="big", Body=bytes(32 << 20))
        yield server


@contextmanager
def no_space(server: MinioServer) -> Iterator[None]:
    """Let the kernel tell the server that the disk is full."""
    with full_disk(server.process, _CHANGES):
        yield


@contextmanager
def no_quota(server: MinioServer) -> Iterator[None]:
    admin = MinioAdmin(server)
    admin.limit("lake", 1)
    try:
        yield
    finally:
        admin.limit("lake", 0)


@contextmanager
def crowded(server: MinioServer) -> Iterator[None]:
    """Use up the requests that the server takes at once, by reading slowly."""
    with ExitStack() as opened:
        for _ in range(_REQUESTS_AT_ONCE):
            opened.enter_context(server.client().get_object(Bucket="lake", Key="big")["Body"]).read(1)
        yield


def started(server: MinioServer, folder: Path, strategy: str, form: str) -> tuple[Loader, LoadPlan]:
    """Return a table with 20 rows, and the plan of 20 more."""
    destination = S3Destination(S3Config(uri=f"s3://lake/{uuid4().hex}", request_timeout=5, **server.settings))
    loader = Loader(destination, contract_of(strategy, form), folder)
    until_done(destination, loader.plan(1, loader.rows(20)))
    return loader, loader.plan(2, loader.rows(20, first=20))


def require_both(loader: Loader) -> None:
    """Check that a normal run brings the second load to its end, and leaves nothing of the attempts before."""
    plan = loader.plans[2]
    until_done(loader.destination, plan)
    loader.require(*([] if plan.strategy.value == "overwrite" else [loader.rows(20)]), loader.rows(20, first=20))
    assert left_over(loader.destination, plan) == []
    assert load(loader.destination, plan).replayed


@pytest.mark.parametrize(("strategy", "form"), FORMATS)
def test_a_full_disk(minio: MinioServer, tmp_path: Path, strategy: str, form: str) -> None:
    """The put that commits finds no space."""
    loader, plan = started(minio, tmp_path, strategy, form)
    with loader.destination.open(plan) as session:
        receipts = [session.writer.write(part) for part in plan.parts]
        with no_space(minio), pytest.raises(Rejected, match=r"^samples: s3 could not commit .* the disk is full; free"):
            session.commit(receipts)
        assert loader.destination.find_commit(plan) is None
        session.abort()
    require_both(loader)


@pytest.mark.parametrize(("strategy", "form"), FORMATS)
def test_a_quota_that_is_used_up(minio: MinioServer, tmp_path: Path, strategy: str, form: str) -> None:
    loader, plan = started(minio, tmp_path, strategy, form)
    with no_quota(minio), pytest.raises(Rejected, match=r"^samples: s3 could not [^\n]* quota is used up; [^\n]*$"):
        load(loader.destination, plan)
    assert loader.destination.find_commit(plan) is None
    require_both(loader)


@pytest.mark.parametrize(("strategy", "form"), FORMATS)
def test_too_many_requests(small: MinioServer, tmp_path: Path, strategy: str, form: str) -> None:
    loader, plan = started(small, tmp_path, strategy, form)
    message = r"^samples: s3 could not [^\n]*: the store asks for fewer requests; run it again[^\n]*$"
    with crowded(small), pytest.raises(Retryable, match=message):
        load(loader.destination, plan)
    require_both(loader)


@pytest.mark.parametrize(("strategy", "form"), FORMATS)
@pytest.mark.parametrize("kind", ["lasting", "temporary"])
def test_keys_that_are_taken_back_while_a_load_runs(
    minio: MinioServer, tmp_path: Path, kind: str, strategy: str, form: str
) -> None:
    loader, plan = started(minio, tmp_path, strategy, form)
    admin, user = MinioAdmin(minio), uuid4().hex
    admin.add_user(user, SECRET, ANYTHING)
    keys = {"access_key_id": user, "secret_access_key": SECRET}
    if kind == "temporary":
        keys = admin.temporary_keys(user, SECRET)
    theirs = S3Destination(S3Config(**{**minio.settings, "uri": loader.destination.config.uri, **keys}))
    with theirs.open(plan) as session:
        receipts = [session.writer.write(part) for part in plan.parts]
        admin.disable(user)
        with pytest.raises(Rejected, match=r"^samples: s3 [^\n]*(credentials|keys are still in use)[^\n]*$") as caught:
            session.commit(receipts)
        session.abort()
    assert not [secret for secret in keys.values() if secret in str(caught.value)]
    require_both(loader)


@pytest.mark.parametrize(("strategy", "form"), FORMATS)
def test_a_token_that_belongs_to_other_keys(minio: MinioServer, tmp_path: Path, strategy: str, form: str) -> None:
    config = S3Config(uri="s3://lake/x", session_token="t0ken", **minio.settings)
    loader = Loader(S3Destination(config), contract_of(strategy, form), tmp_path)
    with pytest.raises(Rejected, match="the store refuses the credentials; check access_key_id") as caught:
        loader.load(1, loader.rows(1))
    assert "t0ken" not in str(caught.value)
