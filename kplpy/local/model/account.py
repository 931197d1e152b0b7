"""Account: the streams of one account, and how operations find what a request names."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from kplpy.local.model.commitment import Commitment
from kplpy.local.model.consumers import Consumers, Subscription
from kplpy.local.model.errors import invalid_argument, not_found
from kplpy.local.model.limits import CallRate, Limits, Phases
from kplpy.local.model.resources import Resource
from kplpy.local.model.stream import Stream
from kplpy.local.model.validation import requested_stream

Params = Mapping[str, Any]
Response = dict[str, Any]

ON_DEMAND_SHARDS = 4


class Account:
    """All streams of one account in one region.

    The operations are functions of this class (operations.py).
    """

    def __init__(
        self, number: str, region: str, limits: Limits, phases: Phases, keep_deleted: bool, random: Random
    ) -> None:
        self.number, self.region = number, region
        self.limits, self.phases = limits, phases
        self.keep_deleted = keep_deleted
        self.streams: dict[str, Stream] = {}
        self.deleted: list[Stream] = []
        self.incarnations = 0
        self.random = random
        self.summary_rate: CallRate | None = None
        self.consumers = Consumers(number, limits)
        self.commitment = Commitment()

    def stream(self, params: Params, now: float) -> Stream:
        """Return the stream that a request names, as it is at `now`.

        Raises ResourceNotFoundException if the stream does not exist.
        """
        name = requested_stream(params)
        if name is None:
            raise invalid_argument("Either StreamName or StreamARN must be provided.")
        return self.find(name, now)

    def find(self, name: str, now: float) -> Stream:
        stream = self.streams.get(name)
        if stream is not None:
            stream.apply_changes(now)
            stream = self.streams.get(name)  # the changes may have completed the stream's deletion
        if stream is None:
            raise not_found(f"Stream {name} under account {self.number} not found.")
        stream.trim(now)
        return stream

    def active_stream(self, params: Params, now: float) -> Stream:
        """Return the stream for an operation on records.

        For these operations, the service answers that a stream does not exist while it is CREATING or DELETING.
        """
        stream = self.stream(params, now)
        if stream.status not in ("ACTIVE", "UPDATING"):
            raise not_found(f"Stream {stream.name} under account {self.number} not found.")
        return stream

    def subscribe(self, params: Params, now: float) -> Subscription:
        """Return a new subscription to a shard. The sender of the response asks it for events."""
        return self.consumers.subscribe(self.active_stream(params, now), params, now)

    def resource(self, arn: str, now: float) -> Resource:
        """Return the stream or consumer with this ARN; raise ResourceNotFoundException if it does not exist."""
        if ":stream/" not in arn:
            raise not_found(f"Resource {arn} under account {self.number} not found.")
        stream = self.stream({"ResourceARN": arn}, now)
        if "/consumer/" in arn:
            return self.consumers.find(stream, {"ConsumerARN": arn})
        return stream

    def most_consumers(self, now: float) -> int:
        """Return how many consumers a stream can have: more with the account's commitment (On-demand Advantage)."""
        return 50 if self.commitment.is_enabled(now) else 20
