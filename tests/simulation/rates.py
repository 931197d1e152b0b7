"""Producers that put more than the shards accept, on a virtual clock: measures goodput and throttling.

Nothing is encoded. A Kinesis record counts with its size, on the shard for which its batch was made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count, pairwise
from math import ceil
from random import Random

from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange
from kplpy.core.pipeline import Pipeline
from kplpy.core.policy import SHARD_BYTES_PER_SECOND, Policy
from kplpy.core.results.retry_policy import THROTTLED
from kplpy.core.routing.placement import BY_KEY, Summary
from kplpy.core.shard_range import ShardRange
from kplpy.local.model.limits import Limits, WriteBucket, WriteRate, WriteWindow
from tests.core_helpers import item as keyed
from tests.core_helpers import keyless
from tests.simulation.scenario import MAX_HASH

NEVER = float("inf")
SETTLING = WINDOW = 10  # seconds


@dataclass
class Second:
    """One producer's Kinesis records in one second of the clock: sent, throttled, and the bytes that were accepted."""

    sent: int = 0
    throttled: int = 0
    taken_bytes: int = 0


@dataclass
class Measured:
    """One producer's totals between second 5 and 5 seconds before the end."""

    sent_bytes: int = 0
    taken_bytes: int = 0
    throttled_bytes: int = 0
    sent: int = 0
    throttled: int = 0
    records: int = 0  # completed user records of the whole run
    seconds: list[Second] = field(default_factory=list)  # of the whole run
    latencies: dict[int, list[float]] = field(default_factory=dict)

    @property
    def throttled_share(self) -> float:
        return self.throttled / max(1, self.sent)


