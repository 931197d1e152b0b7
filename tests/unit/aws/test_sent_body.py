"""Tests that the bytes handed to the connection decide whether a request was sent, not the exception."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import exceptions as boto
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

from kplpy import Config
from kplpy.aws.kinesis.transport import KinesisTransport
from kplpy.aws.sent_body import SentBody
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange
from tests.unit.aws.kinesis.test_transport import WITHOUT_A_RESPONSE, batch, item

SEND = "botocore.httpsession.URLLib3Session.send"
MOMENTS = ("before the body", "within the body", "after the body")


def request() -> Request:
    return Request([batch(item(b"x" * 5000, "k"))], 0.0, 30.0)


def sending(**knobs: Any) -> KinesisTransport:
    return KinesisTransport(Config(endpoint_url="http://127.0.0.1:9", region_name="us-east-1", **knobs))


@pytest.fixture(scope="module")
def transport() -> Iterator[KinesisTransport]:
    """Return a transport for many tests: making a client takes half a second."""
    made = sending()
    yield made
    made.close()


def take(body: Any, moment: str) -> None:
    """Read the body as a connection does until this moment."""
    if moment == "within the body":
        assert len(next(iter(body))) == len(body) - 1
    elif moment == "after the body":
        assert b"".join(body) == bytes(body)


def response(url: str, status: int, body: bytes) -> AWSResponse:
    return AWSResponse(url, status, HTTPHeaders(), HTTPResponse(BytesIO(body), preload_content=False))


def test_a_body_is_sent_only_when_its_last_byte_is_handed_over() -> None:
    sent = request()
    pieces = iter(SentBody(b"body", sent))
    assert bytes(next(pieces)) == b"bod"
    marks = [sent.body_sent]
    assert bytes(next(pieces)) == b"y"
    assert [*marks, sent.body_sent] == [False, True]
    assert list(pieces) == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("failure", WITHOUT_A_RESPONSE, ids=lambda each: type(each).__name__)
def test_each_failure_at_each_moment(
    monkeypatch: pytest.MonkeyPatch, transport: KinesisTransport, failure: Exception, moment: str
) -> None:
    def send(self: object, prepared: AWSPreparedRequest) -> AWSResponse:
        take(prepared.body, moment)
        raise failure

    monkeypatch.setattr(SEND, send)
    error = transport.put_records("orders", None, request()).error
    assert error is not None
    assert error.maybe_written is (moment == "after the body")


@pytest.mark.parametrize("moment", ["within the body", "after the body"])
def test_a_response_to_a_part_of_the_body_shows_that_nothing_was_written(
    monkeypatch: pytest.MonkeyPatch, transport: KinesisTransport, moment: str
) -> None:
    def send(self: object, prepared: AWSPreparedRequest) -> AWSResponse:
        take(prepared.body, moment)
        return response(prepared.url, 502, b"<html>bad gateway</html>")

    monkeypatch.setattr(SEND, send)
    error = transport.put_records("orders", None, request()).error
    assert error is not None
    assert error.maybe_written is (moment == "after the body")


def failing_early(monkeypatch: pytest.MonkeyPatch, **knobs: Any) -> Exchange:
    """Return the exchange of a request that has no client or no credentials."""
    monkeypatch.setattr(SEND, lambda *_: pytest.fail("the request was sent"))
    return sending(**knobs).put_records("orders", None, request())


def test_without_a_client_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nope")
    error = failing_early(monkeypatch).error
    assert error is not None
    assert (error.code, error.maybe_written) == ("ProfileNotFound", False)


def test_without_credentials_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/x")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/token")
    error = failing_early(monkeypatch).error
    assert error is not None
    assert (error.code, error.maybe_written) == ("MissingFile", False)


@pytest.mark.parametrize("status", [403, 503])
def test_an_error_of_credentials_says_nothing_about_the_records(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    """Another service, or a proxy in front of it, sent the response before the request."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # of botocore's own requests
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/x")
    (tmp_path / "token").write_text("token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    urls = []

    def send(self: object, prepared: AWSPreparedRequest) -> AWSResponse:
        urls.append(prepared.url)
        return response(prepared.url, status, b"<html/>")

    monkeypatch.setattr(SEND, send)
    error = sending().put_records("orders", None, request()).error
    assert error is not None
    assert "AssumeRoleWithWebIdentity" in error.message
    assert not error.maybe_written
    assert all("sts" in url for url in urls)


def test_a_request_that_is_sent_in_json_after_cbor_was_refused_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[str] = []

    def send(self: object, prepared: Any) -> AWSResponse:
        kinds.append(prepared.headers["Content-Type"].decode())
        if "cbor" in kinds[-1]:
            take(prepared.body, "after the body")
            return response(prepared.url, 415, b"")
        raise boto.EndpointConnectionError(endpoint_url=prepared.url)

    monkeypatch.setattr(SEND, send)
    error = sending(request_format="cbor").put_records("orders", None, request()).error
    assert error is not None
    assert (error.code, error.maybe_written) == ("EndpointConnectionError", False)
    assert kinds == ["application/x-amz-cbor-1.1", "application/x-amz-json-1.1"]


# --- handlers of the application ---


@pytest.fixture
def session() -> Any:
    made = botocore.session.Session()
    made.set_credentials("key", "secret")
    return made


@pytest.mark.parametrize(
    ("status", "body", "maybe_written"),
    [
        (400, {"__type": "ResourceNotFoundException", "message": "so"}, False),
        (500, {"__type": "InternalFailure", "message": "so"}, True),
        (200, {"FailedRecordCount": 0, "Records": [{"SequenceNumber": "1", "ShardId": "s"}]}, None),
    ],
)
def test_a_stub_within_the_process_gets_bytes_and_responds(
    session: Any, status: int, body: dict[str, Any], maybe_written: bool | None
) -> None:
    seen: list[Any] = []

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        seen.append(request.body)
        return response(request.url, status, json.dumps(body).encode())

    session.get_component("event_emitter").register_last("before-send.kinesis.PutRecords", answer)
    exchange = sending(session=session).put_records("orders", None, request())
    assert json.loads(seen[0])["StreamName"] == "orders"
    assert (exchange.error and exchange.error.maybe_written) == maybe_written
    assert exchange.entries == (body.get("Records") if status == 200 else None)


def test_a_body_may_be_sent_again_by_a_handler(monkeypatch: pytest.MonkeyPatch, session: Any) -> None:
    """botocore rewinds the body and signs the request again."""
    bodies: list[bytes] = []

    def send(self: object, prepared: Any) -> AWSResponse:
        bodies.append(b"".join(prepared.body))
        raise boto.ConnectionClosedError(endpoint_url=prepared.url)

    def retry(attempts: int, **_: Any) -> float | None:
        return 0.0 if attempts == 1 else None

    monkeypatch.setattr(SEND, send)
    session.get_component("event_emitter").register_first("needs-retry.kinesis.PutRecords", retry)
    error = sending(session=session).put_records("orders", None, request()).error
    assert error is not None
    assert (error.code, error.maybe_written) == ("ConnectionClosedError", True)
    assert len(bodies) == 2
    assert len(set(bodies)) == 1
