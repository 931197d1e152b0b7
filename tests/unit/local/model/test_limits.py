"""The modelled service's limits per second (bucket, windows, reads), and the checks of Limits and Phases."""

from __future__ import annotations

from typing import Any

import pytest

from kplpy.local.model.limits import MIB, CallRate, Limits, Phases, ReadRate, WriteBucket, WriteWindow


def taken(rate: WriteBucket | WriteWindow, size: int, now: float, tries: int) -> int:
    return sum(rate.take(size, now) for _ in range(tries))


def test_the_bucket_holds_a_second_of_records_and_refills_evenly() -> None:
    bucket = WriteBucket(1000, MIB, 0.0)
    assert taken(bucket, 10, 0.0, 1500) == 1000
    assert taken(bucket, 10, 0.25, 1500) == 250
    assert taken(bucket, 10, 100.0, 1500) == 1000


def test_the_bucket_counts_bytes_too() -> None:
    bucket = WriteBucket(1000, MIB, 0.0)
    assert taken(bucket, 64 * 1024, 0.0, 100) == 16
    assert taken(bucket, 64 * 1024, 0.5, 100) == 8


def test_a_record_over_a_seconds_bytes_needs_a_full_bucket_and_leaves_a_debt() -> None:
    bucket = WriteBucket(1000, MIB, 0.0)
    assert bucket.take(1, 0.0)
    assert not bucket.take(4 * MIB, 0.0)
    assert bucket.take(4 * MIB, 1.0)
    assert not bucket.take(1, 3.9)
    assert bucket.take(1, 4.1)


def test_windows_begin_at_their_phase() -> None:
    window = WriteWindow(1000, MIB, 0.3)
    assert taken(window, 10, 10.0, 1500) == 1000
    assert taken(window, 10, 10.29, 10) == 0
    assert taken(window, 10, 10.31, 1500) == 1000


def test_a_large_record_uses_up_the_windows_after_it() -> None:
    window = WriteWindow(1000, MIB, 0.0)
    assert window.take(3 * MIB, 5.0)
    assert not window.take(10, 7.9)
    assert window.take(10, 8.0)


def test_reads_are_charged_after_the_fact() -> None:
    reads = ReadRate(5, 2 * MIB, 0.0)
    assert reads.take(0.0)
    reads.charge(10 * MIB)
    assert not reads.take(3.9)
    assert reads.take(4.1)


def test_calls_a_second() -> None:
    calls = CallRate(5, 0.0)
    assert sum(calls.take(0.0) for _ in range(9)) == 5
    assert sum(calls.take(0.2) for _ in range(9)) == 1


def test_no_rates_keeps_the_sizes() -> None:
    limits = Limits.no_rates()
    assert limits.shard_bytes_per_second is None
    assert (limits.request_records, limits.record_size) == (500, True)
    assert Limits.none().request_records is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"request_records": 0}, "request_records must be a number above 0, or None for no limit; got 0"),
        ({"shard_bytes_per_second": "1"}, "shard_bytes_per_second must be a number above 0"),
        ({"request_bytes": True}, "request_bytes must be a number above 0"),
        ({"record_size": 1}, "record_size must be True or False, got 1"),
        ({"rate_form": "leaky"}, "rate_form must be 'bucket' or 'window', got 'leaky'"),
    ],
)
def test_bad_limits_are_named(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Limits(**arguments)


def test_bad_phases_are_named() -> None:
    with pytest.raises(ValueError, match="updating must be a number of seconds, 0 or more; got -1"):
        Phases(updating=-1)
