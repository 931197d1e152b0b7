"""Tests PutRecords on both ways, past botocore's client and through it: the same bytes and the same errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from io import BytesIO
from types import SimpleNamespace
from typing import Any, TypeVar

import boto3
import botocore.session
import cbor2
import pytest
from botocore import UNSIGNED
from botocore.awsrequest import AWSResponse
from botocore.config import Config as ClientConfig
from botocore.credentials import RefreshableCredentials
from urllib3 import HTTPResponse

from kplpy import Config
from kplpy.aws.firehose.transport import FirehoseTransport
from kplpy.aws.kinesis.transport import KinesisTransport
from kplpy.aws.transport import ServiceTransport
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange
from tests.http_server import Answer, web_server
from tests.inside import (
    answer_instead_of_sending,
    clock_offsets,
    core_session_of,
    expire_credentials,
    forget_clock_offsets,
    set_credentials,
    use_put_path,
    watch_direct_requests,
)
from tests.unit.aws.firehose.test_transport import request as firehose_request
from tests.unit.aws.kinesis.test_transport import ARN, batch, item

ENTRY = {"SequenceNumber": "1", "ShardId": "shardId-000000000000"}
ACCEPTED: Answer = (200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps({"Records": [ENTRY]}).encode())
IN_CBOR: Answer = (200, {"Content-Type": "application/x-amz-cbor-1.1"}, cbor2.dumps({"Records": [ENTRY]}))


@pytest.fixture(autouse=True)
def put_path() -> None:
    """Take the place of the fixture for all tests. These choose their way."""


def request() -> Request:
    return Request([batch(item(b"x" * 500, "k"))], 0.0, 30.0)


def put(transport: KinesisTransport, name: str = "orders", arn: str | None = None) -> Exchange:
    return transport.put_records(name, arn, request())


def put_first(transport: KinesisTransport, name: str = "orders", arn: str | None = None) -> None:
    """Put as often as botocore's client makes the request: the first is a pattern, the second proves it."""
    for _ in range(2):
        assert put(transport, name, arn).entries == [ENTRY]


Sent = tuple[str, dict[str, str], bytes]


@contextmanager
def requests_of(monkeypatch: pytest.MonkeyPatch, answer: Answer, **options: Any) -> Iterator[tuple[Any, list[Sent]]]:
    """Yield a transport that sends nothing, and its requests: URL, headers and body."""
    transport = KinesisTransport(Config(**{"region_name": "us-east-1", **options}))
    with answered(monkeypatch, transport, answer) as sent:
        yield transport, sent
    transport.close()


AnyTransport = TypeVar("AnyTransport", bound=ServiceTransport)


@contextmanager
def answered(monkeypatch: pytest.MonkeyPatch, transport: ServiceTransport, answer: Answer) -> Iterator[list[Sent]]:
    """Respond to the transport's requests. Yield them."""
    sent: list[Sent] = []

    def respond(made: Any) -> AWSResponse:
        headers = {name: text.decode() if isinstance(text, bytes) else text for name, text in made.headers.items()}
        sent.append((made.url, headers, b"".join(made.body)))
        status, fields, body = answer
        headers_sent: Any = dict(fields)
        return AWSResponse(made.url, status, headers_sent, HTTPResponse(BytesIO(body), preload_content=False))

    assert transport.connect() is None
    with monkeypatch.context() as answering:
        answer_instead_of_sending(answering, transport, respond)
        yield sent


@pytest.fixture(scope="module")
def shared() -> Iterator[KinesisTransport]:
    """Return a transport for many tests, because making a client takes long."""
    transport = KinesisTransport(Config(region_name="us-east-1"))
    yield transport
    transport.close()


class Token:
    """Credentials whose every fetch gives the next account."""

    def __init__(self) -> None:
        self.fetched = 0

    def fetch(self) -> dict[str, str]:
        self.fetched += 1
        ends = datetime.now(timezone.utc) + timedelta(hours=1)
        return {
            "access_key": f"key-{self.fetched}",
            "secret_key": "secret",
            "token": "token",
            "expiry_time": ends.isoformat(),
            "account_id": f"{self.fetched:012}",
        }

    def session(self) -> boto3.Session:
        session = boto3.Session(region_name="us-east-1")
        credentials = RefreshableCredentials.create_from_metadata(self.fetch(), self.fetch, "custom")
        set_credentials(core_session_of(session), credentials)
        return session


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "in CBOR": {"request_format": "cbor"},
    "another endpoint": {"endpoint_url": "https://localhost:4567/path/"},
    "FIPS": {"botocore_config": ClientConfig(use_fips_endpoint=True)},
    "dual stack": {"botocore_config": ClientConfig(use_dualstack_endpoint=True)},
    "an account's endpoint": {"session": "token"},
    "no account's endpoint": {"session": "token", "account_id_endpoint_mode": "disabled"},
    "unsigned": {"botocore_config": ClientConfig(signature_version=UNSIGNED)},
    "user agent": {"botocore_config": ClientConfig(user_agent="agent/1", user_agent_extra="more")},
    "application": {"botocore_config": ClientConfig(user_agent_appid="orders-app")},  # type: ignore[call-arg]
    "core session": {"session": "core"},
}


