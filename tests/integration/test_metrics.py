"""Tests metrics of a real producer: in moto's CloudWatch, as log events, and with failing sinks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.server import ThreadedMotoServer

from kplpy import Producer, RecordExpiredError, concurrency
from kplpy.aws.client import make_cloudwatch_client
from kplpy.core.gauges import Gauges
from kplpy.local import LocalKinesis
from kplpy.metrics.sample import Sample, Window
from tests.inside import gauges_of, replace_reported_gauges
from tests.integration.reading import wait_until

NAMESPACE = "KinesisProducerLibrary"


class Keeping:
    """A sink that keeps its windows."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.threads: set[str] = set()

    def emit(self, window: Window) -> None:
        self.threads.add(threading.current_thread().name)
        self.windows.append(window)


@pytest.fixture(scope="module")
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=2) as kinesis:
        yield kinesis


@pytest.fixture
def cloudwatch() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    urlopen(Request(f"{url}/moto-api/reset", method="POST")).close()
    yield url
    server.stop()


@pytest.fixture
def unpatched_cloudwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the real make_cloudwatch_client, for tests that set CloudWatch's endpoint in the environment."""
    monkeypatch.setattr("kplpy.aws.cloudwatch.make_cloudwatch_client", make_cloudwatch_client)


def put(producer: Producer, count: int) -> None:
    for future in [producer.put_record("test", b"x" * 100, f"key-{n}") for n in range(count)]:
        future.result(30)


def reporting_to(cloudwatch: str, kinesis: LocalKinesis, **knobs: Any) -> Producer:
    return Producer(
        endpoint_url=kinesis.endpoint_url, cloudwatch_endpoint_url=cloudwatch, region_name="us-east-1", **knobs
    )


def client_of(cloudwatch: str) -> Any:
    return boto3.client("cloudwatch", endpoint_url=cloudwatch, region_name="us-east-1")


def metrics_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("kplpy-metrics")}


def test_what_was_sent_can_be_read_with_get_metric_statistics(kinesis: LocalKinesis, cloudwatch: str) -> None:
    with reporting_to(cloudwatch, kinesis, metrics_level="detailed", metrics_granularity="shard") as producer:
        put(producer, 300)
        producer.close()
        counted = producer.metrics().samples
    client = client_of(cloudwatch)
    now = datetime.now(timezone.utc)
    assert {each.name for each in counted} > {"UserRecordsPut", "BufferingTime", "ShardHeadroom"}
    for sample in counted:
        points = client.get_metric_statistics(
            Namespace=NAMESPACE,
            MetricName=sample.name,
            Dimensions=[{"Name": name, "Value": value} for name, value in sample.dimensions],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=7200,
            Statistics=["SampleCount", "Sum", "Minimum", "Maximum"],
            Unit=sample.unit,
        )["Datapoints"]
        (point,) = [each for each in points if each["SampleCount"]]
        # moto adds up all metrics that include these dimensions; the service returns the metric with exactly these.
        same = [each for each in counted if each.name == sample.name and {*sample.dimensions} <= {*each.dimensions}]
        assert point["SampleCount"] == sum(each.count for each in same)
        assert point["Sum"] == pytest.approx(sum(each.total for each in same))
        assert (point["Minimum"], point["Maximum"]) == pytest.approx((sample.minimum, sample.maximum))


# Metrics that users of the KPL graph and alarm on (docs.aws.amazon.com/streams/latest/dev/monitoring-with-kpl.html).
GRAPHED = [
    *(("Sum", name) for name in ("UserRecordsReceived", "UserRecordsPut", "UserRecordsDataPut", "UserRecordExpired")),
    *(("Sum", name) for name in ("KinesisRecordsPut", "KinesisRecordsDataPut", "AllErrors")),
    *(("Average", name) for name in ("UserRecordsPut", "KinesisRecordsPut", "UserRecordsPending", "RetriesPerRecord")),
    *(("Average", name) for name in ("UserRecordsPerKinesisRecord", "KinesisRecordsPerPutRecordsRequest")),
    *(("Average", name) for name in ("UserRecordsPerPutRecordsRequest", "BufferingTime", "RequestTime")),
    *(("Maximum", name) for name in ("BufferingTime", "RequestTime", "RetriesPerRecord", "UserRecordsPending")),
    *(("SampleCount", name) for name in ("UserRecordsPut", "RequestTime")),
]


