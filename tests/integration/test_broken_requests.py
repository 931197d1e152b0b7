"""Tests connections that break at any moment of a request: possible_duplicate depends on what the server had."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from kplpy import Producer, RecordResult
from kplpy.local import LocalKinesis
from tests.integration.breaking_relay import BreakingRelay, Moment, Way
from tests.local_stream import PATIENCE, contents, local, producing

# A body larger than all buffers on the way: its end was not handed over.
BEFORE: tuple[Moment, ...] = ("connect", "headers", "within")
AFTER: tuple[Moment, ...] = ("after", "half response")
WAYS: tuple[Way, ...] = ("close", "reset", "garbage")
LARGE = 7_000_000


class Route(NamedTuple):
    """The server, the relay in front of it, and the producer."""

    kinesis: LocalKinesis
    relay: BreakingRelay
    producer: Producer


@contextmanager
def route(tmp_path: Path, secure: bool, proxy: bool, **knobs: Any) -> Iterator[Route]:
    tls = None
    if secure:
        authority = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(tls)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        knobs["verify"] = str(tmp_path / "ca.pem")
    with (
        local(stream=None) as kinesis,
        BreakingRelay(int(kinesis.endpoint_url.rpartition(":")[2]), tls, proxy) as relay,
    ):
        kinesis.handle("CreateStream", {"StreamName": "orders", "ShardCount": 1, "MaxRecordSizeInKiB": 10240})
        # The endpoint does not exist: the relay responds in its place, as the proxy.
        knobs |= {"proxy_host": "127.0.0.1", "proxy_port": relay.port} if proxy else {}
        endpoint = f"{'https' if secure else 'http'}://localhost:{9 if proxy else relay.port}"
        with producing(
            kinesis,
            endpoint_url=endpoint,
            rate_limit=1_000_000,
            max_user_record_size=LARGE + 100,
            metrics_level="none",
            **knobs,
        ) as producer:
            producer.put_record("orders", b"warm", "k").result(PATIENCE)
            yield Route(kinesis, relay, producer)


def broken(way: Route, moment: Moment, how: Way, size: int) -> tuple[bytes, RecordResult]:
    """Put records until one request is broken: the first request may be a listing. Return data and result."""
    for turn in range(100):
        way.relay.break_next(moment, how)
        data = f"{moment}, {how}, {turn}".encode() + bytes(size)
        result = way.producer.put_record("orders", data, "k").result(PATIENCE)
        if len(result.attempts) > 1:
            return data, result
    raise AssertionError(f"{moment}, {how}: no request was broken")


def check(way: Route, moment: Moment, how: Way, written: bool) -> str:
    """Break one request and check its record. Return the error code of the failed attempt."""
    data, result = broken(way, moment, how, 10 if written else LARGE)
    assert len(result.attempts) == 2, (moment, how)
    assert result.possible_duplicate is written, (moment, how, result.attempts)
    assert contents(way.kinesis)[data] == 1 + written, (moment, how)
    return result.attempts[0].error_code or ""


@pytest.mark.parametrize(
    ("secure", "proxy", "request_format"),
    [
        (False, False, "json"),
        (False, True, "json"),
        (True, False, "json"),
        (True, True, "json"),
        (False, False, "cbor"),
    ],
    ids=["http", "http by proxy", "https", "https by proxy", "cbor"],
)
def test_only_a_request_that_the_server_had_whole_is_a_possible_duplicate(
    tmp_path: Path, secure: bool, proxy: bool, request_format: str
) -> None:
    codes: dict[Moment, set[str]] = {}
    with route(tmp_path, secure, proxy, request_format=request_format) as way:
        before = (*BEFORE, *(("handshake",) if secure else ()), *(("tunnel",) if secure and proxy else ()))
        for moment in (*before, *AFTER):
            for how in WAYS:
                if secure and how == "reset" and moment in ("connect", "handshake"):
                    continue  # ssl of CPython 3.11 leaves the socket open: a ResourceWarning later
                codes.setdefault(moment, set()).add(check(way, moment, how, written=moment in AFTER))
    # The same exception comes before and after the whole request, so kplpy watches the body.
    if secure:
        assert "SSLError" in codes["handshake"] & codes["after"]
    if proxy:
        assert "ProxyConnectionError" in codes["after"]
