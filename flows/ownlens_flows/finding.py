"""Find the Prefect server of PREFECT_API_URL before anything is touched, or say in one line what stands in the way."""

from __future__ import annotations

import time
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import prefect
from packaging.version import InvalidVersion, Version
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_CLOUD_API_URL, temporary_settings

from ownlens_plugins.errors import OwnLensError

# Seconds: for one answer, and for a server that is only just starting.
BRIEF, PATIENCE = 2.0, 3.0
_EXAMPLE = "such as http://127.0.0.1:4200/api"
_START = "start it (prefect server start), or unset PREFECT_API_URL to load with a temporary server"


def ask_server(seconds: float = BRIEF) -> Exception | None:
    """Ask the Prefect server once whether it is there; return what kept it from answering, if anything did."""
    # Prefect's own client would ask for minutes.
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(httpx_settings={"timeout": seconds}, sync_client=True) as client,
        ):
            return client.api_healthcheck()
    except Exception as error:
        return error


def find_server(url: str) -> None:
    """See that a Prefect server of our major version answers there.

    Raises:
        OwnLensError: it does not, with the cause and what to set.
    """
    _check_address(url)
    until = time.monotonic() + PATIENCE
    while (trouble := ask_server()) is not None:
        status = trouble.response.status_code if isinstance(trouble, PrefectHTTPStatusError) else None
        if status in (401, 403):
            fix = "set PREFECT_API_AUTH_STRING or PREFECT_API_KEY"
            raise OwnLensError(f"Prefect's server at {_shown(url)} refuses this login (HTTP {status}): {fix}")
        if status is not None and status < 500:
            break  # it answers, and knows no such question
        if time.monotonic() > until:
            raise _silent(url, trouble, status)
        time.sleep(0.5)
    if not url.startswith(str(PREFECT_CLOUD_API_URL.value())):
        _check_version(url)


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        well = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well = False
    if not well:
        raise OwnLensError(f"PREFECT_API_URL is no address of a server: write one {_EXAMPLE}, or unset it")


def _silent(url: str, trouble: Exception, status: int | None) -> OwnLensError:
    why = type(trouble).__name__ if status is None else f"HTTP {status}"
    parts = urlsplit(url)
    if "CERTIFICATE_VERIFY_FAILED" in str(trouble):
        why, fix = "its certificate is not trusted", "name the authority in PREFECT_API_SSL_CERT_FILE"
    elif _goes_by_proxy(parts):
        why += f", by way of the proxy in {parts.scheme.upper()}_PROXY"
        fix = f"set NO_PROXY={parts.hostname} to go without it, or {_START}"
    else:
        fix = _START
    return OwnLensError(f"Prefect's server at {_shown(url)} does not answer ({why}): {fix}")


def _goes_by_proxy(parts: SplitResult) -> bool:
    proxies = getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.hostname or "")


def _check_version(url: str) -> None:
    theirs = _version()
    if theirs is None:
        raise OwnLensError(
            f"what answers at {_shown(url)} is not Prefect's API: its address ends in /api, {_EXAMPLE}; "
            "correct PREFECT_API_URL, or unset it to load with a temporary server"
        )
    ours = Version(prefect.__version__)
    if theirs.major != ours.major:
        raise OwnLensError(
            f"Prefect's server at {_shown(url)} is version {theirs}, and this is {ours}: install the same major "
            "version on both sides, or unset PREFECT_API_URL to load with a temporary server"
        )


def _version() -> Version | None:
    with (
        suppress(Exception),
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": BRIEF}, sync_client=True) as client,
    ):
        return _parsed(str(client.api_version()))
    return None


def _parsed(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _shown(url: str) -> str:
    """Return an address without a user and password in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
