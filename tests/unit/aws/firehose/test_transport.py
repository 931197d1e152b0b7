"""Requests to Firehose as they leave the process, responses as they come, and connect()."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

from kplpy import Config
from kplpy.aws.base64_pieces import PIECE
from kplpy.aws.firehose.request_json import put_record_batch_body
from kplpy.aws.firehose.transport import FirehoseTransport
from kplpy.core.batching.joined import DeliveryQueue
from kplpy.core.batching.quota_limiter import QuotaLimiter
from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import batch_of
from kplpy.core.exchange import Exchange, ListingError
from kplpy.core.policy import delivery_policy_of
from kplpy.core.routing.sticky import EVERYWHERE
from tests.core_helpers import item

SEND = "botocore.httpsession.URLLib3Session.send"
ARN = "arn:aws:firehose:eu-west-1:123456789012:deliverystream/logs"
QUEUE = DeliveryQueue(EVERYWHERE, delivery_policy_of(Config()), QuotaLimiter(0.0))


def request(*records: bytes) -> Request:
    return Request([batch_of(QUEUE, [item(data)]) for data in records], 0.0, 30.0)


class Service:
    """Responds to one request after the other, and keeps them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *responses: tuple[int, Any]) -> None:
        self.sent: list[AWSPreparedRequest] = []
        left = iter(responses)

        def send(session: object, sent: AWSPreparedRequest) -> AWSResponse:
            self.sent.append(sent)
            body: Any = sent.body
            if not isinstance(body, bytes):
                b"".join(body)  # as a connection reads it
            status, body = next(left)
            raw = HTTPResponse(BytesIO(json.dumps(body).encode()), preload_content=False)
            return AWSResponse(sent.url, status, HTTPHeaders(), raw)

        monkeypatch.setattr(SEND, send)


def transport(**fields: Any) -> FirehoseTransport:
    return FirehoseTransport(Config(**{"region_name": "eu-west-1", **fields}))


@pytest.fixture(scope="module")
def regional() -> FirehoseTransport:
    """Return a transport for many tests, because making a client takes some tenths of a second."""
    return transport()


@pytest.fixture
def put(regional: FirehoseTransport, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Exchange]:
    """Return a function that puts records, and gets this response."""

    def put(status: int, body: Any, *records: bytes) -> Exchange:
        Service(monkeypatch, (status, body))
        return regional.put_records("logs", ARN, request(*records or (b"x",)))

    return put


def taken(*ids: str, failed: int = 0) -> dict[str, Any]:
    return {"FailedPutCount": failed, "Encrypted": False, "RequestResponses": [{"RecordId": each} for each in ids]}


# --- requests ---


@pytest.mark.parametrize("size", [0, 1, 2, 3, PIECE - 1, PIECE, PIECE + 1, 1_024_000])
def test_the_body_is_what_botocore_would_write(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    batches = [batch_of(QUEUE, [item(each)]) for each in (data[:size], b"a\xff")]
    batches.append(batch_of(QUEUE, [item(b"one\n"), item(b"two\n")]))
    expected = [data[:size], b"a\xff", b"one\ntwo\n"]
    assert json.loads(put_record_batch_body('a"b', batches)) == {
        "DeliveryStreamName": 'a"b',
        "Records": [{"Data": base64.b64encode(each).decode()} for each in expected],
    }


def test_a_request_is_sent_to_the_regions_own_endpoint(
    regional: FirehoseTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(monkeypatch, (200, taken("a", "b")))
    exchange = regional.put_records("logs", ARN, request(b"one", b"two"))
    assert exchange.entries == [{"SequenceNumber": "a"}, {"SequenceNumber": "b"}]
    (sent,) = service.sent
    assert sent.url == "https://firehose.eu-west-1.amazonaws.com/"
    assert sent.headers["X-Amz-Target"] == b"Firehose_20150804.PutRecordBatch"
    assert b"/eu-west-1/firehose/aws4_request" in sent.headers["Authorization"]
    body: Any = sent.body
    assert json.loads(bytes(body))["Records"] == [{"Data": "b25l"}, {"Data": "dHdv"}]


# --- responses ---


def test_refused_records(put: Callable[..., Exchange]) -> None:
    refused = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
    body = {"FailedPutCount": 1, "RequestResponses": [{"RecordId": "a"}, refused]}
    assert put(200, body, b"x", b"y").entries == [{"SequenceNumber": "a"}, refused]


@pytest.mark.parametrize(
    ("status", "code", "maybe_written"),
    [
        (400, "ResourceNotFoundException", False),
        (400, "InvalidArgumentException", False),
        (400, "InvalidKMSResourceException", False),
        (500, "ServiceUnavailableException", True),
        (503, "ServiceUnavailable", True),
    ],
)
def test_an_error_of_the_request(put: Callable[..., Exchange], status: int, code: str, maybe_written: bool) -> None:
    error = put(status, {"__type": code, "message": "why"}).error
    assert error is not None
    assert (error.code, error.message, error.maybe_written) == (code, "why", maybe_written)


def test_a_response_that_contradicts_itself(put: Callable[..., Exchange]) -> None:
    error = put(200, taken("a", failed=1)).error
    assert error is not None
    assert error.code == "MalformedResponseError"
    assert "FailedPutCount is 1, but 0 of 1" in error.message
    assert error.maybe_written


def test_an_endpoint_that_is_not_firehose(put: Callable[..., Exchange]) -> None:
    error = put(400, {"__type": "UnknownOperationException"}).error
    assert error is not None
    assert "does not answer as Firehose does" in error.message
    assert "check firehose_endpoint_url, endpoint_url, AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_FIREHOSE" in error.message


# --- connect() ---


def described(arn: str) -> dict[str, Any]:
    return {"DeliveryStreamDescription": {"DeliveryStreamName": "logs", "DeliveryStreamARN": arn}}


def test_a_delivery_stream_is_described(regional: FirehoseTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(monkeypatch, (200, described(ARN)))
    assert regional.list_shards("logs", ARN) == ()
    assert service.sent[0].headers["X-Amz-Target"] == b"Firehose_20150804.DescribeDeliveryStream"


@pytest.mark.parametrize(("url", "is_missing"), [(None, True), ("http://127.0.0.1:9", False)])
def test_the_account_must_be_that_of_the_arn_except_of_a_stand_in(
    monkeypatch: pytest.MonkeyPatch, url: str | None, is_missing: bool
) -> None:
    Service(monkeypatch, (200, described(ARN.replace("123456789012", "999999999999"))))
    made = transport(endpoint_url=url)
    if not is_missing:
        assert made.list_shards("logs", ARN) == ()
        return
    with pytest.raises(ListingError, match="ResourceNotFoundException: these credentials belong to the account of"):
        made.list_shards("logs", ARN)


def test_the_error_of_a_description(regional: FirehoseTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    Service(monkeypatch, (400, {"__type": "AccessDeniedException", "message": "no"}))
    with pytest.raises(ListingError, match="DescribeDeliveryStream: AccessDeniedException: no"):
        regional.list_shards("logs", ARN)
