"""Tests the OpenTelemetry sink with the real SDK."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from kplpy.metrics.catalogue import METRICS
from kplpy.metrics.histogram import Histogram
from kplpy.metrics.sample import Dimensions, Sample, Window
from kplpy.metrics.sinks.opentelemetry import EXPORTED, QUANTILE, OpenTelemetrySink, unit_of

STREAM: Dimensions = (("StreamName", "orders"),)
SHARD: Dimensions = (*STREAM, ("ShardId", "shardId-000000000000"))

COMMON = {
    "messaging.system": "aws.kinesis",
    "messaging.operation.name": "put_records",
    "messaging.operation.type": "send",
}
ON_STREAM = {**COMMON, "messaging.destination.name": "orders"}
ON_SHARD = {**ON_STREAM, "messaging.destination.partition.id": "shardId-000000000000"}


def sample(name: str, dimensions: Dimensions, *values: float, histogram: Histogram | None = None) -> Sample:
    return Sample(
        name, METRICS[name].unit, dimensions, len(values), sum(values), min(values), max(values), histogram, values[-1]
    )


def export(*windows: Window) -> dict[str, list[tuple[dict[str, Any], Any, str]]]:
    """Return (attributes, value, unit) of each point, by instrument."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    sink = OpenTelemetrySink(provider)
    for each in windows:
        sink.emit(each)
    data: Any = reader.get_metrics_data()
    provider.shutdown()
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "kplpy"
    return {
        each.name: [(dict(point.attributes), point.value, each.unit) for point in each.data.data_points]
        for each in scope.metrics
    }


def test_counters_are_cumulative_and_have_the_conventions_names_and_attributes() -> None:
    window = Window(
        0.0,
        1.0,
        (
            sample("UserRecordsPut", (), 1, 1, 0),
            sample("UserRecordsPut", STREAM, 1, 1, 0),
            sample("UserRecordsPut", SHARD, 1, 1, 0),
            sample("RequestTime", (), 250),
            sample("RequestTime", STREAM, 250),
            sample("UserRecordsPending", STREAM, 4, 6),
        ),
    )
    found = export(window, window)
    assert found["messaging.client.sent.messages"] == [
        (ON_SHARD, 4, "{message}"),
        ({**ON_SHARD, "error.type": "_OTHER"}, 2, "{message}"),
    ]
    assert found["kplpy.request.time"] == [(ON_STREAM, pytest.approx(0.5), "s")]
    assert found["kplpy.request.time.count"] == [(ON_STREAM, 2, "1")]
    assert found["kplpy.user_records.pending"] == [(ON_STREAM, 6, "{record}")]


def test_errors_have_their_code_and_a_failed_request_no_shard() -> None:
    code: Dimensions = (("ErrorCode", "Throttled"),)
    window = Window(
        0.0,
        1.0,
        (
            sample("ErrorsByCode", (), 1, 1),
            sample("ErrorsByCode", code, 1, 1),
            sample("ErrorsByCode", (*code, *STREAM), 1, 1),
            sample("ErrorsByCode", (*code, *SHARD), 1),
        ),
    )
    points = export(window)["kplpy.errors"]
    assert sorted(points, key=lambda point: len(point[0])) == [
        ({**ON_STREAM, "error.type": "Throttled"}, 1, "{error}"),
        ({**ON_SHARD, "error.type": "Throttled"}, 1, "{error}"),
    ]


def test_percentiles_of_the_time_to_answer() -> None:
    values = [float(value) for value in range(10, 1010, 10)]
    histogram = Histogram()
    histogram.add_ages([-value / 1000 for value in reversed(values)], 0.0)
    found = export(Window(0.0, 1.0, (sample("TimeToAnswer", STREAM, *values, histogram=histogram),)))
    quantiles = {point[0]["quantile"]: point[1] for point in found[QUANTILE]}
    assert quantiles == {
        0.5: pytest.approx(0.5, rel=0.02),
        0.9: pytest.approx(0.9, rel=0.02),
        0.99: pytest.approx(0.99, rel=0.02),
    }
    assert found["kplpy.answer.time.count"] == [(ON_STREAM, 100, "1")]


def test_every_metric_is_exported_in_ucum_units() -> None:
    assert {each.name for each in EXPORTED} == set(METRICS) - {"AllErrors"}
    names = [each.opentelemetry for each in EXPORTED]
    assert len(set(names)) == len(names)
    units = {"Milliseconds": "s", "Bytes": "By", "Percent": "1"}
    for each in EXPORTED:
        expected = units.get(each.unit)
        assert unit_of(each) == expected if expected else unit_of(each).startswith("{")
