"""A network that loses the answer to the commit, or cannot carry it: the load ends with the truth, and in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from ownlens_plugins.errors import Retryable
from ownlens_plugins.testing.processes import until_done
from ownlens_s3.config import S3Config
from ownlens_s3.destination import S3Destination
from tests.destinations.s3.loads import Loader, contract_of, left_over
from tests.minio_server import MinioServer
from tests.proxy import Proxy, Trouble, tcp_proxy

pytestmark = pytest.mark.minio
CASES = [("append", "delta"), ("upsert", "delta"), ("overwrite", "delta"), ("overwrite", "parquet")]


@pytest.fixture
def proxy(minio: MinioServer) -> Iterator[Proxy]:
    host, _, port = minio.endpoint.removeprefix("http://").partition(":")
    with tcp_proxy(host, int(port)) as running:
        yield running


@pytest.fixture
def distant(minio: MinioServer, proxy: Proxy) -> S3Destination:
    settings = {**minio.settings, "endpoint_url": f"http://127.0.0.1:{proxy.port}"}
    return S3Destination(S3Config(uri=f"s3://lake/{uuid4().hex}", connect_timeout=1, request_timeout=2, **settings))


def _puts(what: str) -> bytes:
    """Return the expression for the head of a request that puts an object."""
    return rf"^PUT [^\r]*{what}".encode()


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize(("strategy", "form"), CASES)
def test_the_put_that_commits(
    distant: S3Destination, proxy: Proxy, tmp_path: Path, strategy: str, form: str, trouble: Trouble
) -> None:
    loader = Loader(distant, contract_of(strategy, form), tmp_path)
    base, more = loader.rows(20), loader.rows(20, first=20)
    loader.load(1, base)
    plan = loader.plan(2, more)
    proxy.strike(_puts("_delta_log/" if form == "delta" else "_ownlens/manifests/"), trouble)
    started = time.monotonic()

    result = until_done(distant, plan)

    assert time.monotonic() - started < 30
    assert proxy.struck
    assert result.rows == 20
    loader.require(*([] if strategy == "overwrite" else [base]), more)
    assert until_done(distant, plan).replayed


@pytest.mark.parametrize("trouble", Trouble)
def test_the_put_of_a_data_file(distant: S3Destination, proxy: Proxy, tmp_path: Path, trouble: Trouble) -> None:
    """All formats write their files alike."""
    loader = Loader(distant, contract_of("append"), tmp_path)
    base, more = loader.rows(20), loader.rows(20, first=20)
    loader.load(1, base)
    plan = loader.plan(2, more)
    proxy.strike(_puts("part-00000002"), trouble)
    started = time.monotonic()
    until_done(distant, plan)
    assert time.monotonic() - started < 30
    assert proxy.struck
    loader.require(base, more)
    assert left_over(distant, plan) == []


@pytest.mark.parametrize("trouble", [Trouble.RESET, Trouble.CUT])
@pytest.mark.parametrize(("strategy", "form"), CASES[:1] + CASES[3:])
def test_a_network_that_stays_broken(
    distant: S3Destination, proxy: Proxy, tmp_path: Path, strategy: str, form: str, trouble: Trouble
) -> None:
    """Every request from then on fails: the load is given up in time, and can be tried again."""
    loader = Loader(distant, contract_of(strategy, form), tmp_path)
    loader.load(1, loader.rows(20))
    proxy.strike(_puts("part-00000002"), trouble, times=1_000)
    started = time.monotonic()
    with pytest.raises(Retryable, match=r"samples: s3 could not .*the store does not answer"):
        loader.load(2, loader.rows(20, first=20))
    assert time.monotonic() - started < 60
    loader.plans.pop(2)
    loader.require(loader.rows(20))
