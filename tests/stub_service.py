"""A stand-in for Kinesis behind a Producer's engine. It responds when the test allows it, and keeps all records."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from kplpy.config.options import Config
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.record import PendingRecord
from kplpy.core.routing.placement import Summary
from kplpy.core.shard_range import ShardRange

PATIENCE = 30.0
"""Seconds that a test waits for an event before it fails."""


@dataclass(frozen=True)
class Sent:
    """One user record as it was sent."""

    stream: str
    shard: str
    data: bytes
    partition_key: str
    explicit_hash_key: str | None
    headers: dict[str, str | None] | None = None


class StubService:
    """Implements the engine's Transport. Called by the test's thread and by several sender threads.

    refuse: the error of a stream's requests, by its name.
    """

    def __init__(self, shards: int = 1) -> None:
        width = (1 << 128) // shards
        last = (1 << 128) - 1
        self.shards = [
            ShardRange(f"shard-{n}", n * width, last if n == shards - 1 else (n + 1) * width - 1) for n in range(shards)
        ]
        self.refuse: dict[str, RequestError] = {}
        self._changed = threading.Condition()
        self._held: set[str] | None = set()  # streams whose requests wait; None: all
        self._passes = 0
        self._waiting = 0
        self._sent: list[Sent] = []
        self._requests = 0

    # --- called by the test ---

    def hold(self, *streams: str) -> None:
        """Hold the responses to requests of these streams, or of all streams, from now on."""
        with self._changed:
            self._held = set(streams) or None
            self._changed.notify_all()

    def respond_to_one(self) -> None:
        """Respond to one waiting request, or to the next one."""
        with self._changed:
            self._passes += 1
            self._changed.notify_all()

    def let_go(self) -> None:
        """Respond to all waiting requests, and to all later ones."""
        with self._changed:
            self._held = set()
            self._changed.notify_all()

    def await_waiting(self, requests: int) -> None:
        """Wait until this many requests wait for their response."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._waiting >= requests, PATIENCE), f"{self._waiting} requests wait"

    def await_requests(self, requests: int) -> None:
        """Wait until this many requests have come since the start."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._requests >= requests, PATIENCE), f"{self._requests} requests"

    def sent(self, stream: str | None = None) -> list[Sent]:
        """Return the records that were sent, of one stream or of all."""
        with self._changed:
            return [each for each in self._sent if stream in (None, each.stream)]

    @property
    def requests(self) -> int:
        """How many requests of records have come."""
        with self._changed:
            return self._requests

    # --- called by the engine ---

    was_used = True

    def connect(self) -> RequestError | None:
        return None

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        started = time.monotonic()
        request.wall = time.time()
        items = [(batch.queue.shard, list(batch.items)) for batch in request.batches]
        with self._changed:
            self._requests += 1
            self._waiting += 1
            self._changed.notify_all()
            free = self._changed.wait_for(lambda: self._free(name), PATIENCE)
            self._waiting -= 1
            if free and self._is_held(name):
                self._passes -= 1
            error = self.refuse.get(name)
            if error is None:
                for shard, group in items:
                    self._sent += [_sent(arn or name, shard, item) for item in group]
            count = len(self._sent)
        if error is not None:
            return Exchange(started, time.monotonic(), request.wall, error=error)
        entries = [{"SequenceNumber": str(count), "ShardId": (shard or self.shards[0]).shard_id} for shard, _ in items]
        return Exchange(started, time.monotonic(), request.wall, entries)

    def describe(self, name: str, arn: str | None) -> Summary:
        return Summary("USER_PARTITION_KEY", len(self.shards))

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        return self.shards

    def is_regional(self) -> bool:
        return True

    def hurry(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self.let_go()

    def _is_held(self, name: str) -> bool:
        return self._held is None or name in self._held

    def _free(self, name: str) -> bool:
        return not self._is_held(name) or self._passes > 0


def _sent(stream: str, shard: ShardRange | None, item: PendingRecord) -> Sent:
    place = shard.shard_id if shard else ""
    return Sent(stream, place, bytes(item.data), item.partition_key, item.explicit_hash_key, item.headers)


def install(monkeypatch: pytest.MonkeyPatch, shards: int = 1) -> StubService:
    """Have all producers made from now on send to the returned stub.

    In a forked child each gets a stub of its own, because another thread of the parent may have held this one's lock.
    """
    stub, process = StubService(shards), os.getpid()

    def transport(_: Config) -> StubService:
        return stub if os.getpid() == process else StubService(shards)

    monkeypatch.setattr("kplpy.aws.kinesis.transport.KinesisTransport", transport)
    return stub
