"""Queue: which records of a stream were received, acknowledged or given up, and which come next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import md5
from heapq import heapify, heappop, heappush, merge
from itertools import islice
from typing import Any

from kplpy.local.model.resources import Resource
from kplpy.local.model.sequence import sequence_count
from kplpy.local.model.shard import Record, Shard
from kplpy.local.model.stream import ScheduledChanges, Stream

LIVE, DEAD, GONE = 0, 1, 2
"""Where a received record is: in the queue, among the dead letters, or acknowledged."""
_SLACK = 256
"""How many entries that are outdated a queue holds at least before it looks for them."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A received record of a queue.

    shard, count: which record: the shard's index, and the record's count within the stream
    receives: how often it was received since it came, or since it was restored
    first: when it was received first, epoch seconds
    visible_at: when it can be received again, epoch seconds
    version: rises with each change, so that earlier receipt handles are not valid
    place: LIVE, DEAD or GONE
    """

    shard: int
    count: int
    receives: int
    first: float
    visible_at: float
    version: int
    place: int


Entry = tuple[float, int, int]
"""An entry of a queue's heaps: visible_at, count and version of a received record."""


@dataclass(frozen=True)
class Start:
    """Where a queue begins: `kind` as in the request; records from this count and this time on."""

    kind: str
    count: int
    time: float


