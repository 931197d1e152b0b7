"""Records on other shards than predicted, over HTTP: AUTO streams, reshards, bad listings, a recreated stream."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from kplpy import Producer, RecordFuture, deaggregate
from kplpy.core import policy
from kplpy.local import Fault, LocalKinesis, Phases, ServiceError
from kplpy.local.model.ledger import LedgerRecord
from kplpy.local.model.model import Model
from kplpy.wire.compressed import MAGIC, unpack_batch
from tests.integration.reading import wait_until
from tests.local_stream import PATIENCE, local, producing

AUTO, BY_KEY = "AUTO", "USER_PARTITION_KEY"


class Load:
    """A thread that puts numbered records until it is stopped. `check` compares every result with the ledger."""

    def __init__(self, producer: Producer, keyless: bool = False) -> None:
        self.futures: list[RecordFuture] = []
        self._producer = producer
        self._sticky = keyless
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._put)

    def __enter__(self) -> Load:
        self._thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)

    def _put(self) -> None:
        while not self._stop.wait(0.005):
            at = len(self.futures)
            items = [(b"%d" % n, None if self._sticky else str(n)) for n in range(at, at + 20)]
            self.futures += self._producer.put_records("orders", items)

    def goes_on(self, records: int = 200) -> None:
        """Wait until so many more records have an outcome."""
        last = len(self.futures) + records
        wait_until(lambda: len(self.futures) > last and self.futures[last].done(), PATIENCE)

    def check(self, records: list[LedgerRecord]) -> None:
        """Check each record: delivered, readable at its result's place, and there twice only if possible_duplicate."""
        copies = Counter(
            each.data
            for record in records
            for each in deaggregate(
                record.data, starting_hash_key=record.shard_range[0], ending_hash_key=record.shard_range[1]
            )
        )
        numbers = {(record.shard_id, record.sequence_number) for record in records}
        for n, future in enumerate(self.futures):
            result = future.result(PATIENCE)
            assert (result.shard_id, result.sequence_number) in numbers, n
            assert copies[b"%d" % n] >= 1, n
            assert copies[b"%d" % n] == 1 or result.possible_duplicate, n


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "STRATEGY_POLL", 0.2)


@pytest.fixture
def on_demand() -> Iterator[LocalKinesis]:
    with local(stream=None) as kinesis:
        kinesis.handle("CreateStream", {"StreamName": "orders", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}})
        yield kinesis