class Rates:
    """Producers that share a stream's shards.

    refusal: the error code of a throttled record

    offered: bytes per second that are put on each producer, divided by the limit of all shards
    joins, leaves: the second at which each producer begins and ends, by default 0 and never; a producer that leaves
        drops its backlog
    backlog: size of a producer's buffer in bytes; while the buffer is full, nothing is put
    shares: relative weights of the shards in what is put
    busy, foreign: what others write to each shard, divided by its limit
    """

    def __init__(
        self,
        policy: Policy,
        producers: int = 1,
        shards: int = 4,
        offered: float = 2.0,
        record_size: int = 5000,
        windows: bool = False,
        foreign: float = 0.0,
        shares: tuple[float, ...] = (),
        seconds: float = 60.0,
        seed: int = 1,
        joins: tuple[float, ...] = (),
        leaves: tuple[float, ...] = (),
        backlog: float = 16e6,
        keyless: bool = False,
        busy: tuple[float, ...] = (),
    ) -> None:
        self.random = Random(seed)
        self.refusal = THROTTLED
        self.policy, self.seconds, self.shards = policy, seconds, shards
        self.offered, self.record_size = offered, record_size
        self.shares = shares or (1.0,) * shards
        self.backlog = backlog
        self.keyless = keyless
        self.busy = busy or (foreign,) * shards
        self.joins = joins or (0.0,) * producers
        self._ends = leaves + (NEVER,) * (producers - len(leaves))
        limits = Limits()
        rate, size = limits.shard_records_per_second or 0, limits.shard_bytes_per_second or 0
        self.service: list[WriteRate] = [
            WriteWindow(rate, size, self.random.random() - 1) if windows else WriteBucket(rate, size, 0.0)
            for _ in range(shards)
        ]
        width = (MAX_HASH + 1) // shards
        self.ranges = [ShardRange(f"shardId-{n:012d}", n * width, (n + 1) * width - 1) for n in range(shards)]
        self.pipelines = [Pipeline(policy, Random(seed * 10 + n).random) for n in range(producers)]
        self.measured = [Measured() for _ in range(producers + 1)]  # the last one is for the foreign writers
        for each in self.measured:
            each.seconds = [Second() for _ in range(ceil(seconds) + 1)]
        self._busy = [0] * producers
        self._backlog = [0.0] * producers
        self._visit_at = [NEVER] * producers
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()
        self.now = 0.0

    def run(self) -> Rates:
        for number, pipeline in enumerate(self.pipelines):
            pipeline.description_started(0.0)
            pipeline.described(Summary(BY_KEY, self.shards), 0.0)
            pipeline.listing_started(0.0)
            pipeline.listing_succeeded(self.ranges, 0.0)
            self._at(self.joins[number] + 0.001 * number, self._offer(number))
        for service, share in zip(self.service, self.busy, strict=True):
            if share:
                self._at(0.0, self._foreign_loop(service, 10_000 / (share * SHARD_BYTES_PER_SECOND)))
        while self._events:
            self.now, _, event = heappop(self._events)
            if self.now > self.seconds:
                break
            event()
        return self

    @property
    def goodput(self) -> float:
        taken = sum(each.taken_bytes for each in self.measured)
        return taken / ((self.seconds - 10) * self.shards * SHARD_BYTES_PER_SECOND)

    def taken(self, begin: int, end: int, number: int | None = None) -> float:
        """Return the accepted bytes of all producers, or of one, divided by the limit of all shards."""
        counted = self.measured if number is None else [self.measured[number]]
        taken = sum(second.taken_bytes for each in counted for second in each.seconds[begin:end])
        return taken / ((end - begin) * self.shards * SHARD_BYTES_PER_SECOND)

    def throttled(self, begin: int, end: int) -> float:
        """Return the share of the producers' Kinesis records that was throttled between two seconds."""
        seconds = [second for each in self.measured[:-1] for second in each.seconds[begin:end]]
        return sum(each.throttled for each in seconds) / max(1, sum(each.sent for each in seconds))

    def least_share(self) -> float:
        """Return the accepted bytes of any producer's worst window, divided by its fair share in that window.

        A window has WINDOW seconds. The first SETTLING seconds after the start, and after a producer joined or left,
        are not counted.
        """
        changes = sorted({0.0, *self.joins, *(each for each in self._ends if each < self.seconds)})
        least = NEVER
        for since, until in pairwise([*changes, self.seconds]):
            present = [n for n in range(len(self.pipelines)) if self.joins[n] <= since < self._ends[n]]
            for begin in range(ceil(since) + SETTLING, int(until) - WINDOW + 1):
                taken = [self.taken(begin, begin + WINDOW, number) for number in present]
                least = min(least, min(taken) * len(present) / sum(taken))
        return least

    def _at(self, at: float, event: Callable[[], None]) -> None:
        heappush(self._events, (max(at, self.now), next(self._serial), event))

    def _offer(self, number: int) -> Callable[[], None]:
        data = bytes(self.record_size)
        step = 0.02
        owed = 0.0

        def offer() -> None:
            nonlocal owed
            if self.now >= self._ends[number]:
                return
            owed += self.offered * self.shards * SHARD_BYTES_PER_SECOND * step / len(data)
            items = []
            while owed >= 1 and self._backlog[number] < self.backlog:
                owed -= 1
                shard = self.random.choices(range(self.shards), self.shares)[0]
                hash_key = self.ranges[shard].start + self.random.getrandbits(32)
                items.append(keyless(self.now, data) if self.keyless else keyed(data, "key", hash_key, self.now))
                self._backlog[number] += len(data)
            owed = min(owed, 1e5 / len(data))  # what a full buffer blocked is not put later
            if items:
                self.pipelines[number].accept(items, self.now)
            self._plan(number)
            self._at(self.now + step, offer)

        return offer

    def _plan(self, number: int) -> None:
        if self.now >= self._ends[number]:
            return
        wake_at = self.pipelines[number].next_wakeup(self.now)
        if wake_at <= self.now:
            if self._busy[number] < 24:
                self._at(self.now, lambda: self._send(number))
                return
            wake_at = self.now + 0.25
        if wake_at < self._visit_at[number]:
            self._visit_at[number] = wake_at
            self._at(wake_at, lambda: self._visit(number))

    def _visit(self, number: int) -> None:
        if self.now < self._visit_at[number]:
            return
        self._visit_at[number] = NEVER
        self.pipelines[number].tick(self.now)
        self._settle(number)
        self._plan(number)

    def _send(self, number: int) -> None:
        if self._busy[number] >= 24 or self.now >= self._ends[number]:
            return
        if self.pipelines[number].wants_listing(self.now):
            self.pipelines[number].listing_started(self.now)
            self.pipelines[number].listing_succeeded(self.ranges, self.now)
        request = self.pipelines[number].next_request(self.now)
        self._settle(number)
        if request is not None:
            self._busy[number] += 1
            taken = request
            self._at(self.now + self.random.uniform(0.0025, 0.025), lambda: self._arrive(number, taken))
        self._plan(number)

    def _arrive(self, number: int, request: Request) -> None:
        entries: list[dict[str, str]] = []
        for batch in request.batches:
            shard = self.ranges.index(batch.queue.shard) if batch.queue.shard else 0
            taken = self.service[shard].take(batch.wire_size, self.now)
            self._count(self.measured[number], batch.wire_size, taken)
            if taken:
                entries.append({"ShardId": self.ranges[shard].shard_id, "SequenceNumber": "1"})
            else:
                entries.append({"ErrorCode": self.refusal, "ErrorMessage": "Rate exceeded"})

        def answered() -> None:
            self._busy[number] -= 1
            self.pipelines[number].request_ended(request, Exchange(request.started, self.now, 0.0, entries), self.now)
            self._settle(number)
            self._plan(number)

        self._at(self.now + self.random.uniform(0.0025, 0.025), answered)

    def _count(self, measured: Measured, size: int, taken: bool) -> None:
        second = measured.seconds[int(self.now)]
        second.sent += 1
        second.throttled += not taken
        second.taken_bytes += size * taken
        if not 5 <= self.now < self.seconds - 5:
            return
        measured.sent += 1
        measured.sent_bytes += size
        if taken:
            measured.taken_bytes += size
        else:
            measured.throttled += 1
            measured.throttled_bytes += size

    def _settle(self, number: int) -> None:
        for completion in self.pipelines[number].take_completions():
            self._backlog[number] -= sum(len(item.data) for item in completion.items)
            self.pipelines[number].settled(completion.items)
            self.measured[number].records += len(completion.items)
            for item in completion.items:
                shard = next(n for n, each in enumerate(self.ranges) if each.holds(item.hash_key))
                self.measured[number].latencies.setdefault(shard, []).append(self.now - item.arrival)

    def _foreign_loop(self, shard: WriteRate, step: float) -> Callable[[], None]:
        """Return a loop that writes a fixed part of the shard's limit, in records of 10 KB, without retries."""

        def write() -> None:
            self._count(self.measured[-1], 10_000, shard.take(10_000, self.now))
            self._at(self.now + step, write)

        return write
