"""Compressed batches over HTTP: round trips, limits, bad records, and what is missing without the library."""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from kplpy import Producer, RejectedError
from kplpy.core.batching import shard_queue
from kplpy.local import Fault, LocalKinesis
from kplpy.wire.compressed import MAGIC, unpack_batch
from tests.local_stream import PATIENCE, contents, local, producing


def events(count: int) -> list[tuple[bytes, str]]:
    draw = random.Random(1)
    fields = ("page_view", "purchase", "search")
    return [
        (
            json.dumps(
                {"id": f"{draw.getrandbits(64):x}", "type": draw.choice(fields), "number": number, "currency": "EUR"}
            ).encode(),
            f"customer-{draw.randrange(100)}",
        )
        for number in range(count)
    ]


def compressed_records(kinesis: LocalKinesis) -> int:
    return sum(each.data.startswith(MAGIC) for each in kinesis.ledger("orders"))


@pytest.mark.parametrize("request_format", ["json", "cbor"])
@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_all_records_come_back(codec: str, request_format: str) -> None:
    items = [*events(3000), (b"", "empty"), (b"\xcbkpb", "looks like a batch"), *((b"x", "small") for _ in range(3))]
    with (
        local(shards=2) as kinesis,
        producing(kinesis, compression=codec, request_format=request_format) as producer,
    ):
        results = [future.result(PATIENCE) for future in producer.put_records("orders", items)]
        totals = producer.metrics()["orders"]
        ledger = kinesis.ledger("orders")
        assert contents(kinesis) == Counter(data for data, _ in items)
    assert compressed_records(kinesis) >= 2
    assert {(each.shard_id, each.sequence_number) for each in results} == {
        (each.shard_id, each.sequence_number) for each in ledger
    }
    assert totals.kinesis_bytes_put == sum(len(each.data) + len(each.partition_key or "") for each in ledger)
    assert totals.kinesis_bytes_saved > totals.kinesis_bytes_put
    assert not any(each.possible_duplicate for each in results)


def test_a_large_record_is_compressed_alone() -> None:
    data = b'{"word": "value"}' * 61_000
    with local() as kinesis, producing(kinesis, compression="gzip", max_user_record_size=10 << 20) as producer:
        producer.put_record("orders", data, "k").result(PATIENCE)
        producer.put_record("orders", data * 2, "k").result(PATIENCE)
        (first, second) = kinesis.ledger("orders")
        assert len(first.data) < len(second.data) < 20_000
        assert (first.partition_key, second.partition_key) == ("k", "k")
        assert contents(kinesis) == Counter([data, data * 2])


def test_a_stream_may_have_its_own_compression() -> None:
    items = events(100)
    with LocalKinesis(limits=False, streams={"orders": 1, "plain": 1}) as kinesis:
        options: Any = {"streams": {"orders": {"compression": "gzip", "compression_level": 9}}}
        with producing(kinesis, **options) as producer:
            for stream in ("orders", "plain"):
                for future in producer.put_records(stream, items):
                    future.result(PATIENCE)
        assert all(each.data.startswith(MAGIC) for each in kinesis.ledger("orders"))
        assert not any(each.data.startswith(MAGIC) for each in kinesis.ledger("plain"))


def test_a_limited_shard_takes_more_user_bytes() -> None:
    items = [(data * 3, key) for data, key in events(12_000)]
    with (
        local(limits=True) as kinesis,
        producing(kinesis, compression="zstd", record_ttl_ms=None) as producer,
    ):
        for future in producer.put_records("orders", items):
            assert not future.result(PATIENCE).possible_duplicate
        totals = producer.metrics()["orders"]
        assert contents(kinesis) == Counter(data for data, _ in items)
    assert totals.kinesis_bytes_put < sum(len(data) for data, _ in items) / 3
    assert totals.entries_throttled <= totals.kinesis_records_sent / 10