@pytest.mark.parametrize("arn", [None, ARN], ids=["by name", "by ARN"])
@pytest.mark.parametrize("case", CASES)
def test_a_direct_request_has_the_bytes_of_the_clients(
    case: str, arn: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(CASES[case])
    if "account_id_endpoint_mode" in options:
        monkeypatch.setenv("AWS_ACCOUNT_ID_ENDPOINT_MODE", options.pop("account_id_endpoint_mode"))
    if options.get("session") == "token":
        options["session"] = Token().session()
    if options.get("session") == "core":
        options["session"] = botocore.session.Session()
    # Lambda's trace: each invocation has another.
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "function")
    freeze(monkeypatch)
    direct = watch_direct_requests(monkeypatch)
    answer = IN_CBOR if options.get("request_format") == "cbor" else ACCEPTED
    with requests_of(monkeypatch, answer, **options) as (transport, sent):
        for number in range(3):
            monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root=1-{number}")
            assert put(transport, arn=arn).entries == [ENTRY]
        assert len(direct) == 1
        with monkeypatch.context() as changed:
            use_put_path(changed, "client")
            assert put(transport, arn=arn).entries == [ENTRY]
        assert len(direct) == 1
        assert len(sent) == 4
        assert comparable(sent[2]) == comparable(sent[3])
        assert sent[2][1]["X-Amzn-Trace-Id"] == "Root=1-2"


def freeze(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all signatures have one time, and all requests one ID."""
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now)
    monkeypatch.setattr("botocore.endpoint.uuid", SimpleNamespace(uuid4=lambda: "id"))
    monkeypatch.setattr("kplpy.aws.put_calls.uuid4", lambda: "id")


def comparable(sent: Sent) -> object:
    """Return a request without the order of the user agent's features, which is random in botocore, too."""
    url, headers, body = sent
    agent = re.sub(r"\bm/(\S+)", lambda found: "m/" + ",".join(sorted(found[1].split(","))), headers["User-Agent"])
    return url, headers | {"User-Agent": agent}, body


def test_another_account_has_another_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore before 1.44 has no accounts' endpoints for Kinesis, and then both ways agree, too."""
    token = Token()
    session = token.session()
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED, session=session) as (transport, sent):
        put_first(transport)
        put(transport)
        expire_credentials(monkeypatch, session)
        put_first(transport)
        put(transport)
        assert token.fetched == 2
        assert len(direct) >= 2
        keys = [re.search(r"Credential=([^/]+)", headers["Authorization"]) for _, headers, _ in sent]
        assert [key and key[1] for key in keys] == ["key-1"] * 3 + ["key-2"] * 3
        hosts = [url for url, _, _ in sent]
        use_put_path(monkeypatch, "client")
        put(transport)
        assert len(set(hosts[:3])) == 1
        assert set(hosts[3:]) == {sent[-1][0]}


def test_each_stream_and_format_has_its_first_requests_in_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED) as (transport, sent):
        for _ in range(3):
            for name, arn in [("a", None), ("b", None), ("a", ARN)]:
                assert put(transport, name, arn).error is None
    assert len(sent) == 9
    assert len(direct) == 3


def test_a_hurried_request_closes_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = watch_direct_requests(monkeypatch)
    with requests_of(monkeypatch, ACCEPTED) as (transport, sent):
        put_first(transport)
        transport.hurry(1000.0)
        put(transport)
        assert len(direct) == 1
        assert sent[-1][1]["Connection"] == "close"


# --- responses that are not accepted ---

JSON = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "id"}
HTML = {"Content-Type": "text/html"}
RESPONSES: dict[str, Answer] = {
    "throttled": (400, JSON, b'{"__type": "LimitExceededException", "message": "slow down"}'),
    "refused": (400, JSON, b'{"__type": "ResourceNotFoundException", "message": "no stream"}'),
    "failed": (500, JSON, b'{"__type": "InternalFailure", "message": "failed"}'),
    "refused in CBOR": (
        400,
        {"Content-Type": "application/x-amz-cbor-1.1"},
        cbor2.dumps({"__type": "ResourceNotFoundException", "message": "no stream"}),
    ),
    "too large": (413, HTML, b"<html>413 Request Entity Too Large</html>"),
    "gateway": (502, HTML, b"<html>502</html>"),
    "timeout of a gateway": (408, {}, b""),
    "forbidden": (403, HTML, b"<html>forbidden</html>"),
    "moved": (301, {"Location": "https://elsewhere/"}, b""),
    "web page": (200, HTML, b"<html>welcome</html>"),
    "no body": (200, JSON, b""),
    "cut off": (200, JSON, b'{"Records": ['),
    "a list": (200, JSON, b"[]"),
    "no entries": (200, JSON, b"{}"),
    "JSON as HTML": (200, HTML, b'{"Records": [{"SequenceNumber": "1"}]}'),
    "no content": (204, {}, b""),
}
# The core finds that these have no entries.
WITHOUT_AN_ERROR = {"no body", "cut off", "no entries", "JSON as HTML"}


