"""The report of hot partition keys against an exact count: its bounds hold, and no key above them is missing."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kplpy import ConfigError, HotKey, HotKeys, Producer
from kplpy.core.hot_keys import AT_ONCE, SPAN, KeyCounts
from kplpy.core.record import PendingRecord
from kplpy.core.space_saving import SpaceSaving
from kplpy.local import LocalKinesis

# Few keys, so that they occur often. The square of the number makes some of them much larger.
keys = st.integers(0, 40).map(lambda number: "é" * (number * number // 100) + f"key-{number}")
drains = st.lists(st.lists(st.tuples(keys, st.integers(0, 2000)), max_size=12), max_size=12)


def item(key: str, size: int) -> PendingRecord:
    made = PendingRecord()
    made.partition_key, made.data, made.hash_key = key, b"x" * size, 7
    return made


def check(report: HotKeys, counters: int, records: Counter[str], sizes: Counter[str]) -> None:
    assert (report.records, report.bytes) == (records.total(), sizes.total())
    for found, exact, bound in (
        (report.by_records, records, report.records_bound),
        (report.by_bytes, sizes, report.bytes_bound),
    ):
        assert bound <= exact.total() / counters
        assert len(found) <= 4 * counters + 2 * AT_ONCE
        assert [each.weight for each in found] == sorted((each.weight for each in found), reverse=True)
        for each in found:
            assert each.weight - each.error <= exact[each.partition_key] <= each.weight
            assert each.error <= bound
        named = {each.partition_key for each in found}
        assert {key for key, weight in exact.items() if weight > bound} <= named


@given(drains, st.integers(1, 25))
def test_space_saving_keeps_its_bounds_for_any_keys_added_at_once(
    added: list[list[tuple[str, int]]], capacity: int
) -> None:
    summary = SpaceSaving(capacity)
    exact: Counter[str] = Counter()
    for weighed in added:
        summary.add([key for key, _ in weighed], [weight for _, weight in weighed])
        for key, weight in weighed:
            exact[key] += weight
        counters = summary.counters()
        assert len(counters) <= 2 * capacity
        assert summary.total == exact.total()
        assert summary.floor <= exact.total() / capacity
        for key, (weight, overcount) in counters.items():
            assert weight - overcount <= exact[key] <= weight
            assert overcount <= summary.floor
        assert {key for key, weight in exact.items() if weight > summary.floor} <= counters.keys()


@given(drains, st.integers(1, 25))
def test_every_heavy_key_is_reported_and_every_count_is_within_its_error(
    drained: list[list[tuple[str, int]]], counters: int
) -> None:
    counts = KeyCounts(counters, 0.0)
    records: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for items in drained:
        counts.add([item(key, size) for key, size in items], 1.0)
        for key, size in items:
            records[key] += 1
            sizes[key] += size + len(key.encode())
    check(counts.report(None, 2.0), counters, records, sizes)


@given(drains, st.integers(1, 25), st.lists(st.floats(0, SPAN), min_size=12, max_size=12))
def test_the_report_is_of_the_last_two_spans(
    drained: list[list[tuple[str, int]]], counters: int, pauses: list[float]
) -> None:
    counts = KeyCounts(counters, 0.0)
    now, history = 0.0, []
    for items, pause in zip(drained, pauses, strict=False):
        now += pause
        counts.add([item(key, size) for key, size in items], now)
        history.append((now, items))
    now += SPAN / 3
    report = counts.report(None, now)
    assert report.seconds <= 2 * SPAN + 1e-6
    began = now - report.seconds
    lately = [each for at, items in history if at >= began for each in items]
    records = Counter(key for key, _ in lately)
    sizes: Counter[str] = Counter()
    for key, size in lately:
        sizes[key] += size + len(key.encode())
    check(report, counters, records, sizes)


def test_memory_is_bounded_and_one_hot_key_is_seen_among_a_hundred_thousand() -> None:
    counts = KeyCounts(50, 0.0)
    for start in range(0, 100_000, 100):
        drained = [item(f"key-{number}", 10) for number in range(start, start + 97)]
        counts.add([*drained, *(item("hot", 10) for _ in range(3))], 1.0)
    report = counts.report(None, 1.0)
    assert len(report.by_records) == len(report.by_bytes) <= 200
    assert report.by_records[0].partition_key == report.by_bytes[0].partition_key == "hot"
    assert 3000 <= report.by_records[0].weight <= 3000 + report.records_bound


def test_records_without_a_key_are_not_counted() -> None:
    counts = KeyCounts(50, 0.0)
    keyless = item("", 10)
    keyless.hash_key = -1
    counts.add([keyless, item("a", 10)], 0.0)
    report = counts.report(None, 0.0)
    assert report.by_records == (HotKey("a", 1, 0),)
    assert (report.records, report.bytes) == (1, 11)


def test_a_producers_records_are_counted_by_stream() -> None:
    with (
        LocalKinesis(stream="orders", shards=2) as kinesis,
        Producer(endpoint_url=kinesis.endpoint_url, hot_partition_keys=100) as producer,
    ):
        producer.put_records(
            "orders", [(b"12345", f"customer-{number % 7 if number < 40 else 7}") for number in range(100)]
        )
        producer.put_record("orders", b"x" * 5000, "large")
        producer.put_record("orders", b"kplpy chooses the shard")
        producer.flush()
        report = producer.hot_keys(limit=2)["orders"]
        assert [each.partition_key for each in report.by_records] == ["customer-7", "customer-0"]
        assert report.by_records[0] == HotKey("customer-7", 60, 0)
        assert report.by_bytes[0] == HotKey("large", 5005, 0)
        assert report.records == 101
        with pytest.raises(ValueError, match="limit must be a whole number of at least 1, or None; got 0"):
            producer.hot_keys(0)


def test_it_is_off_unless_asked_for() -> None:
    with Producer(region_name="eu-west-1") as producer, pytest.raises(ConfigError, match="hot_partition_keys"):
        producer.hot_keys()
