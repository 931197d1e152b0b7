"""Connections that break at any moment of a request: what is said of its records is what the server had of it."""

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

# Of a body that is larger than all buffers between, the end was not handed over.
BEFORE: tuple[Moment, ...] = ("connect", "headers", "within")
AFTER: tuple[Moment, ...] = ("after", "half answer")
WAYS: tuple[Way, ...] = ("close", "reset", "garbage")
LARGE = 7_000_000


class Route(NamedTuple):
    """How requests get to the server."""

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
        # A proxy is asked for a server that is not there: it is the relay that answers.
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
    """Put records until the plan meets one: on a new connection, a listing may be the first. Return data and result."""
    for turn in range(100):
        way.relay.break_next(moment, how)
        data = f"{moment}, {how}, {turn}".encode() + bytes(size)
        result = way.producer.put_record("orders", data, "k").result(PATIENCE)
        if len(result.attempts) > 1:
            return data, result
    raise AssertionError(f"{moment}, {how}: no request was broken")


def check(way: Route, moment: Moment, how: Way, written: bool) -> str:
    """Break one request, and see what its record says. Return the error code of the attempt that failed."""
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
def test_what_the_server_had_whole_is_a_possible_duplicate_and_nothing_else(
    tmp_path: Path, secure: bool, proxy: bool, request_format: str
) -> None:
    codes: dict[Moment, set[str]] = {}
    with route(tmp_path, secure, proxy, request_format=request_format) as way:
        before = (*BEFORE, *(("handshake",) if secure else ()), *(("tunnel",) if secure and proxy else ()))
        for moment in (*before, *AFTER):
            for how in WAYS:
                if secure and how == "reset" and moment in ("connect", "handshake"):
                    continue  # the ssl module of CPython 3.11 leaves the socket open: a ResourceWarning later
                codes.setdefault(moment, set()).add(check(way, moment, how, written=moment in AFTER))
    # What is raised does not tell: this is why the body is watched.
    if secure:
        assert "SSLError" in codes["handshake"] & codes["after"]
    if proxy:
        assert "ProxyConnectionError" in codes["after"]
