"""Tests PutMetricData: the content of a call, its credentials, and retries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ClientError, EndpointConnectionError

from kplpy import Config
from kplpy.aws.client import make_cloudwatch_client
from kplpy.aws.cloudwatch import ATTEMPTS, CloudWatch
from kplpy.metrics.catalogue import METRICS
from kplpy.metrics.sample import Sample, Window
from kplpy.metrics.sinks.cloudwatch import MAX_BYTES, MAX_METRICS, PutMetricDataSink, calls


def window(count: int, stream: str = "orders") -> Window:
    samples = [
        Sample("UserRecordsPut", "Count", (("StreamName", stream), ("ShardId", f"shardId-{n:012}")), 2, 1.0, 0.0, 1.0)
        for n in range(count)
    ]
    return Window(0.0, 60.0, tuple(samples))


class Sent(Exception):
    """Raised in place of sending the request."""

    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__()
        body: Any = request.body
        self.body: bytes = body.encode() if isinstance(body, str) else body
        authorization: Any = request.headers["Authorization"]
        self.authorization: str = authorization if isinstance(authorization, str) else authorization.decode()
        self.url = request.url


def sent(config: Config, data: list[dict[str, Any]]) -> Sent:
    client = make_cloudwatch_client(config)

    def send(request: AWSPreparedRequest, **_: object) -> None:
        raise Sent(request)

    client.meta.events.register("before-send.cloudwatch.PutMetricData", send)
    with pytest.raises(Sent) as caught:
        client.put_metric_data(Namespace=config.metrics_namespace, MetricData=data)  # type: ignore[arg-type]
    return caught.value


def config_of(**options: Any) -> Config:
    return Config(region_name="eu-west-1", session=boto3.Session("KINESIS", "secret"), **options)


@pytest.mark.parametrize("count", [0, 1, MAX_METRICS, MAX_METRICS + 1, 3886])
def test_a_call_has_at_most_1000_metrics(count: int) -> None:
    sizes = [len(each) for each in calls(window(count))]
    assert sum(sizes) == count
    assert len(sizes) == -(-count // MAX_METRICS)
    assert max(sizes, default=0) <= MAX_METRICS


def test_a_call_has_at_most_a_megabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DISABLE_REQUEST_COMPRESSION", "true")
    parts = list(calls(window(1500, "é" * 500)))
    assert sum(map(len, parts)) == 1500
    assert max(map(len, parts)) < MAX_METRICS
    assert max(len(sent(config_of(), part).body) for part in parts) <= MAX_BYTES


def test_a_metric_is_a_statistic_set_with_its_dimensions() -> None:
    [[datum]] = calls(window(1))
    assert datum["StatisticValues"] == {"SampleCount": 2.0, "Sum": 1.0, "Minimum": 0.0, "Maximum": 1.0}
    assert datum["Unit"] == METRICS["UserRecordsPut"].unit
    assert [each["Name"] for each in datum["Dimensions"]] == ["StreamName", "ShardId"]


def test_metrics_have_their_own_credentials_and_endpoint() -> None:
    data = next(calls(window(1)))
    assert "Credential=KINESIS/" in sent(config_of(), data).authorization
    request = sent(
        config_of(
            metrics_session=boto3.Session("METRICS", "secret"),
            cloudwatch_endpoint_url="http://127.0.0.1:9",
            endpoint_url="http://127.0.0.1:10",
        ),
        data,
    )
    assert "Credential=METRICS/" in request.authorization
    assert request.url.startswith("http://127.0.0.1:9/")


class Client:
    """A client that raises each of the errors, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def put_metric_data(self, **_: object) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


def refused(code: str, status: int) -> ClientError:
    error: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(error, "PutMetricData")


THROTTLED = refused("Throttling", 400)
UNREACHABLE = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    times: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=times.append))
    return times


def put(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.setattr("kplpy.aws.cloudwatch.make_cloudwatch_client", lambda config: client)
    PutMetricDataSink(CloudWatch(config_of()).put_metric_data).emit(window(1))


@pytest.mark.parametrize("error", [THROTTLED, UNREACHABLE, refused("InternalFailure", 500)])
def test_transient_failures_are_retried(monkeypatch: pytest.MonkeyPatch, slept: list[float], error: Exception) -> None:
    client = Client(error, error)
    put(monkeypatch, client)
    assert client.calls == 3
    assert len(slept) == 2


def test_refused_credentials_are_retried_with_a_new_client(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    clients = [Client(refused("ExpiredToken", 403)), Client()]
    made = iter(clients)
    monkeypatch.setattr("kplpy.aws.cloudwatch.make_cloudwatch_client", lambda config: next(made))
    PutMetricDataSink(CloudWatch(config_of()).put_metric_data).emit(window(1))
    assert [client.calls for client in clients] == [1, 1]


def test_the_number_of_attempts_is_limited(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    client = Client(*[THROTTLED] * 100)
    with pytest.raises(ClientError, match="Throttling"):
        put(monkeypatch, client)
    assert client.calls == ATTEMPTS


def test_a_denied_call_is_not_retried(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    client = Client(refused("AccessDenied", 403))
    with pytest.raises(ClientError, match="AccessDenied"):
        put(monkeypatch, client)
    assert (client.calls, slept) == (1, [])


def test_a_call_that_fails_does_not_stop_the_others() -> None:
    tried: list[int] = []

    def fail_first(data: list[dict[str, Any]]) -> None:
        tried.append(len(data))
        if len(tried) == 1:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        PutMetricDataSink(fail_first).emit(window(2 * MAX_METRICS))
    assert tried == [MAX_METRICS, MAX_METRICS]
