"""CloudWatch's protocols as botocore speaks them, and kplpy's own metrics."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlencode

import cbor2
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from kplpy.local import LocalKinesis, Model
from kplpy.local.server.service import Service
from tests.http2_client import http2

NOW = 1_700_000_040.0  # at the beginning of a minute
CLOUDWATCH = ServiceModel(Loader().load_service_model("cloudwatch", "service-2"), "cloudwatch")
PROTOCOLS = CLOUDWATCH.metadata.get("protocols", ["query"])


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW + seconds, timezone.utc)


class Client:
    """Calls a Service as botocore would, in one protocol, without sockets."""

    def __init__(self, protocol: str) -> None:
        self.service = Service(Model(), clock=lambda: NOW + 600)
        self.protocol = protocol

    def __call__(self, operation: str, compressed: bool = False, **params: Any) -> dict[str, Any]:
        model = CLOUDWATCH.operation_model(operation)
        request = create_serializer(self.protocol).serialize_to_request(params, model)
        headers, body = request["headers"], request["body"]
        if isinstance(body, dict):  # botocore encodes the fields later
            body = urlencode(body).encode()
        body = gzip.compress(body) if compressed else body
        reply = self.service.reply(
            "POST",
            headers.get("X-Amz-Target", ""),
            headers.get("Content-Type", ""),
            body,
            request["url_path"],
            "gzip" if compressed else "",
        )
        response = {
            "status_code": reply.status,
            "headers": {name.lower(): value for name, value in reply.headers.items()},
            "body": reply.body,
        }
        shape: Any = model.output_shape
        parsed: dict[str, Any] = create_parser(self.protocol).parse(response, shape)
        return parsed


@pytest.fixture(params=PROTOCOLS)
def call(request: pytest.FixtureRequest) -> Callable[..., dict[str, Any]]:
    return Client(request.param)


DIMENSIONS = [{"Name": "StreamName", "Value": "orders & more"}, {"Name": "Shard", "Value": "0"}]


def put(call: Callable[..., dict[str, Any]], *data: dict[str, Any], **arguments: Any) -> None:
    metrics = [{"MetricName": "Errors", "Dimensions": DIMENSIONS, "Unit": "Count", **each} for each in data]
    answer = call("PutMetricData", Namespace="shop", MetricData=metrics, **arguments)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_statistics_of_what_was_put(call: Callable[..., dict[str, Any]]) -> None:
    values = {"SampleCount": 4.0, "Sum": 10.5, "Minimum": 1.0, "Maximum": 6.0}
    put(call, {"Timestamp": at(0), "Value": 2.5}, {"Timestamp": at(30), "StatisticValues": values})
    put(call, {"Timestamp": at(120), "Values": [1.0, 8.0], "Counts": [9.0, 1.0]}, compressed=True)
    answer = call(
        "GetMetricStatistics",
        Namespace="shop",
        MetricName="Errors",
        Dimensions=DIMENSIONS[::-1],
        StartTime=at(0),
        EndTime=at(600),
        Period=60,
        Statistics=["SampleCount", "Sum", "Average", "Minimum", "Maximum"],
        ExtendedStatistics=["p90", "p99.9"],
    )
    assert answer["Label"] == "Errors"
    first, second = sorted(answer["Datapoints"], key=lambda each: each["Timestamp"])
    assert first == {
        "Timestamp": at(0),
        "SampleCount": 5.0,
        "Sum": 13.0,
        "Average": 2.6,
        "Minimum": 1.0,
        "Maximum": 6.0,
        "Unit": "Count",
        "ExtendedStatistics": {"p90": 6.0, "p99.9": 6.0},
    }
    assert second["Timestamp"] == at(120)
    assert second["ExtendedStatistics"] == {"p90": 1.0, "p99.9": 8.0}


def test_metrics_are_listed_and_filtered(call: Callable[..., dict[str, Any]]) -> None:
    put(call, {"Timestamp": at(0), "Value": 1.0}, {"MetricName": "Latency", "Timestamp": at(0), "Value": 1.0})
    put(call, {"Timestamp": at(0), "Value": 1.0, "Dimensions": []})
    metrics = call("ListMetrics")["Metrics"]
    assert len(metrics) == 3
    (only,) = call("ListMetrics", Namespace="shop", MetricName="Errors", Dimensions=[{"Name": "Shard"}])["Metrics"]
    assert (only["Namespace"], only["MetricName"]) == ("shop", "Errors")
    assert sorted(only["Dimensions"], key=str) == sorted(DIMENSIONS, key=str)
    assert call("ListMetrics", Dimensions=[{"Name": "Shard", "Value": "1"}])["Metrics"] == []
    assert call("ListMetrics", Namespace="other")["Metrics"] == []


def test_data_of_several_queries(call: Callable[..., dict[str, Any]]) -> None:
    put(call, {"Timestamp": at(0), "Value": 1.0}, {"Timestamp": at(61), "Value": 3.0})
    metric = {"Namespace": "shop", "MetricName": "Errors", "Dimensions": DIMENSIONS}
    queries = [
        {"Id": "sums", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}},
        {"Id": "most", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "p100"}, "Label": "worst"},
        {"Id": "none", "MetricStat": {"Metric": {**metric, "MetricName": "x"}, "Period": 60, "Stat": "Sum"}},
    ]
    span = {"StartTime": at(0), "EndTime": at(600)}
    results = call("GetMetricData", MetricDataQueries=queries, ScanBy="TimestampAscending", **span)["MetricDataResults"]
    sums, most, none = results
    assert (sums["Id"], sums["Values"], sums["Timestamps"]) == ("sums", [1.0, 3.0], [at(0), at(60)])
    assert (most["Label"], most["Values"]) == ("worst", [3.0])
    assert none["Values"] == []
    descending = call("GetMetricData", MetricDataQueries=queries[:1], **span)["MetricDataResults"]
    assert descending[0]["Values"] == [3.0, 1.0]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"Timestamp": at(-15 * 24 * 3600), "Value": 1.0}, "InvalidParameterValue"),
    ({"Timestamp": at(4 * 3600), "Value": 1.0}, "InvalidParameterValue"),
    ({}, "InvalidParameterCombination"),
    ({"Value": 1.0, "Values": [1.0]}, "InvalidParameterCombination"),
    ({"Values": [1.0, 2.0], "Counts": [1.0]}, "InvalidParameterValue"),
    ({"Values": [1.0], "Counts": [0.0]}, "InvalidParameterValue"),
    ({"Values": [1.0, 2.0], "Counts": [2.0, -1.0]}, "InvalidParameterValue"),
    ({"Values": [1.0] * 151}, "InvalidParameterValue"),
    ({"StatisticValues": {"SampleCount": 0.0, "Sum": 0.0, "Minimum": 0.0, "Maximum": 0.0}}, "InvalidParameterValue"),
    ({"Value": 1e200}, "InvalidParameterValue"),
    ({"Value": 1.0, "Dimensions": [{"Name": "a", "Value": " "}]}, "InvalidParameterValue"),
    ({"Value": 1.0, "Unit": "Apples"}, "ValidationError"),
]


@pytest.mark.parametrize(("datum", "code"), BAD)
def test_a_bad_datum_fails_the_request(call: Callable[..., dict[str, Any]], datum: dict[str, Any], code: str) -> None:
    good = {"MetricName": "Errors", "Value": 1.0}
    answer = call("PutMetricData", Namespace="shop", MetricData=[good, {"MetricName": "Errors", **datum}])
    assert answer["Error"]["Code"] == code
    assert call("ListMetrics")["Metrics"] == []


def test_bad_requests(call: Callable[..., dict[str, Any]]) -> None:
    one = [{"MetricName": "m", "Value": 1.0}]
    assert call("PutMetricData", Namespace="AWS/Kinesis", MetricData=one)["Error"]["Code"] == "InvalidParameterValue"
    many = call("PutMetricData", Namespace="shop", MetricData=one * 1001)
    assert many["Error"]["Code"] == "InvalidParameterValue"
    asked = {"Namespace": "shop", "MetricName": "m", "StartTime": at(0), "EndTime": at(86_460), "Period": 60}
    wide = call("GetMetricStatistics", **asked, Statistics=["Sum"])
    assert wide["Error"]["Code"] == "InvalidParameterCombination"
    assert call("GetMetricStatistics", **asked)["Error"]["Code"] == "MissingParameter"
    odd = call("GetMetricStatistics", **{**asked, "Period": 61}, Statistics=["Sum"])
    assert odd["Error"]["Code"] == "InvalidParameterValue"


def test_faults_of_cloudwatch(call: Client) -> None:
    call.service.model.faults.fail("InternalServiceError", status=500, operation="CloudWatch.PutMetricData")
    answer = call("PutMetricData", Namespace="shop", MetricData=[{"MetricName": "m", "Value": 1.0}])
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("InternalServiceError", 500)


def test_old_data_is_dropped() -> None:
    model = Model()
    datum = {"MetricName": "m", "Value": 1.0}
    for now in (0.0, 25 * 3600.0):
        model.handle("CloudWatch.PutMetricData", {"Namespace": "shop", "MetricData": [datum]}, now)
    asked = {"Namespace": "shop", "MetricName": "m", "StartTime": 0.0, "EndTime": 90_060.0, "Period": 3600}
    answer = model.handle("CloudWatch.GetMetricStatistics", {**asked, "Statistics": ["SampleCount"]}, 90_000.0)
    assert answer["Datapoints"] == [{"Timestamp": 90_000.0, "Unit": "None", "SampleCount": 1.0}]


def test_metrics_that_nobody_puts_any_more_are_dropped() -> None:
    model = Model()
    for hours in range(100):
        datum = {"MetricName": f"m{hours}", "Value": 1.0}
        model.handle("CloudWatch.PutMetricData", {"Namespace": "shop", "MetricData": [datum]}, hours * 3600.0)
    assert 24 <= len(model.cloudwatch.metrics) <= 26


def test_cloudwatch_over_http2() -> None:
    with LocalKinesis(stream=None) as kinesis:
        path = "/service/GraniteServiceVersion20100801/operation/"
        datum = {"MetricName": "m", "Value": 1.0}
        body = cbor2.dumps({"Namespace": "shop", "MetricData": [datum]})
        headers, _ = http2(kinesis.endpoint_url, f"{path}PutMetricData", body, "application/cbor")
        assert (headers[":status"], headers["smithy-protocol"]) == ("200", "rpc-v2-cbor")
        _, body = http2(kinesis.endpoint_url, f"{path}ListMetrics", cbor2.dumps({}), "application/cbor")
        assert cbor2.loads(body)["Metrics"] == [{"Namespace": "shop", "MetricName": "m", "Dimensions": []}]


BROKEN: list[tuple[str, str, bytes]] = [
    ("/service/GraniteServiceVersion20100801/operation/PutMetricData", "", b"\xff"),
    ("/service/GraniteServiceVersion20100801/operation/PutMetricData", "", cbor2.dumps([1])),
    ("/", "GraniteServiceVersion20100801.PutMetricData", b"{"),
    ("/", "", b"Action=GetMetricStatistics&StartTime=yesterday"),
    ("/", "", b"Action=GetMetricStatistics&Dimensions.member.x.Name=a"),
    ("/", "", b"\xff"),
]


@pytest.mark.parametrize(("path", "target", "body"), BROKEN)
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_request_that_cannot_be_read(path: str, target: str, body: bytes, encoding: str) -> None:
    service = Service(Model(), clock=lambda: NOW)
    kind = "" if target or path != "/" else "application/x-www-form-urlencoded"
    content = body if not encoding else gzip.compress(body) if kind else b"no gzip"
    reply = service.reply("POST", target, kind, content, path, encoding)
    assert reply.status == 400
    assert b"SerializationException" in reply.body


@pytest.mark.parametrize("https", [False, True])
def test_one_process_serves_a_producer_and_its_metrics(https: bool) -> None:
    with LocalKinesis(stream="orders", https=https) as kinesis:
        with kinesis.producer(cloudwatch_endpoint_url=kinesis.endpoint_url) as producer:
            producer.put_record("orders", b"7 pears", "customer-42").result(timeout=30)
        client: Any = kinesis.cloudwatch_client()
        metrics = client.list_metrics(MetricName="UserRecordsPut")["Metrics"]
        assert {"Name": "StreamName", "Value": "orders"} in [each for found in metrics for each in found["Dimensions"]]
        metric = min(metrics, key=lambda each: len(each["Dimensions"]))
        now = datetime.now(timezone.utc).timestamp()
        span = {
            "StartTime": datetime.fromtimestamp(now - 600, timezone.utc),
            "EndTime": datetime.fromtimestamp(now + 600, timezone.utc),
        }
        answer = client.get_metric_statistics(**metric, **span, Period=3600, Statistics=["Sum"])
        assert sum(each["Sum"] for each in answer["Datapoints"]) == 1.0
