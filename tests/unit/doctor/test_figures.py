"""The doctor's arithmetic: prices, shards needed, packing, ranges, numbers in sentences."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from kplpy.config.options import Config
from kplpy.core.shard_range import LAST_KEY, ShardRange
from kplpy.doctor import Finding, Prices
from kplpy.doctor.advice import shards_needed
from kplpy.doctor.packing import Packed, aggregated, as_stored, plain
from kplpy.doctor.prices import billed_bytes, put_units
from kplpy.doctor.sample import Sample, ShardSample
from kplpy.doctor.shards import share
from kplpy.doctor.text import brief, counted, percent
from kplpy.errors import ConfigError
from kplpy.records import UserRecord
from kplpy.wire.encode import encode_aggregate


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.00369, "0.0037"),
        (0.0996, "0.10"),
        (1, "1.0"),
        (1.25, "1.2"),
        (9.96, "10"),
        (12.6, "13"),
        (786.3, "790"),
        (12_345, "12,000"),
    ],
)
def test_numbers_have_two_significant_digits(number: float, text: str) -> None:
    assert brief(number) == text


def test_parts_are_percent() -> None:
    assert percent(0.5) == "50 %"
    assert percent(1) == "100 %"
    assert percent(1 / 3) == "33 %"


def test_counts_have_their_nouns() -> None:
    assert [counted(number, "shard") for number in (0, 1, 1200)] == ["no shards", "1 shard", "1,200 shards"]


@pytest.mark.parametrize(
    ("size", "units", "billed"),
    [(1, 1, 1024), (1024, 1, 1024), (1025, 1, 2048), (25_600, 1, 25_600), (25_601, 2, 26_624), (1 << 20, 41, 1 << 20)],
)
def test_records_are_billed_in_whole_units(size: int, units: int, billed: int) -> None:
    assert put_units(size) == units
    assert billed_bytes(size) == billed


def test_a_month_costs_what_the_price_page_computes() -> None:
    """AWS's own example: 100 records of 35 KB a second take 4 shards and 200 units a second."""
    prices = Prices()
    assert prices.provisioned(4, 200) == pytest.approx(4 * 0.015 * 730 + 200 * 730 * 3600 / 1e6 * 0.014)
    gigabytes = 730 * 3600 * 1024 * 1024 / (1 << 30)
    assert prices.on_demand(1 << 20, 1 << 20) == pytest.approx(0.04 * 730 + gigabytes * 0.12)
    assert prices.on_demand(1 << 20, 1 << 20, 0) == pytest.approx(0.04 * 730 + gigabytes * 0.08)


def test_bad_prices_are_refused() -> None:
    with pytest.raises(ConfigError, match="shard_hour must be dollars, 0 or more; got -1"):
        Prices(shard_hour=-1)
    with pytest.raises(ConfigError, match=r"a price must be one of shard_hour, .*; got 'source'"):
        Prices().with_price("source", 1)
    changed = Prices().with_price("gb_in", 1).with_price("gb_out", 2)
    assert (changed.gb_in, changed.gb_out, changed.source) == (1, 2, "us-east-1, list prices as of 2025, some given")


@pytest.mark.parametrize(
    ("size", "users", "rate", "shards"),
    [
        (100, 1, 799, 1),
        (100, 1, 801, 2),
        (100, 1, 20_000, 25),
        (1 << 20, 1, 4, 5),
        (50_000, 500, 20_000, 3),
        (100, 1, 0.001, 1),
    ],
)
def test_shards_are_used_up_to_four_fifths(size: int, users: int, rate: float, shards: int) -> None:
    packed = Packed()
    packed.add(size, users)
    assert shards_needed(packed, rate) == shards


class Put(NamedTuple):
    data: bytes
    partition_key: str
    explicit_hash_key: str | None = None
    headers: dict[str, str | None] | None = None


def sample_of(records: list[Put]) -> Sample:
    kept = [UserRecord(each.data, each.partition_key, headers=each.headers) for each in records]
    one = ShardSample(ShardRange("shardId-000000000000", 0, LAST_KEY), kept=kept)
    one.records, one.user_records = 2, len(records)
    one.bytes, one.units, one.billed = 1000, 2, 2048
    return Sample([one], 1)


def test_a_sample_is_packed_as_the_producer_packs_it() -> None:
    records = [Put(b"x" * 90, f"customer-{number % 7}", headers={"h": "1"}) for number in range(100)]
    sample = sample_of(records)
    assert as_stored(sample) == Packed(100, 2, 1000, 2, 2048)
    assert plain(sample) == Packed(100, 100, 100 * 100, 100, 100 * 1024)
    whole = aggregated(sample, Config(), 1000)
    assert (whole.records, whole.user_records) == (1, 100)
    assert whole.bytes == len(encode_aggregate(records)) + 1  # the key "a"
    by_ten = aggregated(sample, Config(), 10)
    assert (by_ten.records, by_ten.user_records) == (10, 100)
    small = aggregated(sample, Config(aggregation_max_size=1000), 1000)
    assert small.user_records == 100
    assert small.records > 10
    assert aggregated(sample, Config(), 1000, "gzip").bytes < whole.bytes / 5


def test_a_lone_record_is_packed_plain_and_a_small_one_uncompressed() -> None:
    lone = sample_of([Put(b"x" * 600, "key")] * 3)
    assert aggregated(lone, Config(), 1) == plain(lone)
    assert aggregated(lone, Config(), 1, "gzip") == plain(lone)  # compression_min_size is 1,024
    assert aggregated(lone, Config(compression_min_size=500), 1, "gzip").bytes < plain(lone).bytes / 5
    wrapped = aggregated(lone, Config(aggregate_single_records=True), 1)
    assert wrapped.bytes == 3 * (len(encode_aggregate([Put(b"x" * 600, "key")])) + len("a"))
    with_first_key = aggregated(lone, Config(aggregate_partition_key="first"), 3)
    assert with_first_key.bytes == len(encode_aggregate([Put(b"x" * 600, "key")] * 3)) + len("key")


def test_data_that_compression_makes_larger_goes_uncompressed() -> None:
    noise = sample_of([Put(random.Random(1).randbytes(5000), "key")])
    assert aggregated(noise, Config(), 1, "gzip") == plain(noise)


def test_a_record_that_fits_no_aggregate_is_packed_alone() -> None:
    sample = sample_of([Put(b"a" * 10, "k"), Put(b"b" * 500, "k" * 200), Put(b"c" * 10, "k")])
    packed = aggregated(sample, Config(aggregation_max_size=64), 10)
    assert (packed.records, packed.user_records) == (3, 3)
    assert packed.bytes > 700


def test_shares_of_shards() -> None:
    assert share(ShardRange("a", 0, LAST_KEY)) == 1
    assert share(ShardRange("a", 0, LAST_KEY >> 1)) == 0.5


def test_a_finding_must_be_in_the_catalogue() -> None:
    with pytest.raises(ValueError, match="got 'weather'"):
        Finding("weather", "ok", "")
    with pytest.raises(ValueError, match="region has no level 'note'"):
        Finding("region", "note", "")
    with pytest.raises(ValueError, match=r"region has no figures \['city'\]"):
        Finding("region", "ok", "", "", {"region": "us-east-1", "city": "Ashburn"})