def test_the_expressions_of_a_kpl_dashboard_work(kinesis: LocalKinesis, cloudwatch: str) -> None:
    """Each statistic of a stream that a graph or alarm uses equals the producer's own count."""
    with reporting_to(
        cloudwatch, kinesis, metrics_namespace="Mine", metrics_level="detailed", record_ttl_ms=1000
    ) as producer:
        kinesis.faults.fail_entries("ProvisionedThroughputExceededException")
        put(producer, 50)
        kinesis.faults.fail("InternalFailure", status=500, times=1000)
        assert isinstance(producer.put_record("test", b"late", "key").exception(30), RecordExpiredError)
        kinesis.faults.clear()
        producer.close()
        counted = producer.metrics()
    expected = {f"m{n}": statistic(counted.find(name, "test"), stat) for n, (stat, name) in enumerate(GRAPHED)}
    dimensions = [{"Name": "StreamName", "Value": "test"}]
    queries = [query(f"m{n}", stat, name, dimensions) for n, (stat, name) in enumerate(GRAPHED)]
    for n, code in enumerate(("ProvisionedThroughputExceededException", "InternalFailure")):
        expected[f"e{n}"] = statistic(counted.find("ErrorsByCode", "test", error_code=code), "Sum")
        queries.append(query(f"e{n}", "Sum", "ErrorsByCode", [{"Name": "ErrorCode", "Value": code}, *dimensions]))
    now = datetime.now(timezone.utc)
    answer = client_of(cloudwatch).get_metric_data(
        MetricDataQueries=queries, StartTime=now - timedelta(hours=1), EndTime=now + timedelta(hours=1)
    )
    found = {each["Id"]: each["Values"] for each in answer["MetricDataResults"]}
    assert found == {name: [pytest.approx(value)] for name, value in expected.items()}
    assert (expected["m0"], expected["m1"], expected["m3"]) == (51, 50, 1)  # received, put, expired
    assert expected["e1"] > 0


def test_by_default_the_summary_level_is_sent(kinesis: LocalKinesis, cloudwatch: str) -> None:
    """A usual graph of the KPL: a stream's success rate, as the average of UserRecordsPut."""
    with reporting_to(cloudwatch, kinesis, metrics_namespace="Mine") as producer:
        put(producer, 50)
    client = client_of(cloudwatch)
    stats = ("Average", "SampleCount", "Sum")
    dimensions = [{"Name": "StreamName", "Value": "test"}]
    now = datetime.now(timezone.utc)
    answer = client.get_metric_data(
        MetricDataQueries=[query(f"m{n}", stat, "UserRecordsPut", dimensions) for n, stat in enumerate(stats)],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
    )
    values = {each["Id"]: [value for value in each["Values"] if value] for each in answer["MetricDataResults"]}
    assert values == {"m0": [1.0], "m1": [50.0], "m2": [50.0]}
    listed = client.list_metrics(Namespace="Mine")["Metrics"]
    assert {each["MetricName"] for each in listed} == {
        *("UserRecordsPut", "KinesisRecordsPut", "AllErrors", "BufferingTime"),
    }


def query(name: str, stat: str, metric: str, dimensions: list[dict[str, str]]) -> Any:
    metric_stat = {"Namespace": "Mine", "MetricName": metric, "Dimensions": dimensions}
    return {"Id": name, "MetricStat": {"Metric": metric_stat, "Period": 7200, "Stat": stat}}


def statistic(sample: Sample | None, stat: str) -> float:
    assert sample is not None
    ways = {"Sum": sample.total, "Average": sample.average, "Maximum": sample.maximum, "SampleCount": sample.count}
    return ways[stat]


def test_added_dimensions_are_sent_as_by_the_kpl(kinesis: LocalKinesis, cloudwatch: str) -> None:
    dimensions = (("Fleet", "blue", "global"), ("HostName", "web-1", "stream"))
    with reporting_to(
        cloudwatch, kinesis, metrics_namespace="PerHost", additional_metrics_dimensions=dimensions
    ) as producer:
        put(producer, 50)
    client = client_of(cloudwatch)
    listed = client.list_metrics(Namespace="PerHost", MetricName="UserRecordsPut")["Metrics"]
    found = {tuple((each["Name"], each["Value"]) for each in metric["Dimensions"]) for metric in listed}
    fleet, stream, host = ("Fleet", "blue"), ("StreamName", "test"), ("HostName", "web-1")
    assert found == {(), (fleet,), (fleet, stream), (fleet, stream, host)}


