"""A network, or a store, that fails while sets are staged on S3 and read: no set is lost, doubled or half there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from ownlens_plugins import object_store
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.registry import Registry

from ..minio_admin import MinioAdmin
from ..minio_server import MinioServer, running_minio
from ..proxy import Proxy, Trouble, tcp_proxy
from .staging_rows import WHOLE, extracted, ids, reads, rows, stage

pytestmark = pytest.mark.minio
SECRET = "st4ger'5/s3cr3t@%:"
WITHOUT_PUT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::*"]}],
}


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        server.client().create_bucket(Bucket="staging")
        yield server


@pytest.fixture
def proxy(minio: MinioServer) -> Iterator[Proxy]:
    host, _, port = minio.endpoint.removeprefix("http://").partition(":")
    with tcp_proxy(host, int(port)) as running:
        yield running


@pytest.fixture
def area(minio: MinioServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> StagingArea:
    for name, value in minio.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setattr(object_store, "_ANSWER_SECONDS", 1)
    monkeypatch.setattr(object_store, "_CONNECT_SECONDS", 1)
    return StagingArea(f"s3://staging/{uuid4().hex}", Registry())


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("what", ["manifests/", "part-"])
def test_the_put_of_a_set(area: StagingArea, proxy: Proxy, what: str, trouble: Trouble) -> None:
    stage(area, reads("reference"), rows(1), WHOLE)
    proxy.strike(rf"^PUT [^\r]*{what}".encode(), trouble)
    begin = time.monotonic()
    for _ in range(2):
        try:
            area.stage(reads("reference"), extracted(rows(2, 3)), WHOLE)
            break
        except Retryable:
            continue
    assert proxy.struck
    assert time.monotonic() - begin < 30
    sets = area.manifests("reads")
    assert [manifest.sequence for manifest in sets] == [1, 2]
    assert ids(area, sets[1]) == [2, 3]
    assert area.stage(reads("reference"), extracted(rows(2, 3)), WHOLE) is None


@pytest.mark.parametrize("trouble", Trouble)
def test_a_part_that_is_read(area: StagingArea, proxy: Proxy, trouble: Trouble) -> None:
    manifest = stage(area, reads(), rows(1, 2))
    proxy.strike(rb"^GET [^\r]*part-", trouble)
    assert ids(area, manifest) == [1, 2]
    assert proxy.struck


def test_a_network_that_stays_broken_can_be_tried_again(area: StagingArea, proxy: Proxy) -> None:
    manifest = stage(area, reads(), rows(1, 2))
    proxy.strike(rb"^(GET|PUT) [^\r]*part-", Trouble.RESET, times=100)
    with pytest.raises(Retryable, match=r"^reads: staging could not publish a set: the store does not answer \("):
        stage(area, reads(), rows(3))
    with pytest.raises(Retryable, match=r"part-00000.parquet: the staged part could not be read: the store does not"):
        ids(area, manifest)


def test_a_part_that_is_gone(area: StagingArea, minio: MinioServer) -> None:
    manifest = stage(area, reads(), rows(1, 2))
    bucket, _, key = area.parts(manifest)[0].uri.removeprefix("s3://").partition("/")
    minio.client().delete_object(Bucket=bucket, Key=key)
    with pytest.raises(
        Rejected, match=r"reads/00000001-.*: the staged part is gone from the store; load the table with --f"
    ):
        ids(area, manifest)


def test_a_store_that_refuses_is_final(area: StagingArea, minio: MinioServer, monkeypatch: pytest.MonkeyPatch) -> None:
    admin, user = MinioAdmin(minio), uuid4().hex
    admin.add_user(user, SECRET, WITHOUT_PUT)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", user)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(Rejected, match=r"^reads: staging could not publish .* denies access; grant s3:PutObject"):
        stage(area, reads(), rows(1))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Rejected, match=r"refuses the credentials; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY$"):
        area.latest("reads")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(Rejected, match=r"^reads: staging could not list the staged sets: no credentials were found"):
        area.latest("reads")
    elsewhere = StagingArea("s3://no-such-bucket/x", Registry())
    for name, value in minio.variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Rejected, match="the bucket does not exist; create it or correct the profile's staging"):
        stage(elsewhere, reads(), rows(1))
