"""PutRecords requests past botocore's client use the client's proxies and certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from botocore.config import Config as ClientConfig

from tests.inside import watch_direct_requests
from tests.integration.breaking_relay import BreakingRelay
from tests.local_stream import PATIENCE, contents, local, producing


@pytest.fixture(autouse=True)
def put_path() -> None:
    """Take the place of the fixture for all tests, because these need both ways."""


class Case(NamedTuple):
    """secure: TLS to the endpoint. by_proxy: only the proxy reaches the endpoint.

    options: make the producer's options from the proxy's URL and the folder of certificates.
    environment: variables, whose values may contain the same as {url} and {folder}.
    """

    secure: bool
    by_proxy: bool
    options: Callable[[str, Path], dict[str, Any]] = lambda url, folder: {}
    environment: tuple[tuple[str, str], ...] = ()


def by_config(url: str, folder: Path) -> dict[str, Any]:
    return {"botocore_config": ClientConfig(proxies={"http": url, "https": url})}


def by_host(url: str, folder: Path) -> dict[str, Any]:
    return {"proxy_host": "127.0.0.1", "proxy_port": int(url.rpartition(":")[2]), "verify": str(folder / "ca.pem")}


def by_certificate(url: str, folder: Path) -> dict[str, Any]:
    config = ClientConfig(client_cert=(str(folder / "client.pem"), str(folder / "client.key")))
    return {"botocore_config": config, "verify": str(folder / "ca.pem")}


CASES = {
    "proxy of botocore_config": Case(False, True, by_config),
    "proxy of the environment": Case(False, True, environment=(("HTTP_PROXY", "{url}"),)),
    "TLS by proxy_host": Case(True, True, by_host),
    "certificates of the environment": Case(True, False, environment=(("AWS_CA_BUNDLE", "{folder}/ca.pem"),)),
    "certificate of the client": Case(True, False, by_certificate),
}


def tls_context(folder: Path, asks_for_certificate: bool) -> ssl.SSLContext:
    """Return the server's side of TLS. The files of the client's side are in the folder afterwards."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    of_client = authority.issue_cert("client@localhost")
    of_client.private_key_pem.write_to_path(str(folder / "client.key"))
    of_client.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    if asks_for_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


@pytest.mark.parametrize("name", CASES)
def test_a_direct_request_takes_the_clients_way(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    tls = tls_context(tmp_path, "client" in name) if case.secure else None
    direct = watch_direct_requests(monkeypatch)
    with local() as kinesis, BreakingRelay(int(kinesis.endpoint_url.rpartition(":")[2]), tls, case.by_proxy) as relay:
        url = f"http://127.0.0.1:{relay.port}"
        for variable, value in case.environment:
            monkeypatch.setenv(variable, value.format(url=url, folder=tmp_path))
        # With a proxy the endpoint does not exist: the relay responds in its place.
        endpoint = f"http{'s' if case.secure else ''}://localhost:{9 if case.by_proxy else relay.port}"
        options = {"verify": None, **case.options(url, tmp_path)}
        with producing(kinesis, endpoint_url=endpoint, metrics_level="none", **options) as producer:
            for _ in range(4):  # botocore's client makes the first two requests
                producer.put_record("orders", b"x", "k").result(PATIENCE)
        assert len(direct) == 2
        assert contents(kinesis)[b"x"] == 4
