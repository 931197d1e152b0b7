"""Tests a machine whose clock is minutes wrong: kplpy learns the service's time from a refusal and signs with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config as ClientConfig

from kplpy import Config, Producer, RejectedError
from kplpy.aws import clock
from kplpy.aws.client import make_cloudwatch_client
from tests.http_server import Answer, web_server
from tests.inside import clock_offset_in, clock_offsets, forget_clock_offsets
from tests.integration.clock_front import Clock, front
from tests.local_stream import PATIENCE, contents, local


@pytest.fixture(autouse=True)
def no_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_clock_offsets(monkeypatch)


def logged_events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    events = [getattr(record, "kplpy", {}) for record in caplog.records]
    return [each for each in events if each.get("event") == "clock_differs"]


@pytest.mark.parametrize("ahead", [600, -600, 3 * 86400])
def test_records_are_delivered_in_spite_of_a_wrong_clock(ahead: int, caplog: pytest.LogCaptureFixture) -> None:
    service_clock = Clock(ahead)
    with local() as kinesis, front(kinesis, service_clock) as web:
        with Producer(region_name="us-east-1", endpoint_url=web.url) as producer:
            for number in range(3):
                result = producer.put_record("orders", b"%d" % number, "k").result(PATIENCE)
                assert len(result.attempts) == 1
                assert not result.possible_duplicate
        assert sum(contents(kinesis).values()) == 3
    # One refusal, or one for each of the two calls that are made at the same time.
    assert service_clock.accepted.count(False) in (1, 2)
    assert all(service_clock.accepted[4:])
    (event,) = logged_events(caplog)
    assert event["seconds"] == pytest.approx(-ahead, abs=5)
    assert event["endpoint"] == web.url
    assert [record.levelno for record in caplog.records if "clock is" in record.getMessage()] == [logging.WARNING]


def test_a_clock_that_is_set_right_later_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    service_clock = Clock(600)
    with (
        local() as kinesis,
        front(kinesis, service_clock) as web,
        Producer(region_name="us-east-1", endpoint_url=web.url) as producer,
    ):
        producer.put_record("orders", b"before", "k").result(PATIENCE)
        service_clock.ahead = 0  # as if this machine's clock was corrected
        assert len(producer.put_record("orders", b"after", "k").result(PATIENCE).attempts) == 1
        assert service_clock.accepted[-2:] == [False, True]
    assert len(logged_events(caplog)) == 1
    assert clock_offsets() == {}


def test_a_second_producer_knows_already(caplog: pytest.LogCaptureFixture) -> None:
    service_clock = Clock(600)
    with local() as kinesis, front(kinesis, service_clock) as web:
        refused = []
        for _ in range(2):
            with Producer(region_name="us-east-1", endpoint_url=web.url) as producer:
                producer.put_record("orders", b"x", "k").result(PATIENCE)
            refused.append(service_clock.accepted.count(False))
    assert refused[0] == refused[1] >= 1
    assert len(logged_events(caplog)) == 1


def test_a_signature_that_is_wrong_for_another_reason_is_not_tried_twice() -> None:
    """As with a wrong secret key: the service's time is this machine's."""
    requests: list[str] = []

    def answer(headers: Mapping[str, str], body: bytes) -> Answer:
        requests.append(headers["X-Amz-Target"].rpartition(".")[2])
        refusal = json.dumps({"__type": "InvalidSignatureException", "message": "does not match"}).encode()
        return 400, {"Content-Type": "application/x-amz-json-1.1", "Date": formatdate(usegmt=True)}, refusal

    with web_server(answer) as web:
        client: Any = botocore.session.Session().create_client("kinesis", "us-east-1", endpoint_url=web.url)
        clock.correct_clock(client)
        with pytest.raises(client.exceptions.ClientError):
            client.list_shards(StreamName="orders")
    assert requests == ["ListShards"]
    assert clock_offsets() == {}


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_a_refusal_without_a_date_has_no_offset(date: str | None) -> None:
    class Response:
        headers = {"Date": date} if date else {}

    assert clock_offset_in(Response(), {"Error": {"Code": "InvalidSignatureException"}}) is None


def test_metrics_are_uploaded_in_spite_of_a_wrong_clock(caplog: pytest.LogCaptureFixture) -> None:
    service_clock = Clock(-1200)

    def answer(headers: Mapping[str, str], body: bytes) -> Answer:
        done = b"{}" if "X-Amz-Target" in headers else b"<PutMetricDataResponse/>"
        return service_clock.refusal(headers) or (200, service_clock.headers(), done)

    with web_server(answer) as web:
        client = make_cloudwatch_client(Config(region_name="us-east-1", cloudwatch_endpoint_url=web.url))
        for _ in range(2):
            client.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 1}])
    assert service_clock.accepted == [False, True, True]
    assert len(logged_events(caplog)) == 1


def test_unsigned_requests_stay_unsigned() -> None:
    with local() as kinesis:
        clock_offsets()[kinesis.endpoint_url] = 600.0
        options = ClientConfig(signature_version=UNSIGNED)
        with Producer(region_name="us-east-1", endpoint_url=kinesis.endpoint_url, botocore_config=options) as producer:
            assert not isinstance(producer.put_record("orders", b"x", "k").exception(PATIENCE), RejectedError)
