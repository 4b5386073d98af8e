"""Ways to reach a server: TLS with an authority of one's own, the bucket in the host's name, and the AWS chain."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from ownlens_plugins.engine.loading import load
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.errors import Rejected, Retryable
from ownlens_plugins.registry import Registry
from ownlens_s3.bucket import Bucket
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination
from tests.certificates import certify
from tests.destinations.s3.loads import Loader, contract_of, left_over
from tests.engine.staging_rows import WHOLE, reads, rows, stage, staged_rows
from tests.minio_admin import MinioAdmin
from tests.minio_server import MinioServer, running_minio
from tests.proxy import Trouble, tcp_proxy

pytestmark = pytest.mark.minio
FORMATS = [("append", "delta"), ("overwrite", "parquet")]
# Nothing resolves lake.example without a name server. But an address is a name too: bucket 127 at host 0.0.1.
DOMAIN, BUCKET_IN_HOST = "0.0.1", "127"
ANYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}],
}


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    folder = tmp_path_factory.mktemp("secure")
    with running_minio(folder, certificates=certify(folder), settings={"MINIO_DOMAIN": DOMAIN}) as server:
        for bucket in ("lake", BUCKET_IN_HOST):
            server.client().create_bucket(Bucket=bucket)
        yield server


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's own settings out."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def require_loads(config: S3Config, folder: Path) -> None:
    """Load in both kinds of table, twice, and read."""
    destination = S3Destination(config)
    destination.check()
    for strategy, form in FORMATS:
        loader = Loader(destination, contract_of(strategy, form, path=f"{form}/table"), folder / form)
        first, second = loader.rows(20), loader.rows(20, first=20)
        loader.load(1, first)
        loader.load(2, second)
        loader.require(*([first] if form == "delta" else []), second)


def somewhere(**settings: Any) -> S3Config:
    return S3Config(**{"uri": f"s3://lake/{uuid4().hex}", **settings})


def test_an_authority_of_one_s_own(secure: MinioServer, tmp_path: Path) -> None:
    require_loads(somewhere(**secure.settings), tmp_path)


def test_the_environment_s_authority(secure: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in secure.variables.items():
        monkeypatch.setenv(name, value)
    require_loads(somewhere(), tmp_path)
    area = StagingArea(f"s3a://lake/{uuid4().hex}", Registry())
    assert staged_rows(area, stage(area, reads("reference"), rows(1, 2), WHOLE)) == rows(1, 2)


def test_an_authority_adds_to_those_of_the_system(
    secure: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process, several stores: each trusts its own authority, and all of them those of the system."""
    destination = S3Destination(somewhere(**{**secure.settings, "ca_file": certify(tmp_path).authority}))
    loader = Loader(destination, contract_of("append"), tmp_path)
    plan = loader.plan(1, loader.rows(1))
    with pytest.raises(Rejected, match="the server's certificate is not trusted"):
        destination.find_commit(plan)
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.authority))  # where delta-rs looks for the system's
    assert destination.find_commit(plan) is None


@pytest.mark.parametrize(("strategy", "form"), FORMATS)
def test_a_certificate_of_a_stranger(secure: MinioServer, tmp_path: Path, strategy: str, form: str) -> None:
    destination = S3Destination(somewhere(**{**secure.settings, "ca_file": certify(tmp_path).authority}))
    loader = Loader(destination, contract_of(strategy, form), tmp_path)
    with pytest.raises(Rejected, match=r"^samples: s3 could not .*certificate is not trusted; .* ca_file$"):
        loader.load(1, loader.rows(1))


def test_the_bucket_in_the_host_s_name(secure: MinioServer, tmp_path: Path) -> None:
    endpoint = secure.endpoint.replace("localhost", DOMAIN)
    prefix = uuid4().hex
    config = S3Config(
        **{**secure.settings, "uri": f"s3a://{BUCKET_IN_HOST}/{prefix}", "endpoint_url": endpoint, "path_style": False}
    )
    require_loads(config, tmp_path)
    found = secure.client().list_objects_v2(Bucket=BUCKET_IN_HOST, Prefix=f"{prefix}/delta/table/_delta_log/")
    # The table, what every reader needs to know of it, two loads.
    assert found["KeyCount"] == 4


