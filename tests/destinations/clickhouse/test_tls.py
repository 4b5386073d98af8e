"""TLS, compression and timeouts of the connection to a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ownlens_clickhouse.client import Store
from ownlens_clickhouse.config import ClickHouseConfig
from ownlens_clickhouse.destination import ClickHouseDestination
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import Rejected
from ownlens_plugins.testing import sample_rows
from ownlens_sandbox.clickhouse_http import ClickHouseServer, start_clickhouse
from tests.certificates import Certificates, certify

from .loads import Loads, narrow


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certify(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[ClickHouseServer]:
    folder = tmp_path_factory.mktemp("tls")
    server = start_clickhouse(
        folder / "engine", tls=(certificates.certificate, certificates.key), log=folder / "log", password="secret"
    )
    yield server
    server.stop()


def _destination(server: ClickHouseServer, **settings: Any) -> ClickHouseDestination:
    wanted = {"host": "127.0.0.1", "port": server.port, "password": "secret", "secure": True, **settings}
    return ClickHouseDestination(ClickHouseConfig.model_validate(wanted))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_load_over_tls(tls_server: ClickHouseServer, certificates: Certificates, tmp_path: Path, host: str) -> None:
    destination = _destination(tls_server, host=host, ca_cert=certificates.authority, database=f"tls_{host[:5]}")
    loads, contract = Loads(destination.config, tmp_path), narrow(Strategy.APPEND)
    assert loads.load(contract, sample_rows(20)).rows == 20
    assert loads.landed(contract) == loads.staged(contract, sample_rows(20))
    destination.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: ClickHouseServer, tmp_path: Path) -> None:
    other = certify(tmp_path)
    for settings in ({}, {"ca_cert": other.authority}):
        destination = _destination(tls_server, **settings)
        with pytest.raises(Rejected) as caught:
            destination.check()
        place = f"127.0.0.1:{tls_server.port}"
        assert str(caught.value) == (
            f"clickhouse: clickhouse at {place} has a certificate that is not trusted or not for this host; "
            "check host and ca_cert"
        )
    _destination(tls_server, verify=False).check()


def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    made = certify(tmp_path, hosts=("elsewhere.example",))
    server = start_clickhouse(tmp_path / "engine", tls=(made.certificate, made.key), log=tmp_path / "log")
    try:
        with pytest.raises(Rejected, match="not trusted or not for this host"):
            _destination(server, ca_cert=made.authority).check()
    finally:
        server.stop()


def test_tls_to_a_server_that_speaks_none(certificates: Certificates) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as plain:
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        config = ClickHouseConfig(
            host="127.0.0.1", port=plain.server_port, secure=True, ca_cert=certificates.authority, user="u"
        )
        with pytest.raises(Rejected, match="does not speak TLS on this port; check port and secure"):
            ClickHouseDestination(config).check()
        plain.shutdown()


def test_an_authority_that_is_not_there(tmp_path: Path) -> None:
    config = ClickHouseConfig(secure=True, ca_cert=tmp_path / "none.pem")
    with pytest.raises(Rejected, match=r"ca_cert .*none\.pem is no file; name the PEM file"):
        ClickHouseDestination(config).check()


@pytest.mark.parametrize(("compression", "sent"), [("lz4", "lz4"), ("zstd", "zstd"), ("gzip", "gzip"), ("none", None)])
def test_compression_is_asked_for(server: dict[str, Any], compression: Any, sent: str | None) -> None:
    store = Store(ClickHouseConfig.model_validate({**server, "compression": compression}))
    with store._pool.client() as client:
        assert client.compression == sent
    assert store.rows("SELECT repeat('x', 1000) FROM numbers(100)")[99] == ("x" * 1000,)
    store.close()


def test_fractions_of_a_second_are_no_error(server: dict[str, Any]) -> None:
    ClickHouseDestination(ClickHouseConfig.model_validate({**server, "connect_timeout": 0.3})).check()