@pytest.mark.parametrize("ordered", [False, True])
def test_a_bad_record_is_found_in_a_compressed_batch(ordered: bool) -> None:
    def plan(operation: str, params: Mapping[str, Any], now: float) -> Fault | None:
        if operation != "PutRecords":
            return None
        data = [unpack_batch(entry["Data"]) or entry["Data"] for entry in params["Records"]]
        return Fault(code="InvalidArgumentException") if any(b"BAD" in each for each in data) else None

    items = events(400)
    with local(shards=2) as kinesis, producing(kinesis, compression="gzip", ordered=ordered) as producer:
        kinesis.faults.plan = plan
        futures = producer.put_records("orders", [*items[:200], (b"BAD" * 200, "k"), *items[200:]])
        with pytest.raises(RejectedError):
            futures.pop(200).result(PATIENCE)
        assert all(not future.result(PATIENCE).possible_duplicate for future in futures)
        assert contents(kinesis) == Counter(data for data, _ in items)
        assert compressed_records(kinesis)


def test_an_error_in_the_codec_leaves_the_records_uncompressed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bytes:
        raise MemoryError("no memory for the codec")

    monkeypatch.setattr(shard_queue, "pack_batch", broken)
    items = events(100)
    with local() as kinesis, producing(kinesis, compression="gzip") as producer, caplog.at_level(logging.ERROR):
        for future in producer.put_records("orders", items):
            future.result(PATIENCE)
        assert contents(kinesis) == Counter(data for data, _ in items)
        assert not compressed_records(kinesis)
    assert "no memory for the codec" in caplog.text


WITHOUT_ZSTD = """
import sys
sys.modules["zstandard"] = sys.modules["compression.zstd"] = None
from kplpy import Config, ConfigError, Producer
for options in ({"compression": "zstd"}, {"streams": {"orders": {"compression": "zstd"}}}):
    Config(**options)
    try:
        Producer(region_name="eu-west-1", **options)
    except ConfigError as error:
        print(error)
Producer(region_name="eu-west-1", compression="gzip").close()
"""


def test_zstd_without_its_library_is_refused_when_the_producer_is_made() -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT_ZSTD], capture_output=True, text=True, timeout=60, check=True)
    lines = ran.stdout.splitlines()
    assert len(lines) == 2
    if sys.version_info < (3, 14):
        message = "compression='zstd' needs a library: pip install 'kplpy[zstd]', which brings zstandard"
        assert lines == [message, message]


def test_bytes_in_flight_are_bounded() -> None:
    """Each request fits although the first estimate, of records that compress well, is far too low for the rest."""
    draw = random.Random(2)
    items = [(b"a" * 20_000, "k") for _ in range(40)] + [(draw.randbytes(20_000), "k") for _ in range(100)]
    sizes: list[int] = []

    def plan(operation: str, params: Mapping[str, Any], now: float) -> Fault | None:
        if operation == "PutRecords":
            sizes.append(sum(len(each["Data"]) + 1 for each in params["Records"]))
        return None

    with local() as kinesis:
        kinesis.faults.plan = plan
        with producing(
            kinesis, compression="gzip", max_inflight_bytes=200_000, rate_limit=100_000, max_connections=4
        ) as producer:
            for future in producer.put_records("orders", items[:40]):
                future.result(PATIENCE)
            for future in producer.put_records("orders", items[40:]):
                future.result(PATIENCE)
        assert contents(kinesis) == Counter(data for data, _ in items)
    assert max(sizes) <= 200_000


def test_a_closed_producer_delivers_what_it_has() -> None:
    items = events(2000)
    with local(shards=2) as kinesis:
        producer: Producer = producing(kinesis, compression="zstd", record_max_buffered_time_ms=60_000)
        futures = producer.put_records("orders", items)
        producer.close()
        assert all(future.result(0).shard_id for future in futures)
        assert contents(kinesis) == Counter(data for data, _ in items)