@pytest.fixture(params=["variables", "temporary keys", "profile"])
def chain(request: pytest.FixtureRequest, minio: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The AWS chain's ways to find keys."""
    variables = minio.variables
    if request.param == "temporary keys":
        MinioAdmin(minio).add_user("chained", "s3cr3t@%/word", ANYTHING)
        keys = MinioAdmin(minio).temporary_keys("chained", "s3cr3t@%/word")
        variables |= {"AWS_ACCESS_KEY_ID": keys["access_key_id"], "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"]}
        variables |= {"AWS_SESSION_TOKEN": keys["session_token"]}
    if request.param == "profile":
        file = tmp_path / "credentials"
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        file.write_text("\n".join(["[loader]", *(f"{name.lower()} = {variables.pop(name)}" for name in names)]))
        variables |= {"AWS_PROFILE": "loader", "AWS_SHARED_CREDENTIALS_FILE": str(file)}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("chain")
def test_keys_of_the_aws_chain(tmp_path: Path) -> None:
    require_loads(somewhere(allow_http=True), tmp_path)
    area = StagingArea(f"s3://lake/{uuid4().hex}", Registry())
    assert staged_rows(area, stage(area, reads("reference"), rows(1, 2), WHOLE)) == rows(1, 2)


@pytest.mark.parametrize(("strategy", "form"), FORMATS)
def test_no_keys_anywhere(minio: MinioServer, tmp_path: Path, strategy: str, form: str) -> None:
    destination = S3Destination(somewhere(endpoint_url=minio.endpoint, allow_http=True))
    loader = Loader(destination, contract_of(strategy, form), tmp_path)
    with pytest.raises(Rejected, match=r"no credentials were found; set access_key_id .*, or AWS_\* in the environ"):
        loader.load(1, loader.rows(1))


def test_keys_of_the_settings_stand_alone(minio: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment holds for other stores must not mix with them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "another-store")
    require_loads(somewhere(**minio.settings), tmp_path)


def big_rows(loader: Loader) -> pa.Table:
    """Return rows that no compression makes smaller than two parts of an upload."""
    rows = loader.rows(24, days=1)
    place = rows.schema.get_field_index("blob")
    return rows.set_column(place, rows.schema.field(place), pa.array([os.urandom(1 << 20) for _ in range(24)]))


@pytest.mark.parametrize(("strategy", "form"), FORMATS)
def test_big_files_are_uploaded_in_parts(minio: MinioServer, tmp_path: Path, strategy: str, form: str) -> None:
    config = somewhere(**minio.settings)
    loader = Loader(S3Destination(config), contract_of(strategy, form), tmp_path)
    rows = big_rows(loader)
    loader.load(1, rows, parts=1)
    files = [item for item in Bucket(config).list(config.prefix) if item.size > 20_000_000]
    assert len(files) == 1
    assert minio.client().head_object(Bucket="lake", Key=files[0].key)["ETag"].endswith('-3"')
    assert loader.landed()["blob"].combine_chunks().equals(rows["blob"].combine_chunks())


@pytest.mark.parametrize(("strategy", "form"), FORMATS)
def test_an_upload_in_parts_that_breaks_off(minio: MinioServer, tmp_path: Path, strategy: str, form: str) -> None:
    """Its first part got through; what the store keeps of it is no object, and the next run does not mind."""
    host, _, port = minio.endpoint.removeprefix("http://").partition(":")
    with tcp_proxy(host, int(port)) as proxy:
        endpoint = f"http://127.0.0.1:{proxy.port}"
        config = somewhere(**{**minio.settings, "endpoint_url": endpoint, "request_timeout": 2})
        loader = Loader(S3Destination(config), contract_of(strategy, form), tmp_path)
        plan = loader.plan(1, big_rows(loader), parts=1)
        proxy.strike(rb"^PUT [^\r]*partNumber=2", Trouble.RESET, times=100)
        with pytest.raises(Retryable, match="samples: s3 could not write a part: the store does not answer"):
            load(loader.destination, plan)
        assert proxy.struck
        proxy.strike(rb"^PUT [^\r]*partNumber=2", Trouble.RESET, times=0)
        assert load(loader.destination, plan).rows == 24
        assert left_over(loader.destination, plan) == []
    open_uploads = [each["Key"] for each in minio.client().list_multipart_uploads(Bucket="lake").get("Uploads", ())]
    assert not [key for key in open_uploads if key.startswith(config.prefix)]
