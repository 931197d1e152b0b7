"""The part of a stream that Buffer reads. The test sets what its shards hold."""

from __future__ import annotations

from collections import deque

from kplpy import RecordFuture
from kplpy.runtime.stream import Stream


class HeldStream(Stream):
    def __init__(self) -> None:
        self.staging: deque[RecordFuture] = deque()
        self.staged_bytes = self.held_records = self.held_bytes = self.charged_records = self.charged_bytes = 0
        self.credit = self.credit_records = self.wakes_requested = 0
        self.counts_staged, self.counted_bytes = False, 0
        self.spool = None
        self.charged_by_place: dict[int, tuple[int, int]] = {}
        self.held_by_shard: dict[int, tuple[int, int]] = {}  # by hash key: records and bytes

    def held_by_shard_of(self, hash_key: int) -> tuple[int, int]:
        return self.held_by_shard.get(hash_key, (0, 0))

    def most_held_by_a_shard(self) -> tuple[int, int]:
        held = [*self.held_by_shard.values(), (0, 0)]
        return max(records for records, _ in held), max(size for _, size in held)

    def place_of(self, hash_key: int) -> int:
        return hash_key

    def request_wake(self) -> None:
        self.wakes_requested += 1
