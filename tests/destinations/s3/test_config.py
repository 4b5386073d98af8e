"""Connection settings, options, and what `check` says about a lake that cannot be used."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import ValidationError

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import CommitUnknown, OwnLensError, Rejected, Retryable
from ownlens_s3.bucket import delta_options
from ownlens_s3.config import S3Config, S3Options
from ownlens_s3.destination import S3Destination
from ownlens_s3.failures import explain
from tests.destinations.s3.loads import Loader, contract_of
from tests.minio_server import MinioServer

KEYS: dict[str, Any] = {"access_key_id": "key", "secret_access_key": "s3cr3t@%/"}


@pytest.fixture(autouse=True)
def _no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("s3://lake/prefix/", "s3://lake/prefix"),
        ("s3a://lake", "s3://lake"),
        ("s3a://lake/a/b", "s3://lake/a/b"),
        ("/tmp/lake/", "/tmp/lake"),
        ("file:///tmp/lake", "/tmp/lake"),
    ],
)
def test_one_spelling_of_a_place(given: str, kept: str) -> None:
    assert S3Config(uri=given).uri == kept


def test_a_relative_folder_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert S3Config(uri="lake").uri == str(tmp_path / "lake")
    assert S3Config(uri="~/lake").uri == str(Path.home() / "lake")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"uri": "gs://lake"}, "uri must be a local folder or s3://bucket/prefix"),
        ({"uri": "s3://"}, "uri must be a local folder"),
        ({"uri": "s3://lake", "access_key_id": "key"}, "set together"),
        ({"uri": "s3://lake", "endpoint_url": "http://minio:9000"}, "allow_http = true"),
        ({"uri": "s3://lake", "bucket": "other"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        S3Config(**settings)


def test_secrets_stay_out_of_texts() -> None:
    config = S3Config(**{"uri": "s3://lake", "session_token": "t0ken", **KEYS})
    for text in (repr(config), str(config), config.model_dump_json()):
        assert "s3cr3t" not in text
        assert "t0ken" not in text
    assert delta_options(config)["AWS_SECRET_ACCESS_KEY"] == KEYS["secret_access_key"]


def test_commits_are_conditional_puts_and_waiting_is_bounded() -> None:
    options = delta_options(S3Config(uri="s3://lake", endpoint_url="https://minio:9000", region="eu-1", **KEYS))
    assert options["aws_conditional_put"] == "etag"
    assert not [name for name in options if "UNSAFE" in name.upper()]
    assert {"timeout", "connect_timeout", "retry_timeout", "max_retries"} <= options.keys()
    assert options["AWS_REGION"] == "eu-1"
    assert (options["AWS_ALLOW_HTTP"], options["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"]) == ("false", "false")


def test_virtual_hosts_carry_the_bucket_for_delta() -> None:
    options = delta_options(S3Config(uri="s3://lake/x", endpoint_url="https://s3.example", path_style=False, **KEYS))
    assert options["AWS_ENDPOINT_URL"] == "https://lake.s3.example"
    assert options["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"] == "true"


def test_the_environment_names_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://elsewhere:9000")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    options = delta_options(S3Config(uri="s3://lake", **KEYS))
    assert (options["AWS_ENDPOINT_URL"], options["AWS_REGION"]) == ("https://elsewhere:9000", "eu-central-1")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"strategy": "append", "format": "parquet"}, "parquet tables can only be overwritten; use format: delta"),
        ({"strategy": "upsert", "format": "json"}, "json tables can only be overwritten"),
        ({"strategy": "overwrite", "format": "json", "compression": "snappy"}, "use zstd, gzip or none"),
        ({"strategy": "overwrite", "format": "parquet", "retention_days": 3}, "retention_days needs format: delta"),
        ({"strategy": "append", "partition": "year"}, "'none', 'day' or 'month'"),
        ({"strategy": "append", "mode": "x"}, "Extra inputs"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        S3Options.model_validate(options)


def test_options_have_the_lake_s_defaults() -> None:
    options = S3Options.model_validate({"strategy": "append"})
    assert (options.format, options.partition, options.compression) == ("delta", "none", "zstd")
    assert options.strategy is Strategy.APPEND


def test_check_is_quiet_about_a_good_lake(destination: S3Destination) -> None:
    destination.check()


def test_check_and_load_refuse_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "lake").touch()
    destination = S3Destination(S3Config(uri=str(tmp_path / "lake")))
    with pytest.raises(Rejected, match="a file stands where a folder is needed; move it"):
        destination.check()
    loader = Loader(destination, contract_of("append"), tmp_path)
    with pytest.raises(Rejected, match=r"^samples: s3 could not .*a file stands where a folder is needed"):
        loader.load(1, loader.rows(1))


def test_check_refuses_a_folder_that_nobody_may_write() -> None:
    with pytest.raises(Rejected, match="the folder is not writable for this user"):
        S3Destination(S3Config(uri="/sys/ownlens-lake")).check()


@pytest.mark.minio
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"secret_access_key": "wr0ng-s3cr3t"}, "the store refuses the credentials; check access_key_id"),
        ({"access_key_id": "nobody"}, "the store refuses the credentials; check access_key_id"),
        ({"uri": "s3://no-such-bucket/x"}, "the bucket does not exist; create it"),
    ],
)
def test_a_server_that_refuses_is_final(
    minio: MinioServer, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    destination = S3Destination(S3Config(**{"uri": "s3://lake/x", **minio.settings, **change}))
    with pytest.raises(Rejected, match=message):
        destination.check()
    for strategy, form in (("append", "delta"), ("overwrite", "parquet")):
        loader = Loader(destination, contract_of(strategy, form), tmp_path)
        with pytest.raises(Rejected, match=message) as caught:
            loader.load(1, loader.rows(1))
        assert "s3cr3t" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.fixture
def deaf_server() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_is_not_there_can_be_tried_again(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    destination = S3Destination(S3Config(uri="s3://lake", endpoint_url=address, allow_http=True, **KEYS))
    with pytest.raises(Retryable, match="the store does not answer"):
        destination.check()
    for strategy, form in (("append", "delta"), ("overwrite", "parquet")):
        loader = Loader(destination, contract_of(strategy, form), tmp_path)
        with pytest.raises(Retryable, match=r"^samples: s3 could not look for the load: the store does not answer"):
            loader.load(1, loader.rows(1))


def test_check_gives_up_on_a_deaf_server(deaf_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ownlens_s3.destination._CHECK_SECONDS", 1)
    destination = S3Destination(S3Config(uri="s3://lake", endpoint_url=deaf_server, allow_http=True, **KEYS))
    begin = time.monotonic()
    with pytest.raises(Retryable, match=r"does not answer \(time-out\)"):
        destination.check()
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), Rejected, "the disk is full"),
        (OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"), Rejected, "disk is full"),
        (OSError("\x1b[31m↳\x1b[0m Server returned 507 <Code>XMinioStorageFull</Code>"), Rejected, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), Rejected, "not writable"),
        (OSError(errno.EROFS, "Read-only file system"), Rejected, "not writable"),
        (OSError("403 Forbidden <Code>AccessDenied</Code>"), Rejected, "denies access"),
        (OSError("<Code>ExpiredToken</Code>"), Rejected, "the credentials have expired; get new ones"),
        (OSError("AWS Error SLOW_DOWN during PutObject"), Retryable, "the store asks for fewer requests"),
        (
            OSError("AWS Error UNKNOWN (HTTP status 429) during PutObject"),
            Retryable,
            "the store asks for fewer requests",
        ),
        (ClientError({"Error": {"Code": "503"}}, "HeadObject"), Retryable, "the store asks for fewer requests"),
        (ClientError({"Error": {"Code": "500"}}, "HeadObject"), Retryable, "the store does not answer"),
        (ClientError({"Error": {"Code": "403"}}, "HeadObject"), Rejected, "denies access; grant s3:GetObject"),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObjects"), Rejected, "grant s3:DeleteObject"),
        (OSError("AWS Error ACCESS_DENIED during CreateMultipartUpload operation"), Rejected, "grant s3:PutObject"),
        (OSError("<Code>RequestTimeTooSkewed</Code>"), Rejected, "the store's clock differs from this machine's"),
        (OSError("error sending request, operation timed out"), Retryable, "time-out"),
        (ValueError("'4111-1111' is not a number"), Rejected, "ValueError; the log has the details"),
        (CommitUnknown("as it is"), CommitUnknown, "as it is"),
    ],
)
def test_what_an_error_means(error: Exception, kind: type[OwnLensError], words: str) -> None:
    meaning = explain(error, "sessions", "write a part")
    assert type(meaning) is kind
    assert words in str(meaning)
    assert "4111" not in str(meaning)
    assert "\n" not in str(meaning)