NAMED_BY = ["endpoint_url", "AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL", "the profile", "the profile's services"]


@pytest.mark.parametrize("by", NAMED_BY)
def test_nothing_is_uploaded_while_kinesis_is_a_stand_in(
    by: str, kinesis: LocalKinesis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In each way to set the endpoint, even if CloudWatch's endpoint is set, too."""
    called: list[object] = []
    monkeypatch.setattr("kplpy.aws.cloudwatch.make_cloudwatch_client", called.append)
    options = name_endpoint(kinesis.endpoint_url, by, tmp_path, monkeypatch)
    if by != "AWS_ENDPOINT_URL":
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", "http://127.0.0.1:9")
    with Producer(region_name="us-east-1", **options) as producer:
        put(producer, 5)
        assert producer.metrics().find("UserRecordsPut", stream="test")
    assert called == []
    assert caplog.messages == []


@pytest.mark.parametrize("named", ["metrics_sink", "cloudwatch_endpoint_url"])
@pytest.mark.parametrize("by", NAMED_BY[:3])
def test_metrics_of_a_stand_in_are_uploaded_if_cloudwatch_is_named(
    by: str,
    named: str,
    kinesis: LocalKinesis,
    cloudwatch: str,
    unpatched_cloudwatch: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If no option gives CloudWatch's endpoint, botocore looks it up as for any client."""
    options = name_endpoint(kinesis.endpoint_url, by, tmp_path, monkeypatch)
    if named == "metrics_sink":
        options["metrics_sink"] = "cloudwatch"
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", cloudwatch)
    else:
        options["cloudwatch_endpoint_url"] = cloudwatch
    with Producer(region_name="us-east-1", metrics_namespace=f"{named} {by}", **options) as producer:
        put(producer, 5)
    listed = client_of(cloudwatch).list_metrics(Namespace=f"{named} {by}", MetricName="UserRecordsPut")["Metrics"]
    assert listed


def name_endpoint(url: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Set Kinesis' endpoint in one of these ways. Return the options for the producer."""
    if by == "endpoint_url":
        return {"endpoint_url": url}
    if by.startswith("AWS_"):
        monkeypatch.setenv(by, url)
        return {}
    services = f"services = local\n[services local]\nkinesis =\n  endpoint_url = {url}\n"
    config = tmp_path / "config"
    config.write_text("[default]\n" + (services if by == "the profile's services" else f"endpoint_url = {url}\n"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return {}


def test_no_level_is_no_thread_and_no_count(kinesis: LocalKinesis) -> None:
    sink = Keeping()
    with Producer(
        endpoint_url=kinesis.endpoint_url, region_name="us-east-1", metrics_level="none", metrics_sink=sink
    ) as producer:
        put(producer, 5)
        assert not metrics_threads()
        assert producer.metrics().samples == ()
        assert producer.metrics()["test"].user_records_put == 5
    assert not sink.windows


def test_windows_come_each_second_on_one_thread_and_end_with_close(kinesis: LocalKinesis) -> None:
    sink = Keeping()
    with Producer(
        endpoint_url=kinesis.endpoint_url,
        region_name="us-east-1",
        metrics_sink=sink,
        metrics_upload_delay_ms=1,
        metrics_level="detailed",
    ) as producer:
        assert not metrics_threads()
        put(producer, 20)
        wait_until(lambda: len(sink.windows) >= 2)
        put(producer, 10)
    wait_until(lambda: "kplpy-metrics" not in metrics_threads())
    assert sink.threads == {"kplpy-metrics-sink"}
    found = [window.find("UserRecordsPut", stream="test") for window in sink.windows]
    assert sum(each.count for each in found if each is not None) == 30
    for one, following in zip(sink.windows, sink.windows[1:], strict=False):
        assert one.started_at <= one.ended_at == following.started_at


def test_a_sink_that_hangs_costs_no_data_and_close_does_not_wait_for_ever(
    kinesis: LocalKinesis, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    class Hanging:
        def emit(self, window: Window) -> None:
            release.wait(60)

    try:
        producer = Producer(
            endpoint_url=kinesis.endpoint_url,
            region_name="us-east-1",
            metrics_sink=Hanging(),
            metrics_upload_delay_ms=1,
            close_timeout_ms=1500,
        )
        put(producer, 20)
        wait_until(lambda: "metrics_not_taken" in [getattr(each, "kplpy", {}).get("event") for each in caplog.records])
        put(producer, 20)
        producer.close()
        assert producer.metrics()["test"].user_records_put == 40
    finally:
        release.set()


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_a_sink_that_fails_says_so_once_and_gets_the_next_window(
    kinesis: LocalKinesis, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    windows: list[Window] = []

    class Failing:
        def emit(self, window: Window) -> None:
            windows.append(window)
            raise error("no space on the disk")

    with Producer(
        endpoint_url=kinesis.endpoint_url,
        region_name="us-east-1",
        metrics_sink=Failing(),
        metrics_upload_delay_ms=1,
        metrics_level="detailed",
    ) as producer:

        def has_three() -> bool:
            put(producer, 1)
            return len(windows) >= 3

        wait_until(has_three)
        logged = [each for each in caplog.records if getattr(each, "kplpy", {}).get("event") == "metrics_not_taken"]
        assert len(logged) == 1
        assert "no space on the disk" in logged[0].getMessage()


def test_the_sampling_thread_survives_exceptions(
    kinesis: LocalKinesis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrency, "REST", 0.002)
    sink = Keeping()
    producer = Producer(
        endpoint_url=kinesis.endpoint_url, region_name="us-east-1", metrics_sink=sink, metrics_upload_delay_ms=1
    )
    was_raised = threading.Event()

    def raise_once() -> Gauges:
        if not was_raised.is_set():
            was_raised.set()
            raise SystemExit("interrupted")
        return gauges_of(producer)

    replace_reported_gauges(monkeypatch, producer, raise_once)
    with producer:
        put(producer, 20)
        wait_until(lambda: was_raised.is_set() and bool(sink.windows))
        put(producer, 10)
    found = [window.find("UserRecordsPut", stream="test") for window in sink.windows]
    assert sum(each.count for each in found if each is not None) == 30
    logged = [each.getMessage() for each in caplog.records if each.name.startswith("kplpy")]
    assert len(logged) == 1
    assert "reporting: SystemExit: interrupted" in logged[0]


def test_a_forked_child_counts_afresh(kinesis: LocalKinesis) -> None:
    program = f"""
import os, sys
from kplpy import Producer
class Sink:
    def emit(self, window):
        found = window.find("UserRecordsPut", stream="test")
        if found: os.write(1, f"{{os.getpid() == parent}} {{found.count}}\\n".encode())
parent = os.getpid()
producer = Producer(endpoint_url={kinesis.endpoint_url!r}, region_name="us-east-1", metrics_sink=Sink())
[future.result() for future in [producer.put_record("test", b"x", "k") for _ in range(7)]]
child = os.fork()
if not child:
    [future.result() for future in [producer.put_record("test", b"x", "k") for _ in range(3)]]
    producer.close()
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert sorted(done.stdout.split("\n")) == ["", "False 3", "True 7"], done.stderr


def test_log_events_of_the_embedded_metric_format(kinesis: LocalKinesis, capsys: pytest.CaptureFixture[str]) -> None:
    with Producer(endpoint_url=kinesis.endpoint_url, region_name="us-east-1", metrics_sink="emf") as producer:
        put(producer, 30)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    directives = [event["_aws"]["CloudWatchMetrics"][0] for event in events]
    assert {each["Namespace"] for each in directives} == {NAMESPACE}
    (event,) = [event for event in events if event.get("StreamName") == "test"]
    assert event["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["StreamName"]]
    names = {each["Name"] for each in event["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert names == {"UserRecordsPut", "KinesisRecordsPut", "AllErrors", "BufferingTime", "BufferingTimeMax"}
    assert (event["UserRecordsPut"], event["AllErrors"]) == (30, 0)
    assert 0 < event["BufferingTimeMax"] <= event["BufferingTime"]
