"""The agent's metrics in CloudWatch: namespace, names, dimensions and values, as PutMetricData gets them."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from kplpy import Config, StreamTotals
from kplpy.agent.flow import Counts, Flow
from kplpy.agent.metrics import AgentMetrics
from kplpy.agent.settings import AgentSettings, FlowSettings
from kplpy.agent.tailing import FileStatus


class FakeTailer:
    def __init__(self) -> None:
        self.status = [FileStatus("/a", 10, 20, 100, True), FileStatus("/b", 5, 5, 5, True)]

    def files(self) -> list[FileStatus]:
        return self.status


class FakeFlow:
    """What AgentMetrics reads of a flow."""

    def __init__(self, settings: FlowSettings) -> None:
        self.settings = settings
        self.stream = settings.stream
        self.counts = Counts(parsed=3, dropped=1)
        self.tailer = FakeTailer()

    def skipped(self) -> tuple[int, int, str]:
        return 2, 0, ""


FLOW = FlowSettings("kinesis:orders:/a", "/a", "kinesis", "orders")
TOTALS = StreamTotals(
    kinesis_records_put=90,
    kinesis_bytes_put=900,
    kinesis_records_sent=100,
    put_records_requests=4,
    requests_failed=1,
    entries_throttled=7,
    entries_failed=3,
)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the arguments of the calls of PutMetricData."""
    calls: list[Any] = []

    class Client:
        def put_metric_data(self, **arguments: Any) -> None:
            calls.append(arguments)

    monkeypatch.setattr("kplpy.aws.cloudwatch.make_cloudwatch_client", lambda config: Client())
    return calls


def emit(settings: AgentSettings, *totals: StreamTotals, flow: FlowSettings = FLOW) -> None:
    metrics = AgentMetrics(settings, Config(region_name="eu-west-1"), None)
    for each in totals:
        metrics.emit([cast(Flow, FakeFlow(flow))], {flow.stream: each}, last=True)
    metrics.close()


def values(call: Any) -> dict[str, tuple[float, float, str]]:
    return {
        each["MetricName"]: (each["StatisticValues"]["Sum"], each["StatisticValues"]["SampleCount"], each["Unit"])
        for each in call["MetricData"]
    }


def test_the_agents_metrics_and_kplpys_own(sent: list[Any]) -> None:
    emit(AgentSettings((FLOW,)), TOTALS)
    (call,) = sent
    assert call["Namespace"] == "AWSKinesisAgent"
    assert values(call) == {
        "BytesSent": (900.0, 4.0, "Bytes"),
        "RecordsSent": (90.0, 4.0, "Count"),
        "RecordSendAttempts": (100.0, 4.0, "Count"),
        "RecordSendErrors": (10.0, 4.0, "Count"),
        "ServiceErrors": (1.0, 4.0, "Count"),
        "BytesBehind": (90.0, 1.0, "Bytes"),
        "FilesFollowed": (2.0, 1.0, "Count"),
        "RecordsParsed": (3.0, 1.0, "Count"),
        "RecordsSkipped": (2.0, 1.0, "Count"),
        "RecordsDropped": (1.0, 1.0, "Count"),
    }
    dimensions = [{"Name": "Destination", "Value": "KinesisStream:orders"}]
    assert all(each["Dimensions"] == dimensions for each in call["MetricData"])


def test_each_window_has_what_was_counted_since_the_last_one(sent: list[Any]) -> None:
    emit(AgentSettings((FLOW,)), TOTALS, TOTALS, TOTALS + TOTALS)
    assert [values(each).get("BytesSent") for each in sent] == [(900.0, 4.0, "Bytes"), None, (900.0, 4.0, "Bytes")]
    assert [values(each)["RecordsParsed"][0] for each in sent] == [3.0, 0.0, 0.0]


def test_delivery_streams_and_instances_are_named(sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("socket.gethostname", lambda: "web-1")
    flow = FlowSettings("fh:archive:/a", "/a", "firehose", "archive")
    emit(AgentSettings((flow,), tag_instance=True, metrics_namespace="Mine"), TOTALS, flow=flow)
    (call,) = sent
    assert call["Namespace"] == "Mine"
    assert call["MetricData"][0]["Dimensions"] == [
        {"Name": "Destination", "Value": "DeliveryStream:archive"},
        {"Name": "InstanceId", "Value": "web-1"},
    ]


def test_nothing_is_sent_without_emit_metrics(sent: list[Any]) -> None:
    emit(AgentSettings((FLOW,), emit_metrics=False), TOTALS)
    assert sent == []


def test_metrics_are_logged_on_request(sent: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="kplpy"):
        emit(AgentSettings((FLOW,), emit_metrics=False, log_emit_metrics=True), TOTALS)
    assert sent == []
    assert "KinesisStream:orders: BytesSent 900, RecordsSent 90," in caplog.text


def test_a_failing_cloudwatch_stops_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(config: Config) -> Any:
        raise ValueError("no credentials")

    monkeypatch.setattr("kplpy.aws.cloudwatch.make_cloudwatch_client", fail)
    emit(AgentSettings((FLOW,)), TOTALS)
    assert "metrics were not taken" in caplog.text
