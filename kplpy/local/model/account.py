"""Account: the streams of one account, and how operations find what a request names."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, TypeVar

from kplpy.local.model.channel import Channel
from kplpy.local.model.commitment import Commitment
from kplpy.local.model.consumers import Consumers, Subscription
from kplpy.local.model.errors import in_use, invalid_argument, not_found, over_limit
from kplpy.local.model.limits import CallRate, Limits, Phases
from kplpy.local.model.queue import Queue
from kplpy.local.model.resources import Resource
from kplpy.local.model.stream import Stream
from kplpy.local.model.validation import requested_stream

Params = Mapping[str, Any]
Response = dict[str, Any]

Attached = TypeVar("Attached", Queue, Channel)

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
        self.queues: dict[str, Queue] = {}  # by the last part of the ARN
        self.channels: dict[str, Channel] = {}  # by the last part of the ARN
        self.has_buckets = False  # set to True by a server that delivers channels

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
        """Return the stream, consumer, queue or channel with this ARN.

        Raises ResourceNotFoundException if it does not exist.
        """
        if ":queue/" in arn:
            return self.queue(arn, now)
        if ":channel/" in arn:
            return self.channel(arn, now)
        if ":stream/" not in arn:
            raise not_found(f"Resource {arn} under account {self.number} not found.")
        stream = self.stream({"ResourceARN": arn}, now)
        if "/consumer/" in arn:
            return self.consumers.find(stream, {"ConsumerARN": arn})
        return stream

    def queue(self, arn: str, now: float) -> Queue:
        """Return the queue with this ARN, as it is at `now`; raise ResourceNotFoundException if it does not exist."""
        name = arn.rpartition("/")[2]
        if name in self.queues:
            self.find(self.queues[name].stream.name, now)
        return self._named(self.queues, arn, now)

    def channel(self, arn: str, now: float) -> Channel:
        """Return the channel with this ARN, as it is at `now`; raise ResourceNotFoundException if there is none."""
        return self._named(self.channels, arn, now)

    def _named(self, resources: dict[str, Attached], arn: str, now: float) -> Attached:
        name = arn.rpartition("/")[2]
        if name in resources:
            resources[name].apply_changes(now)
        if name not in resources:  # it may have been deleted by the changes
            raise not_found(f"Resource {arn} under account {self.number} not found.")
        return resources[name]

    def active_queue(self, arn: str, now: float) -> Queue:
        """Return the queue for an operation on records, which needs a queue that is not CREATING or DELETING."""
        queue = self.queue(arn, now)
        if queue.status not in ("ACTIVE", "UPDATING"):
            raise not_found(f"Queue {arn} under account {self.number} is {queue.status}.")
        return queue

    def queues_of(self, stream: Stream, now: float) -> list[Queue]:
        """Return the queues on a stream, as they are at `now`."""
        return [each for each in self.all_of(self.queues, now) if each.stream is stream]

    def channels_of(self, stream: Stream, now: float) -> list[Channel]:
        """Return the channels from a stream, as they are at `now`."""
        return [each for each in self.all_of(self.channels, now) if each.stream is stream]

    def all_of(self, resources: dict[str, Attached], now: float) -> list[Attached]:
        """Return all queues, or all channels, as they are at `now`."""
        for each in list(resources.values()):
            each.apply_changes(now)
        return list(resources.values())

    def check_detached(self, stream: Stream, now: float) -> None:
        """Raise ResourceInUseException if a stream has queues or channels, which need it and its On-Demand mode."""
        for kind, found in (("queues", self.queues_of(stream, now)), ("channels", self.channels_of(stream, now))):
            if found:
                raise in_use(f"Stream {stream.name} under account {self.number} has {kind}. Delete them first.")

    def subject(self, params: Params) -> str:
        """Return the name of the stream that a request changes something of; "" for the whole account."""
        arn = params.get("QueueARN") or params.get("ChannelARN") or params.get("ResourceARN")
        last_part = arn.rpartition("/")[2] if isinstance(arn, str) else ""
        owner = self.queues.get(last_part) or self.channels.get(last_part)
        if owner is not None:
            return owner.stream.name
        for each in params.get("StreamConfigurationList") or ():
            return requested_stream(each) or ""
        return requested_stream(params) or ""

    def check_consumers(self, stream: Stream, now: float) -> None:
        """Raise LimitExceededException if a stream cannot have one more consumer or queue.

        The account's commitment (On-demand Advantage) allows more.
        """
        most = 50 if self.commitment.is_enabled(now) else 20
        if len(self.consumers.of(stream)) + len(self.queues_of(stream, now)) >= most:
            raise over_limit(f"Stream {stream.name} under account {self.number} has {most} consumers and queues.")
