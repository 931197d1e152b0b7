"""Helpers for the tests of the core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kplpy.core.batching.limiter import Limiter
from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.pipeline import Pipeline
from kplpy.core.policy import Policy
from kplpy.core.record import NO_HASH_KEY, PLACEHOLDER, PendingRecord
from kplpy.core.routing.placement import BY_KEY, Summary
from kplpy.core.shard_range import ShardRange
from kplpy.wire.tags import encode_tags
from tests.wire_records import Put

NEVER = float("inf")
TOP = (1 << 128) - 1
HALF = 1 << 127
LEFT = ShardRange("shardId-000000000000", 0, HALF - 1)
RIGHT = ShardRange("shardId-000000000001", HALF, TOP)
WHOLE = ShardRange("shardId-000000000000", 0, TOP)

POLICY = Policy(
    linger=0.1,
    ttl=30.0,
    answer_timeout=NEVER,
    request_timeout=12.0,
    aggregate=True,
    aggregation_max_count=1 << 32,
    aggregation_max_size=51_200,
    first_key_outside=False,
    collection_max_count=500,
    collection_max_size=5 << 20,
    rate=1.0,
    fail_if_throttled=False,
)


def policy(**changes: Any) -> Policy:
    return replace(POLICY, **changes)


class KeylessItem(PendingRecord):
    __slots__ = ()

    keyless = True


def keyless(arrival: float = 1.0, data: bytes = b"x") -> PendingRecord:
    return filled(KeylessItem(), data, PLACEHOLDER, NO_HASH_KEY, arrival, None)


class TaggedItem(PendingRecord):
    __slots__ = ("tags",)


def item(
    data: bytes = b"x",
    key: str = "k",
    hash_key: int = 0,
    arrival: float = 0.0,
    explicit: str | None = None,
    headers: Mapping[str, str | None] | None = None,
) -> PendingRecord:
    if not headers:
        return filled(PendingRecord(), data, key, hash_key, arrival, explicit)
    made = TaggedItem()
    made.tags = encode_tags(headers)
    return filled(made, data, key, hash_key, arrival, explicit)


def of_put(put: Put) -> PendingRecord:
    return item(put.data, put.partition_key, explicit=put.explicit_hash_key, headers=put.headers)


def filled(
    made: PendingRecord, data: bytes, key: str, hash_key: int, arrival: float, explicit: str | None
) -> PendingRecord:
    made.data = data
    made.partition_key = key
    made.explicit_hash_key = explicit
    made.hash_key = hash_key
    made.arrival = arrival
    made.number = 0
    made.tries = ()
    made.maybe_written = False
    return made


def queue(shard: ShardRange | None = WHOLE, rules: Policy = POLICY) -> ShardQueue:
    return ShardQueue(shard, rules, Limiter(rules.rate, 0.0))


class Driver:
    """A pipeline, and what a sender does for it. Shards and strategy are known at time 0."""

    def __init__(
        self, rules: Policy = POLICY, shards: tuple[ShardRange, ...] = (LEFT, RIGHT), strategy: str | None = BY_KEY
    ) -> None:
        self.pipeline = Pipeline(rules, lambda: 0.5)
        self.describe(strategy, 0.0)
        if shards:
            self.list(shards, 0.0)

    def list(self, shards: tuple[ShardRange, ...], now: float) -> None:
        self.pipeline.listing_started(now)
        self.pipeline.listing_succeeded(shards, now)

    def describe(self, strategy: str | None, now: float, max_record_size: int | None = None) -> None:
        self.pipeline.description_started(now)
        problem = "" if strategy else "AccessDenied"
        self.pipeline.described(Summary(strategy, problem=problem, max_record_size=max_record_size), now)

    def accept(self, *items: PendingRecord, now: float | None = None) -> None:
        self.pipeline.accept(items, items[0].arrival if now is None else now)

    def request(self, now: float) -> Request:
        request = self.pipeline.next_request(now)
        assert request is not None
        return request

    def respond(self, request: Request, *entries: str | tuple[str, str], now: float) -> None:
        """End the request. entries: for each Kinesis record its shard, or (error code, message)."""
        response = [
            {"ShardId": each, "SequenceNumber": "1"}
            if isinstance(each, str)
            else {"ErrorCode": each[0], "ErrorMessage": each[1]}
            for each in entries
        ]
        self.pipeline.request_ended(request, Exchange(request.started, now, 0.0, response), now)

    def fail(self, request: Request, code: str, now: float, maybe_written: bool = False) -> None:
        error = RequestError(code, "the reason", maybe_written)
        self.pipeline.request_ended(request, Exchange(request.started, now, 0.0, error=error), now)


def sizes(batches: list[Batch]) -> list[int]:
    return [len(batch.items) for batch in batches]
