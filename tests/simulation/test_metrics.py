"""Every value sent with PutMetricData equals what the ledger, the responses and the requests show.

The expected values do not come from the registry: the world notes each value when it happens, and the test adds up.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import ShardQueue
from kplpy.core.exchange import Exchange
from kplpy.core.gauges import Gauges
from kplpy.core.outcome import Completion, Delivered, Reason
from kplpy.core.record import PendingRecord
from kplpy.core.results.retry_policy import MALFORMED
from kplpy.local.model.stream import Stream
from kplpy.metrics.recorder import Recorder
from kplpy.metrics.registry import Registry
from kplpy.metrics.sinks.cloudwatch import PutMetricDataSink
from kplpy.wire.compressed import pack_batch
from kplpy.wire.encode import encode_aggregate
from tests.simulation.scenario import Scenario, Trouble, draw
from tests.simulation.world import CORE, NAME, Record, World

Place = tuple[str, tuple[tuple[str, str], ...]]
SAMPLED = {"BufferedRecords", "BufferedBytes", "BufferUse", "ShardRateLimit", "ShardHeadroom"}


class Expected:
    """The expected values by metric and dimensions, at every level of dimensions."""

    def __init__(self) -> None:
        self.values: defaultdict[Place, list[float]] = defaultdict(list)

    def add(self, name: str, value: float, shard: str | None = None, code: str | None = None) -> None:
        base = [("ErrorCode", code)] if code else []
        chains: list[list[tuple[str, str]]] = [[], [*base, ("StreamName", NAME)]]
        if code:
            chains.append([("ErrorCode", code)])
        if shard:
            chains.append([*base, ("StreamName", NAME), ("ShardId", shard)])
        for chain in chains:
            self.values[name, tuple(chain)].append(value)


class Counted(World):
    """A world whose outcomes a Recorder counts. The windows are sent every minute."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.registry = Registry("shard")
        self.recorder = Recorder(self.registry, 1000, 1 << 20)
        self.uploaded: list[dict[str, Any]] = []
        self.sink = PutMetricDataSink(self.uploaded.extend)
        self.expected = Expected()
        self.attempts: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        self.taken: list[tuple[float, str | None, int, list[PendingRecord]]] = []
        self.sizes: dict[Request, list[int]] = {}
        take = self.pipeline.take_completions

        def take_and_record() -> list[Completion]:
            completions = take()
            accepted = self.pipeline.totals.user_records_accepted
            self.recorder.record(NAME, self.pipeline.take_events(), completions, accepted, self.now)
            return completions

        self.pipeline.take_completions = take_and_record  # type: ignore[method-assign]
        self._at(CORE + 0.5, self._sample)
        self._at(CORE + 60.2, self._upload)

    def _sample(self) -> None:
        gauges = Gauges({NAME: self.pipeline.stream_gauges(self.now)}, 10, 1000)
        self.recorder.sample(gauges, self.now)
        self.expected.add("UserRecordsPending", len(self.accepted) - len(self.settled))
        waiting = [each.arrival for each in self.accepted if each.completion is None]
        self.expected.add("OldestRecordAge", (self.now - min(waiting)) * 1000 if waiting else 0.0)
        self._at(self.now + 1.0, self._sample)

    def _upload(self) -> None:
        self.sink.emit(self.registry.cut("detailed", self.now, self.wall))
        self._at(self.now + 60.0, self._upload)

    # --- values of requests and responses ---

    def _arrived(
        self, request: Request, entries: list[dict[str, Any]], sent: list[list[PendingRecord]], started: float
    ) -> None:
        self.sizes[request] = [len(entry["Data"]) for entry in entries]
        super()._arrived(request, entries, sent, started)

    def _answered(
        self, request: Request, exchange: Exchange, sent: list[list[PendingRecord]], stream: Stream | None
    ) -> None:
        add, sizes = self.expected.add, self.sizes[request]
        shards = [batch.queue.shard.shard_id if batch.queue.shard else None for batch in request.batches]
        add("RequestTime", (self.now - exchange.started) * 1000)
        add("KinesisRecordsPerPutRecordsRequest", len(sent))
        add("UserRecordsPerPutRecordsRequest", sum(map(len, sent)))
        for items, shard in zip(sent, shards, strict=True):
            add("UserRecordsPerKinesisRecord", len(items), shard)
            for item in items:
                assert isinstance(item, Record)
                self.attempts[item.ident].append((exchange.started, self.now))
        entries = exchange.entries or []
        if exchange.error is not None or len(entries) != len(sent) or not any(entries):
            code = MALFORMED if entries and len(entries) == len(sent) else "RecordCountMismatch"
            add("AllErrors", 1)
            add("ErrorsByCode", 1, code=code if exchange.error is None else exchange.error.code)
            for size, shard in zip(sizes, shards, strict=True):
                add("DataSentInVain", size, shard)
            entries = []
        for entry, items, size, shard, batch in zip(entries, sent, sizes, shards, request.batches, strict=False):
            if "SequenceNumber" in entry:
                add("KinesisRecordsPut", 1, shard)
                add("KinesisRecordsDataPut", size, shard)
                self._compressed(size, items, shard, batch.queue)
                add("AllErrors", 0, shard)
                self.taken.append((exchange.started, shard, size, items))
            else:
                add("KinesisRecordsPut", 0, shard)
                add("DataSentInVain", size, shard)
                add("AllErrors", 1, shard)
                add("ErrorsByCode", 1, shard, entry.get("ErrorCode", MALFORMED))
        super()._answered(request, exchange, sent, stream)

    def _compressed(self, size: int, items: list[PendingRecord], shard: str | None, queue: ShardQueue) -> None:
        if self.scenario.policy.compression is None:
            return
        aggregated = len(items) > 1 or bool(items[0].tags) or queue.wraps_singles
        whole = len(encode_aggregate(items)) if aggregated else len(items[0].data)
        if aggregated and queue.packs_anywhere:
            whole = len(pack_batch(encode_aggregate(items)[4:-16], "none", 0))
        self.expected.add("UncompressedDataPut", whole, shard)
        if whole:
            self.expected.add("CompressionRatio", 100 * size / whole, shard)

    # --- values of outcomes ---

    def conclude(self) -> None:
        add = self.expected.add
        for record in self.accepted:
            assert record.completion is not None
            outcome, shard = record.completion.outcome, record.completion.predicted
            add("UserRecordsReceived", 1)
            if isinstance(outcome, Delivered):
                shard = outcome.shard_id
                add("UserRecordsPut", 1, shard)
                add("UserRecordsDataPut", len(record.data), shard)
                if record.maybe_written:
                    add("PossibleDuplicates", 1, shard)
            else:
                add("UserRecordsPut", 0, shard)
                if outcome.reason is Reason.EXPIRED:
                    add("UserRecordExpired", 1, shard)
            add("TimeToAnswer", (record.completed_at - record.arrival) * 1000, shard)
            before, attempts = record.arrival, self.attempts[record.ident]
            for started, ended in attempts:
                add("BufferingTime", (started - before) * 1000, shard)
                before = ended
            add("RetriesPerRecord", max(0, len(attempts) - 1), shard)
        for started, shard, size, items in self.taken:
            if any(each.started == started and each.code == "WrongShard" for each in items[0].tries):
                add("DataSentInVain", size, shard)


