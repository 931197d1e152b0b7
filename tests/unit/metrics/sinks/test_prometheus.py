"""Tests the Prometheus sink with prometheus_client's own parser."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kplpy.metrics.catalogue import METRICS
from kplpy.metrics.histogram import Histogram
from kplpy.metrics.sample import Dimensions, Sample, Window
from kplpy.metrics.sinks.prometheus import EXPORTED, FAILED, PrometheusSink

STREAM: Dimensions = (("StreamName", "orders"),)
SHARD: Dimensions = (*STREAM, ("ShardId", "shardId-000000000000"))
OTHER: Dimensions = (*STREAM, ("ShardId", "shardId-000000000001"))


_OF_A_SPOOL = {
    **dict.fromkeys(("kplpy_spooled_records", "kplpy_spooled_bytes", "kplpy_oldest_spooled_age_seconds"), 0),
    **dict.fromkeys([f"kplpy_spool_{each}_total" for each in ("syncs", "errors", "bypassed", "dropped", "damaged")], 0),
    **dict.fromkeys([f"kplpy_spool_sync_time_seconds_{each}" for each in ("count", "sum")], 0),
}


def sample(name: str, dimensions: Dimensions, *values: float, histogram: Histogram | None = None) -> Sample:
    return Sample(
        name, METRICS[name].unit, dimensions, len(values), sum(values), min(values), max(values), histogram, values[-1]
    )


def window(*samples: Sample) -> Window:
    return Window(0.0, 60.0, samples)


def scrape(registry: CollectorRegistry) -> dict[str, float]:
    """Return values by `name{labels in order of name}`."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for each in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(each.labels.items()) if value)
            found[each.name + (f"{{{labels}}}" if labels else "")] = each.value
    return found


def rolled_up(name: str, *places: tuple[Dimensions, list[float]]) -> list[Sample]:
    """Return the samples of these places, of the stream and of all streams, as the registry makes them."""
    values = [value for _, some in places for value in some]
    return [sample(name, (), *values), sample(name, STREAM, *values)] + [
        sample(name, dimensions, *some) for dimensions, some in places if dimensions != STREAM
    ]


def test_each_value_is_counted_once_with_the_units_and_names_of_prometheus() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    for _ in range(2):
        sink.emit(
            window(
                *rolled_up("UserRecordsPut", (SHARD, [1, 1, 0]), (OTHER, [1])),
                *rolled_up("UserRecordsDataPut", (SHARD, [100, 50])),
                *rolled_up("BufferingTime", (SHARD, [80, 120])),
                *rolled_up("RequestTime", (STREAM, [12.5])),
                *rolled_up("BufferedRecords", ((), [10, 20]))[:1],
                *rolled_up("ShardHeadroom", (SHARD, [25])),
            )
        )
    assert {name: value for name, value in scrape(registry).items() if "_created" not in name} == {
        "kplpy_user_records_put_total{shard=shardId-000000000000,stream=orders}": 4,
        "kplpy_user_records_put_total{shard=shardId-000000000001,stream=orders}": 2,
        "kplpy_user_records_failed_total{shard=shardId-000000000000,stream=orders}": 2,
        "kplpy_user_records_failed_total{shard=shardId-000000000001,stream=orders}": 0,
        "kplpy_user_records_data_put_bytes_total{shard=shardId-000000000000,stream=orders}": 300,
        "kplpy_buffering_time_seconds_count{shard=shardId-000000000000,stream=orders}": 4,
        "kplpy_buffering_time_seconds_sum{shard=shardId-000000000000,stream=orders}": pytest.approx(0.4),
        "kplpy_request_time_seconds_count{stream=orders}": 2,
        "kplpy_request_time_seconds_sum{stream=orders}": pytest.approx(0.025),
        "kplpy_buffered_records": 20,
        "kplpy_buffered_bytes": 0,
        "kplpy_buffer_use_ratio": 0,
        **_OF_A_SPOOL,
        "kplpy_shard_headroom_ratio{shard=shardId-000000000000,stream=orders}": 0.25,
    }