def test_a_stream_deleted_and_created_again_with_other_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service takes at least ten seconds for it. Both times are a tenth here."""
    monkeypatch.setattr(policy, "RECREATION_TIME", 1.0)
    monkeypatch.setattr(policy, "MAP_IDLE_TRUST", 1.0)
    with local(shards=2, phases=Phases(deleting=1.0)) as kinesis, producing(kinesis) as producer:
        with Load(producer) as load:
            deleted = list(kinesis.ledger("orders"))
            kinesis.call(lambda model: setattr(model.account, "keep_deleted", True))
            kinesis.handle("DeleteStream", {"StreamName": "orders"})
            wait_until(lambda: _created(kinesis, 3), PATIENCE)
            load.goes_on(400)
        producer.flush(timeout=PATIENCE)
        records = kinesis.ledger("orders")
        assert len(records) > len(deleted)
        assert {each.incarnation for each in records} == {1, 2}
        load.check(records)


def _created(kinesis: LocalKinesis, shards: int) -> bool:
    try:
        kinesis.handle("CreateStream", {"StreamName": "orders", "ShardCount": shards})
    except ServiceError:
        return False  # the old stream still exists
    return True


def switch(kinesis: LocalKinesis, strategy: str) -> None:
    def change(model: Model) -> None:
        arn = model.streams["orders"].arn
        what = {"StreamARN": arn, "RecordDistributionStrategy": strategy}
        model.handle("UpdateStreamRecordDistributionStrategy", what, model.now)

    kinesis.call(change)


def aggregates(kinesis: LocalKinesis, since: int = 0) -> int:
    return sum(len(deaggregate(each.data)) > 1 for each in kinesis.ledger("orders")[since:])


def packs(kinesis: LocalKinesis) -> Callable[[], bool]:
    before = len(kinesis.ledger("orders"))
    return lambda: aggregates(kinesis, before) > 5


@pytest.mark.parametrize("keyless", [False, True])
def test_an_auto_stream_gets_no_aggregates(on_demand: LocalKinesis, keyless: bool) -> None:
    switch(on_demand, AUTO)
    with producing(on_demand) as producer:
        with Load(producer, keyless) as load:
            load.goes_on()
        producer.flush(timeout=PATIENCE)
        records = on_demand.ledger("orders")
        load.check(records)
        assert len(records) == len(load.futures)
        assert {each.partition_key is None for each in records} == {keyless}
        totals = producer.metrics()["orders"]
        assert totals.put_records_requests < len(records) / 4


@pytest.mark.parametrize("keyless", [False, True])
def test_an_auto_stream_gets_compressed_batches(on_demand: LocalKinesis, keyless: bool) -> None:
    switch(on_demand, AUTO)
    with producing(on_demand, compression="zstd", compression_min_size=256) as producer:
        with Load(producer, keyless) as load:
            load.goes_on()
        producer.flush(timeout=PATIENCE)
        records = on_demand.ledger("orders")
        load.check(records)
        assert len(records) < len(load.futures) / 5
        assert all(unpack_batch(each.data) for each in records if len(deaggregate(each.data)) > 1)
        assert {each.partition_key is None for each in records} == {keyless}


def test_compressed_batches_through_switches_of_the_strategy(on_demand: LocalKinesis) -> None:
    with producing(on_demand, compression="gzip", compression_min_size=1) as producer:
        with Load(producer) as load:
            for strategy in (AUTO, BY_KEY, AUTO):
                switch(on_demand, strategy)
                load.goes_on(400)
        producer.flush(timeout=PATIENCE)
        load.check(on_demand.ledger("orders"))


def test_compressed_batches_through_reshards() -> None:
    with local(shards=2) as kinesis, producing(kinesis, compression="gzip", compression_min_size=1) as producer:
        with Load(producer) as load:
            for shards in (4, 2, 1):
                target = {"StreamName": "orders", "TargetShardCount": shards, "ScalingType": "UNIFORM_SCALING"}
                kinesis.handle("UpdateShardCount", target)
                load.goes_on(400)
        producer.flush(timeout=PATIENCE)
        records = kinesis.ledger("orders")
        load.check(records)
        assert sum(each.data.startswith(MAGIC) for each in records) > len(records) / 2


@pytest.mark.parametrize("allowed", [True, False])
def test_a_switch_to_auto_and_back(on_demand: LocalKinesis, allowed: bool) -> None:
    if not allowed:
        denied = {"code": "AccessDeniedException", "operation": "DescribeStreamSummary", "times": 1_000_000}
        on_demand.faults.fail(**denied)  # type: ignore[arg-type]
    with producing(on_demand) as producer:
        with Load(producer) as load:
            assert aggregates(on_demand)
            switch(on_demand, AUTO)
            load.goes_on(400)
            before = len(on_demand.ledger("orders"))
            load.goes_on()
            assert not aggregates(on_demand, before)
            switch(on_demand, BY_KEY)
            wait_until(packs(on_demand), PATIENCE)
        producer.flush(timeout=PATIENCE)
        load.check(on_demand.ledger("orders"))


def test_keys_are_given_when_an_auto_stream_wants_them_again(on_demand: LocalKinesis) -> None:
    switch(on_demand, AUTO)
    with producing(on_demand) as producer:
        with Load(producer, keyless=True) as load:
            switch(on_demand, BY_KEY)
            wait_until(packs(on_demand), PATIENCE)
        producer.flush(timeout=PATIENCE)
        load.check(on_demand.ledger("orders"))


def test_the_strategy_is_asked_for_seldom_and_not_for_nothing(
    on_demand: LocalKinesis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "STRATEGY_POLL", 3600.0)
    asked: list[str] = []

    def note(operation: str, params: Mapping[str, Any], now: float) -> None:
        if operation == "DescribeStreamSummary":
            asked.append(params["StreamName"])

    on_demand.faults.plan = note
    switch(on_demand, AUTO)
    with producing(on_demand) as producer, Load(producer) as load:
        load.goes_on()
    assert asked == ["orders"]


def reshard(kinesis: LocalKinesis, count: int) -> None:
    what = {"StreamName": "orders", "TargetShardCount": count, "ScalingType": "UNIFORM_SCALING"}
    kinesis.handle("UpdateShardCount", what)


@pytest.mark.parametrize("keyless", [False, True])
def test_four_shards_eight_and_four_again(keyless: bool) -> None:
    with local(shards=4) as kinesis, producing(kinesis) as producer:
        with Load(producer, keyless) as load:
            for count in (8, 4):
                reshard(kinesis, count)
                load.goes_on(400)
        producer.flush(timeout=PATIENCE)
        load.check(kinesis.ledger("orders"))


def test_a_split_and_a_merge_of_a_loaded_shard() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        with Load(producer) as load:
            named = {"StreamName": "orders"}
            split = {"ShardToSplit": "shardId-000000000000", "NewStartingHashKey": str(1 << 127)}
            kinesis.handle("SplitShard", {**named, **split})
            load.goes_on(400)
            merge = {"ShardToMerge": "shardId-000000000001", "AdjacentShardToMerge": "shardId-000000000002"}
            kinesis.handle("MergeShards", {**named, **merge})
            load.goes_on(400)
        producer.flush(timeout=PATIENCE)
        load.check(kinesis.ledger("orders"))


def test_shards_that_may_not_be_listed_while_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MAP_PATIENCE", 0.2)
    monkeypatch.setattr(policy, "JUDGE_PATIENCE", 0.5)
    with local(shards=2) as kinesis, producing(kinesis) as producer:
        with Load(producer) as load:
            kinesis.faults.fail("AccessDeniedException", operation="ListShards", times=1_000_000)
            reshard(kinesis, 4)
            load.goes_on(400)
        producer.flush(timeout=PATIENCE)
        load.check(kinesis.ledger("orders"))


def test_a_stale_listing_while_shards_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MAP_PATIENCE", 0.2)
    monkeypatch.setattr(policy, "JUDGE_PATIENCE", 0.5)  # the real values are 30 s and 10 s
    with local(shards=2) as kinesis, producing(kinesis) as producer:
        stale = kinesis.handle("ListShards", {"StreamName": "orders", "ShardFilter": {"Type": "AT_LATEST"}})
        with Load(producer) as load:
            kinesis.faults.add(Fault(answer=stale), operation="ListShards", times=1_000_000)
            reshard(kinesis, 4)
            load.goes_on(1000)
            kinesis.call(lambda model: model.faults.clear())
            wait_until(packs(kinesis), PATIENCE)
        producer.flush(timeout=PATIENCE)
        load.check(kinesis.ledger("orders"))