TROUBLES = {
    "calm": (),
    "throttled": (Trouble("entry_throttled", 0, 20, 0.7), Trouble("entry_internal", 5, 25, 0.3)),
    "failing": (Trouble("internal", 2, 12, 0.8), Trouble("cut_after", 15, 30, 0.5), Trouble("garbage", 15, 40, 0.2)),
    "denied": (Trouble("access_denied", 10, 18, 1.0), Trouble("wrong_length", 20, 40, 0.3)),
    "invalid": (Trouble("poison", 0, 100, 1.0),),
    "resharded": (Trouble("limit_exceeded", 10, 40, 0.1),),
    "outage": (Trouble("refused", 5, 45, 1.0),),
}


@pytest.mark.parametrize("kind", TROUBLES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_metric_equals_what_the_world_saw(seed: int, kind: str) -> None:
    scenario = draw(1000 + seed)
    policy = replace(scenario.policy, request_timeout=60.0, answer_timeout=float("inf"), ttl=30.0, rate=1.0)
    load = replace(scenario.load, records=min(scenario.load.records, 800))
    world = Counted(
        replace(
            scenario,
            policy=policy,
            load=load,
            troubles=TROUBLES[kind],
            changes=((15.0, "split"), (22.0, "split"), (40.0, "merge")) if kind == "resharded" else (),
            capacity=1.0,
            on_demand=False,
            latency=(0.005, 0.05),
            gives_up_at=float("inf"),
        )
    )
    world.run()
    world.conclude()
    world.sink.emit(world.registry.cut("detailed", world.now, world.wall, up_to_now=True))
    uploaded: defaultdict[Place, list[dict[str, float]]] = defaultdict(list)
    for datum in world.uploaded:
        place = datum["MetricName"], tuple((each["Name"], each["Value"]) for each in datum["Dimensions"])
        uploaded[place].append(datum["StatisticValues"])
    assert {name for name, _ in uploaded} >= SAMPLED
    expected = world.expected.values
    assert {place for place in uploaded if place[0] not in SAMPLED} == set(expected)
    for place, values in expected.items():
        sets = uploaded[place]
        assert sum(each["SampleCount"] for each in sets) == len(values), place
        assert sum(each["Sum"] for each in sets) == pytest.approx(sum(values), rel=1e-9, abs=1e-6), place
        assert min(each["Minimum"] for each in sets) == pytest.approx(min(values), abs=1e-6), place
        assert max(each["Maximum"] for each in sets) == pytest.approx(max(values), abs=1e-6), place
    stream = ("KinesisRecordsDataPut", (("StreamName", NAME),))
    ledger = list(world.model.ledger())
    if kind not in ("failing", "denied"):  # in these kinds, records are written without a response that says so
        assert len(expected[stream]) == len(ledger)
        assert sum(expected[stream]) == sum(len(entry.data) for entry in ledger)