def test_a_request_that_failed_has_a_code_and_no_shard() -> None:
    registry = CollectorRegistry()
    throttled: Dimensions = (("ErrorCode", "Throttled"),)
    PrometheusSink(registry).emit(
        window(
            sample("ErrorsByCode", (), 1, 1, 1),
            sample("ErrorsByCode", throttled, 1, 1, 1),
            sample("ErrorsByCode", (*throttled, *STREAM), 1, 1, 1),
            sample("ErrorsByCode", (*throttled, *SHARD), 1, 1),
        )
    )
    errors = {name: value for name, value in scrape(registry).items() if name.startswith("kplpy_errors_total")}
    assert errors == {
        "kplpy_errors_total{error_code=Throttled,shard=shardId-000000000000,stream=orders}": 2,
        "kplpy_errors_total{error_code=Throttled,stream=orders}": 1,
    }


def test_times_to_answer_are_a_histogram() -> None:
    registry = CollectorRegistry()
    histogram = Histogram()
    values = [5.0, 80.0, 80.0, 3000.0, 90_000.0]
    histogram.add_ages([-value / 1000 for value in reversed(values)], 0.0)
    PrometheusSink(registry).emit(
        window(
            sample("TimeToAnswer", (), *values, histogram=histogram),
            sample("TimeToAnswer", STREAM, *values, histogram=histogram),
            sample("TimeToAnswer", SHARD, *values),
        )
    )
    found = scrape(registry)
    buckets = {
        le: found[f"kplpy_time_to_answer_seconds_bucket{{le={le},stream=orders}}"] for le in ("0.01", "0.1", "5.0")
    }
    assert buckets == {"0.01": 1, "0.1": 3, "5.0": 4}
    assert found["kplpy_time_to_answer_seconds_bucket{le=+Inf,stream=orders}"] == 5
    assert found["kplpy_time_to_answer_seconds_count{stream=orders}"] == 5
    assert found["kplpy_time_to_answer_seconds_sum{stream=orders}"] == pytest.approx(93.165)


def test_several_producers_in_one_process_add_up() -> None:
    registry = CollectorRegistry()
    one, other = PrometheusSink(registry), PrometheusSink(registry)
    for sink, pending, age in ((one, 5, 100), (other, 7, 300), (one, 2, 200)):
        sink.emit(
            window(
                *rolled_up("UserRecordsPut", (SHARD, [1])),
                *rolled_up("UserRecordsPending", (STREAM, [pending])),
                *rolled_up("OldestRecordAge", (STREAM, [age])),
            )
        )
    found = scrape(registry)
    assert found["kplpy_user_records_put_total{shard=shardId-000000000000,stream=orders}"] == 3
    assert found["kplpy_user_records_pending{stream=orders}"] == 9
    assert found["kplpy_oldest_record_age_seconds{stream=orders}"] == pytest.approx(0.3)


def test_every_metric_has_a_name_by_the_conventions() -> None:
    assert {each.name for each in EXPORTED} == set(METRICS) - {"AllErrors"}
    names = [each.prometheus for each in EXPORTED] + [FAILED]
    assert len(set(names)) == len(names)
    units = {"Milliseconds": "_seconds", "Bytes": "_bytes", "Percent": "_ratio", "Count": ""}
    for each in EXPORTED:
        assert re.fullmatch(r"kplpy(_[a-z]+)+", each.prometheus)
        assert each.prometheus.endswith(units[each.unit])


def test_the_gauges_of_a_closed_shard_are_removed() -> None:
    registry = CollectorRegistry()
    one, other = PrometheusSink(registry), PrometheusSink(registry)
    both = rolled_up("ShardHeadroom", (SHARD, [25]), (OTHER, [50]))
    one.emit(window(*both))
    other.emit(window(*both))
    one.emit(window(*rolled_up("ShardHeadroom", (OTHER, [60]))))
    one.emit(window(*rolled_up("UserRecordsPut", (OTHER, [1]))))  # has no gauge of any shard
    place = "kplpy_shard_headroom_ratio{shard=shardId-00000000000%d,stream=orders}"
    assert scrape(registry)[place % 0] == 0.25  # the other producer still has it
    assert scrape(registry)[place % 1] == 0.5
    other.emit(window(*rolled_up("ShardHeadroom", (OTHER, [40]))))
    assert place % 0 not in scrape(registry)
    assert scrape(registry)[place % 1] == 0.4