class Queue(ScheduledChanges, Resource):
    """A queue on a stream.

    visibility: seconds for which a received record is not received again
    most_receives: after so many receives a record is a dead letter; None: never
    deliveries: the received records that are not acknowledged, by their count

    What is received and acknowledged changes through apply() alone, with what the journal keeps.
    """

    def __init__(self, name: str, stream: Stream, arn: str, now: float, start: Start) -> None:
        ScheduledChanges.__init__(self)
        Resource.__init__(self, arn)
        self.name, self.stream = name, stream
        self.created = now
        self.start = start
        self.visibility = 30
        self.most_receives: int | None = 6
        self.deliveries: dict[int, Delivery] = {}
        self._last: dict[int, int] = {}  # by shard: the count of the last record that was received
        self._exhausted_at = -1  # the stream's count when no record was left that was never received
        self._hidden: list[Entry] = []  # heap of live records, maybe outdated
        self._ready: list[tuple[int, Entry]] = []  # heap of live records that are visible, by count, maybe outdated
        self._dead: list[Entry] = []  # heap of dead letters, maybe outdated
        self._checked = 0  # how many of `deliveries` the stream held when they were last compared with it

    @property
    def id(self) -> str:
        return self.arn.rpartition("/")[2]

    # --- changes ---

    def apply(self, deliveries: list[Delivery]) -> None:
        """Set the state of received records."""
        for each in deliveries:
            self._last[each.shard] = max(each.count, self._last.get(each.shard, 0))
            if each.place == GONE:
                self.deliveries.pop(each.count, None)
                continue
            self.deliveries[each.count] = each
            heap = self._hidden if each.place == LIVE else self._dead
            heappush(heap, (each.visible_at, each.count, each.version))
        self._drop_outdated()

    def _drop_outdated(self) -> None:
        """Drop what is outdated if it may be half of what is held, so that memory is bounded and little work done."""
        if len(self.deliveries) > 2 * self._checked + _SLACK:
            shards = self.stream.shards
            self.deliveries = {
                count: each
                for count, each in self.deliveries.items()
                if each.shard in shards and shards[each.shard].holds(count)
            }
            self._checked = len(self.deliveries)
        for heap, place in ((self._hidden, LIVE), (self._dead, DEAD)):
            if len(heap) > 2 * len(self.deliveries) + _SLACK:
                heap[:] = [each for each in heap if self._valid(each, place)]
                heapify(heap)

    def settle(self, now: float) -> None:
        """Make the records visible whose time has come, and those dead that were received too often."""
        while self._hidden and self._hidden[0][0] <= now:
            entry = heappop(self._hidden)
            delivery = self._valid(entry, LIVE)
            if delivery is None:
                continue
            if self.most_receives is not None and delivery.receives >= self.most_receives:
                self.deliveries[delivery.count] = replace(delivery, place=DEAD)
                heappush(self._dead, entry)
            else:
                heappush(self._ready, (delivery.count, entry))

    def current(self, count: int, version: int) -> Delivery | None:
        """Return a received record if this version of it is still the latest."""
        delivery = self.deliveries.get(count)
        return delivery if delivery is not None and delivery.version == version else None

    def _valid(self, entry: Entry, place: int) -> Delivery | None:
        """Return the received record of a heap's entry, None if it has changed since."""
        delivery = self.current(entry[1], entry[2])
        return delivery if delivery and delivery.place == place and delivery.visible_at == entry[0] else None

    # --- what comes next ---

    def visible(self, now: float, limit: int) -> list[tuple[Delivery, Record]]:
        """Return up to `limit` records to receive: those that were received before, then new ones."""
        self.settle(now)
        found: dict[int, tuple[Delivery, Record]] = {}
        taken = []
        while self._ready and len(found) < limit:
            entry = heappop(self._ready)
            if self._add(found, entry[1], LIVE):
                taken.append(entry)
        for each in taken:  # the next call drops them, unless this receive is not carried out
            heappush(self._ready, each)
        return [*found.values(), *self._new(now, limit - len(found))]

    def visible_dead(self, now: float, limit: int) -> list[tuple[Delivery, Record]]:
        """Return up to `limit` dead letters to receive."""
        self.settle(now)
        found: dict[int, tuple[Delivery, Record]] = {}
        taken = []
        while self._dead and self._dead[0][0] <= now and len(found) < limit:
            entry = heappop(self._dead)
            if self._add(found, entry, DEAD):
                taken.append(entry)
        for each in taken:
            heappush(self._dead, each)
        return list(found.values())

    def _add(self, found: dict[int, tuple[Delivery, Record]], entry: Entry, place: int) -> bool:
        """Add the received record of a heap's entry to `found`; return False if the entry is outdated."""
        delivery = self._valid(entry, place)
        record = None if delivery is None else self._record(delivery)
        if delivery is None or record is None:
            return False
        found[delivery.count] = (delivery, record)
        return True

    def _record(self, delivery: Delivery) -> Record | None:
        """Return the record of a delivery; None, and forget it, if the stream has trimmed it."""
        shard = self.stream.shards.get(delivery.shard)
        if shard is not None:
            position = shard.position(shard.floor(delivery.count))
            if position < len(shard.records) and sequence_count(shard.records[position].number) == delivery.count:
                return shard.records[position]
        del self.deliveries[delivery.count]
        return None

    def _new(self, now: float, limit: int) -> list[tuple[Delivery, Record]]:
        """Return up to `limit` records that were never received, in the order of acceptance."""
        if limit <= 0 or self._exhausted_at == self.stream.count:
            return []
        records = merge(*map(self._unreceived, self.stream.shards.values()), key=lambda each: each[0])
        found = [
            (Delivery(shard, count, 0, now, now, 0, LIVE), record) for count, shard, record in islice(records, limit)
        ]
        if not found:
            self._exhausted_at = self.stream.count
        return found

    def _unreceived(self, shard: Shard) -> Iterator[tuple[int, int, Record]]:
        """Yield (count, index of the shard, record) of the shard's records that were never received."""
        after = max(self._last.get(shard.index, 0), self.start.count - 1)
        return ((sequence_count(each.number), shard.index, each) for each in shard.since(after, self.start.time))

    # --- descriptions ---

    def describe(self, now: float) -> dict[str, Any]:
        """Return the QueueDescription structure."""
        start: dict[str, Any] = {"Type": self.start.kind}
        if self.start.kind == "AT_TIMESTAMP":
            earliest = max(self.stream.created, self.stream.horizon(now))
            start["Timestamp"] = round(
                self.start.time if self.status == "CREATING" else max(self.start.time, earliest), 3
            )
        elif self.status != "CREATING":
            earliest = max(self.stream.created, self.stream.horizon(now))
            start["Timestamp"] = round(self.created if self.start.kind == "LATEST" else earliest, 3)
        return {
            **self._named(),
            "StreamConfigurationList": [{"StreamARN": self.stream.arn, "StartingPosition": start}],
            "QueueAttributes": {
                "VisibilityTimeoutSeconds": self.visibility,
                "DeadLetterConfiguration": {"TargetType": "NONE"}
                if self.most_receives is None
                else {"TargetType": "BUILT_IN", "MaxReceiveCount": self.most_receives},
            },
        }

    def summary(self) -> dict[str, Any]:
        """Return the QueueSummary structure."""
        stream = {"StreamARN": self.stream.arn, "StreamCreationTimestamp": round(self.stream.created, 3)}
        return {**self._named(), "Streams": [stream]}

    def _named(self) -> dict[str, Any]:
        return {
            "QueueName": self.name,
            "QueueARN": self.arn,
            "QueueStatus": self.status,
            "QueueCreationTimestamp": round(self.created, 3),
        }


def generated_id(parts: tuple[object, ...], taken: Mapping[str, object]) -> str:
    """Return the last part of a new ARN, the same for the same `parts`, so that a journal makes it again."""
    text = "/".join(map(str, parts))
    while (found := md5(text.encode(), usedforsecurity=False).hexdigest()[:24]) in taken:
        text += "+"
    return found