def on_both_ways(
    monkeypatch: pytest.MonkeyPatch,
    transport: AnyTransport,
    put_with: Callable[[AnyTransport], Exchange],
    answer: Answer,
) -> list[Exchange]:
    """Return what becomes of this answer with botocore's client, and directly."""
    found = []
    for path in ("client", "direct"):
        with monkeypatch.context() as chosen:
            direct = watch_direct_requests(chosen)
            use_put_path(chosen, path)
            with answered(chosen, transport, answer) as sent:
                found.append(put_with(transport))
                assert len(sent) == 1
            assert len(direct) == (path == "direct")
    return found


def seen_of(exchange: Exchange) -> tuple[object, ...] | None:
    """Return what the core looks at in the exchange's error."""
    error = exchange.error
    return None if error is None else (error.code, error.message, error.maybe_written, error.status)


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_is_judged_alike_on_both_ways(
    name: str, shared: KinesisTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for exchange in on_both_ways(monkeypatch, shared, put, RESPONSES[name]):
        cause = exchange.error and exchange.error.cause
        found.append((exchange.entries, seen_of(exchange), repr(cause), getattr(cause, "response", None)))
    assert found[0] == found[1]
    assert (found[0][1] is None) == (name in WITHOUT_AN_ERROR)


# --- Firehose ---

BATCH_ACCEPTED: Answer = (200, JSON, b'{"FailedPutCount": 0, "RequestResponses": [{"RecordId": "1"}]}')


@pytest.fixture(scope="module")
def to_firehose() -> Iterator[FirehoseTransport]:
    transport = FirehoseTransport(Config(region_name="eu-west-1"))
    yield transport
    transport.close()


def put_batch(transport: FirehoseTransport) -> Exchange:
    return transport.put_records("logs", None, firehose_request(b"x"))


def test_a_direct_request_to_firehose_has_the_bytes_of_the_clients(
    to_firehose: FirehoseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze(monkeypatch)
    direct = watch_direct_requests(monkeypatch)
    with answered(monkeypatch, to_firehose, BATCH_ACCEPTED) as sent:
        found = [put_batch(to_firehose).entries for _ in range(3)]
        assert len(direct) == 1
        use_put_path(monkeypatch, "client")
        found.append(put_batch(to_firehose).entries)
        assert len(direct) == 1
    assert [len(each or ()) for each in found] == [1] * 4
    assert comparable(sent[2]) == comparable(sent[3])


@pytest.mark.parametrize("name", ["refused", "failed", "too large", "web page", "no body", "a list", "no entries"])
def test_a_response_of_firehose_is_judged_alike_on_both_ways(
    name: str, to_firehose: FirehoseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanges = on_both_ways(monkeypatch, to_firehose, put_batch, RESPONSES[name])
    found = [(exchange.entries, seen_of(exchange)) for exchange in exchanges]
    assert found[0] == found[1]
    assert found[0][0] is None


# --- the clock ---


@pytest.mark.parametrize("is_learned_by_another", [False, True])
def test_a_refused_signature_is_repeated_with_the_services_time(
    is_learned_by_another: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sender may learn the offset between the signature and its refusal. The request was signed without it."""
    forget_clock_offsets(monkeypatch)
    ahead = 3600.0
    signed: list[datetime] = []

    def answer(headers: Mapping[str, str], body: bytes) -> Answer:
        signed.append(datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc))
        now = datetime.now(timezone.utc)
        if abs(signed[-1] - now - timedelta(seconds=ahead)) < timedelta(minutes=5) or len(signed) <= 2:
            return ACCEPTED
        if is_learned_by_another:
            clock_offsets()[endpoint] = ahead
        fields = JSON | {"Date": formatdate((now + timedelta(seconds=ahead)).timestamp(), usegmt=True)}
        return 400, fields, b'{"__type": "InvalidSignatureException", "message": "Signature expired"}'

    direct = watch_direct_requests(monkeypatch)
    with web_server(answer) as web:
        endpoint = web.url
        transport = KinesisTransport(Config(endpoint_url=web.url, region_name="us-east-1"))
        for _ in range(4):
            assert put(transport).error is None
        transport.close()
    assert len(signed) == 5
    assert len(direct) == 2  # the client repeats the third
    assert signed[4] - signed[2] > timedelta(minutes=50)
