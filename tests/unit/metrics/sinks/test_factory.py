"""Tests sinks by their names, from a producer's records to the readers, and the log of a failing sink."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoRegionError
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kplpy import ConfigError, Producer
from kplpy.metrics.sample import Window
from kplpy.metrics.sinks.prometheus import PrometheusSink
from tests.inside import top_view_of
from tests.integration.reading import wait_until
from tests.stub_service import install


def deliver(monkeypatch: pytest.MonkeyPatch, stream: str, sink: Any) -> None:
    """Deliver three records of ten bytes."""
    install(monkeypatch)
    with Producer(
        region_name="us-east-1", metrics_sink=sink, metrics_level="detailed", metrics_granularity="shard"
    ) as producer:
        for future in [producer.put_record(stream, b"x" * 10, f"k{n}") for n in range(3)]:
            future.result(30)


def test_prometheus_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(monkeypatch, "scraped", "prometheus")
    place = {"stream": "scraped", "shard": "shard-0"}
    found = {
        each.name: each.value
        for family in text_string_to_metric_families(generate_latest(REGISTRY).decode())
        for each in family.samples
        if each.labels in (place, {"stream": "scraped"})
    }
    assert found["kplpy_user_records_put_total"] == 3
    assert found["kplpy_user_records_data_put_bytes_total"] == 30
    assert found["kplpy_user_records_received_total"] == 3
    assert found["kplpy_buffering_time_seconds_count"] == 3
    assert found["kplpy_request_time_seconds_count"] == found["kplpy_kinesis_records_put_total"] >= 1


def test_gauges_of_an_idle_producer_are_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    stub = install(monkeypatch)

    def pending() -> float | None:
        return registry.get_sample_value("kplpy_user_records_pending", {"stream": "held"})

    with Producer(
        region_name="us-east-1",
        metrics_sink=PrometheusSink(registry),
        metrics_level="detailed",
        metrics_upload_delay_ms=1,
    ) as producer:
        producer.put_record("held", b"x", "k").result(30)
        stub.hold()
        for number in range(3):
            producer.put_record("held", b"x", f"k{number}")
        wait_until(lambda: pending() == 3)
        stub.let_go()
        wait_until(lambda: pending() == 0)


@pytest.fixture(scope="session")
def reader() -> Iterator[InMemoryMetricReader]:
    """Return the reader of the global MeterProvider, which can be set only once."""
    made = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[made], shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    yield made
    provider.shutdown()


def test_opentelemetry_by_its_name(monkeypatch: pytest.MonkeyPatch, reader: InMemoryMetricReader) -> None:
    deliver(monkeypatch, "exported", "opentelemetry")
    data: Any = reader.get_metrics_data()
    found = {
        each.name: point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for each in scope.metrics
        for point in each.data.data_points
        if point.attributes.get("messaging.destination.name") == "exported"
        and point.attributes["messaging.system"] == "aws.kinesis"
    }
    assert found["messaging.client.sent.messages"] == 3
    assert found["kplpy.user_records.size"] == 30
    assert found["kplpy.user_records.received"] == 3
    assert found["kplpy.buffering.time.count"] == 3


@pytest.mark.parametrize(
    ("is_regional", "on_lambda", "expected"),
    [
        (True, False, ["PutMetricData"]),
        (True, True, ["EMF"]),
        (False, False, []),
        (False, True, []),
    ],
)
def test_the_default_sink_sends_aws_only_metrics_of_aws(
    is_regional: bool, on_lambda: bool, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    monkeypatch.setattr(install(monkeypatch), "is_regional", lambda: is_regional)
    monkeypatch.setattr("kplpy.metrics.sinks.factory.on_lambda", lambda: on_lambda)
    monkeypatch.setattr("kplpy.aws.cloudwatch.CloudWatch.put_metric_data", lambda *_: found.append("PutMetricData"))
    monkeypatch.setattr("kplpy.metrics.sinks.emf.EmfSink.emit", lambda *_: found.append("EMF"))
    with Producer(region_name="us-east-1") as producer:
        producer.put_record("orders", b"x", "k").result(30)
    assert found == expected


@pytest.mark.parametrize(("name", "needs"), [("prometheus", "prometheus_client"), ("opentelemetry", "opentelemetry")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, name: Any, needs: str) -> None:
    monkeypatch.setattr("kplpy.metrics.sinks.factory.find_spec", {}.get)
    with pytest.raises(ConfigError, match=rf"metrics_sink='{name}' needs {needs}: pip install 'kplpy\[{name}\]'"):
        Producer(region_name="us-east-1", metrics_sink=name)


@pytest.mark.parametrize(
    ("error", "traceback"),
    [
        (NoRegionError(), False),
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutMetricData"), False),
        (LookupError("a mistake in a sink"), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_traceback_is_logged_only_where_it_helps(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, traceback: bool
) -> None:
    class Failing:
        def emit(self, window: Window) -> None:
            raise error

    with caplog.at_level(logging.ERROR, "kplpy"):
        deliver(monkeypatch, "orders", Failing())
    (logged,) = [each for each in caplog.records if each.name.startswith("kplpy")]
    assert logged.getMessage().endswith(f"the latest: {type(error).__name__}: {error}")
    assert (logged.exc_info is not None) == traceback


def test_streams_of_one_name_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """StreamName is the name alone, without region and account."""
    here, there = (f"arn:aws:kinesis:{region}:123456789012:stream/orders" for region in ("us-east-1", "eu-west-1"))
    stub = install(monkeypatch)
    with Producer(
        region_name="us-east-1", metrics_level="detailed", metrics_granularity="shard", close_timeout_ms=0
    ) as producer:
        for stream, count in ((here, 5), (there, 2)):
            for future in [producer.put_record(stream, b"x", "k") for _ in range(count)]:
                future.result(30)
        delivered = producer.metrics()
        stub.hold()
        for stream, count in ((here, 4), (there, 6)):  # more than any sample before
            for _ in range(count):
                producer.put_record(stream, b"x", "k")

        def pending() -> float | None:
            found = producer.metrics().find("UserRecordsPending", stream="orders")
            return found.maximum if found is not None else None

        wait_until(lambda: pending() == 10)
        snapshot = top_view_of(producer)["streams"]
        stub.let_go()
    for name in ("UserRecordsReceived", "UserRecordsPut"):
        for found in (delivered.find(name, stream="orders"), delivered.find(name)):
            assert found is not None
            assert (found.count, found.total) == (7, 7), name
    assert {stream: each["outstanding_records"] for stream, each in snapshot.items()} == {here: 4, there: 6}
    assert {each["counts"] for each in snapshot.values()} == {None}
