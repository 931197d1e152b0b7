"""Ordered mode with real threads over HTTP: throttling, faults, splits and merges during puts."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from kplpy import RecordFuture, deaggregate
from kplpy.hash_keys import HashKeys
from kplpy.local import Fault, LocalKinesis
from tests.local_stream import PATIENCE, local, producing

FAULTS = [
    Fault(entry_code="ProvisionedThroughputExceededException"),
    Fault(entry_code="InternalFailure"),
    Fault(code="ServiceUnavailable", status=503),
    Fault(transport="cut_before"),
    Fault(transport="cut_after"),
    Fault(transport="wrong_length"),
]


def first_copies(kinesis: LocalKinesis) -> dict[str, list[int]]:
    """Return, by key, the numbers in the order of their first copies. Parent shards are read before child shards."""
    shards: dict[str, list[Any]] = defaultdict(list)
    for record in kinesis.ledger("orders"):
        shards[record.shard_id].append(record)
    seen: dict[str, dict[int, None]] = defaultdict(dict)
    hashes = HashKeys()
    for shard_id in sorted(shards):  # so that parents come before their children
        for record in shards[shard_id]:
            low, high = record.shard_range
            for each in deaggregate(record.data, starting_hash_key=low, ending_hash_key=high):
                key, number = each.data.decode().split(":")
                if low <= hashes.compute(key) <= high:  # not so in a compressed batch that was sent again
                    seen[key].setdefault(int(number))
    return {key: list(numbers) for key, numbers in seen.items()}


@pytest.mark.parametrize(("aggregated", "compressed"), [(True, False), (False, False), (True, True)])
def test_order_holds_through_faults_and_reshards(aggregated: bool, compressed: bool) -> None:
    random = Random(5)
    troubled = threading.Event()
    troubled.set()

    def plan(operation: str, params: Mapping[str, Any], now: float) -> Fault | None:
        if operation == "PutRecords" and troubled.is_set() and random.random() < 0.3:
            return random.choice(FAULTS)
        return None

    knobs: dict[str, Any] = {"aggregation_max_size": 500} if aggregated else {"aggregation_enabled": False}
    if compressed:
        knobs |= {"compression": "zstd", "compression_min_size": 1}
    count = 300 if aggregated else 50
    with (
        local(shards=2) as kinesis,
        producing(kinesis, ordered=True, record_max_buffered_time_ms=1, record_ttl_ms=None, **knobs) as producer,
    ):
        futures: list[RecordFuture] = []

        def put(thread: int) -> None:
            for number in range(count):
                key = f"{thread}-{number % 3}"
                futures.append(producer.put_record("orders", f"{key}:{number}".encode(), key))
                if number % 50 == 49:
                    futures[-1].result(PATIENCE)

        kinesis.faults.plan = plan
        threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
        for each in threads:
            each.start()
        for target in (4, 2, 1, 2):
            stream = {"StreamName": "orders", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"}
            kinesis.handle("UpdateShardCount", stream)
            producer.put_record("orders", b"marker:0", "marker").result(PATIENCE)
        for each in threads:
            each.join(PATIENCE)
        troubled.clear()
        for future in futures:
            future.result(PATIENCE)
        metrics = producer.metrics()["orders"]
        assert metrics.entries_failed + metrics.entries_throttled > 0
        assert metrics.requests_failed > 0
        copies = first_copies(kinesis)
    assert len(futures) == 4 * count
    for thread in range(4):
        for rest in range(3):
            assert copies[f"{thread}-{rest}"] == list(range(rest, count, 3))


def test_throttled_records_are_not_overtaken() -> None:
    with local() as kinesis:
        knobs = {"aggregation_max_size": 200, "record_max_buffered_time_ms": 0}
        with producing(kinesis, ordered=True, **knobs) as producer:
            producer.put_record("orders", b"k:0", "k").result(PATIENCE)
            kinesis.faults.fail_entries(entries=frozenset({0}), times=3)
            for future in producer.put_records("orders", [(b"k:%d" % n, "k") for n in range(1, 300)]):
                future.result(PATIENCE)
        assert first_copies(kinesis)["k"] == list(range(300))
