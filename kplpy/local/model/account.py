"""The account's streams, and the operations on them except those on records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from kplpy.local.model import listing, resharding
from kplpy.local.model.consumers import Consumers, Subscription
from kplpy.local.model.errors import in_use, invalid_argument, not_found, over_limit, validation
from kplpy.local.model.limits import CallRate, Limits, Phases
from kplpy.local.model.stream import AUTO, ON_DEMAND, PROVISIONED, USER_KEY, Stream
from kplpy.local.model.validation import requested_stream

Params = Mapping[str, Any]
Response = dict[str, Any]

ON_DEMAND_SHARDS = 4


class Account:
    """All streams of one account in one region, and the operations on them."""

    def __init__(
        self, number: str, region: str, limits: Limits, phases: Phases, keep_deleted: bool, random: Random
    ) -> None:
        self.number, self.region = number, region
        self.limits, self.phases = limits, phases
        self.keep_deleted = keep_deleted
        self.streams: dict[str, Stream] = {}
        self.deleted: list[Stream] = []
        self._incarnations = 0
        self._random = random
        self._summary_rate: CallRate | None = None
        self._consumers = Consumers(number, limits)

    def call(self, operation: str, params: Params, now: float) -> Response:
        """Carry out one of OPERATIONS. The caller has checked the members of `params`."""
        return OPERATIONS[operation](self, params, now)

    # --- finding a stream ---

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

    # --- creating and deleting ---

    def _create_stream(self, params: Params, now: float) -> Response:
        name = params["StreamName"]
        mode = (params.get("StreamModeDetails") or {}).get("StreamMode", PROVISIONED)
        count = params.get("ShardCount")
        strategy = params.get("RecordDistributionStrategy", USER_KEY)
        if mode == PROVISIONED and count is None:
            raise validation("ShardCount must be provided for streams in Provisioned mode.")
        if mode == ON_DEMAND and count is not None:
            raise validation("ShardCount must not be provided for streams in On-Demand mode.")
        if mode == PROVISIONED and strategy == AUTO:
            raise invalid_argument("RecordDistributionStrategy AUTO is supported only for streams in On-Demand mode.")
        if name in self.streams:
            self.streams[name].apply_changes(now)
        if name in self.streams:
            raise in_use(f"Stream {name} under account {self.number} already exists.")
        self._incarnations += 1
        arn = f"arn:aws:kinesis:{self.region}:{self.number}:stream/{name}"
        stream = Stream(name, arn, now, self._incarnations, self.limits, self._random)
        stream.mode, stream.strategy = mode, strategy
        stream.max_record_kib = params.get("MaxRecordSizeInKiB") or 1024
        self.streams[name] = stream

        def activate(at: float) -> None:
            stream.open_shards(count or ON_DEMAND_SHARDS, at)
            stream.set_status("ACTIVE")

        stream.schedule(now + self.phases.creating, activate)
        stream.apply_changes(now)
        return {}

    def _delete_stream(self, params: Params, now: float) -> Response:
        stream = self.stream(params, now)
        if stream.status == "DELETING":
            raise in_use(f"Stream {stream.name} under account {self.number} not ACTIVE, instead in state DELETING")
        stream.set_status("DELETING")
        stream.cancel_changes()

        def remove(_: float) -> None:
            del self.streams[stream.name]
            if self.keep_deleted:
                self.deleted.append(stream)

        stream.schedule(now + self.phases.deleting, remove)
        stream.apply_changes(now)
        return {}

    # --- describing and setting ---

    def _describe_stream(self, params: Params, now: float) -> Response:
        return listing.describe_stream(self.stream(params, now), params)

    def _describe_stream_summary(self, params: Params, now: float) -> Response:
        if self.limits.describe_summary_per_second is not None:
            if self._summary_rate is None:
                self._summary_rate = CallRate(self.limits.describe_summary_per_second, now)
            if not self._summary_rate.take(now):
                raise over_limit(f"Rate exceeded for DescribeStreamSummary under account {self.number}.")
        stream = self.stream(params, now)
        return listing.describe_stream_summary(stream, len(self._consumers.of(stream)))

    def _list_streams(self, params: Params, now: float) -> Response:
        for stream in list(self.streams.values()):
            stream.apply_changes(now)
        return listing.list_streams(self.streams, params, now)

    def _update_stream_mode(self, params: Params, now: float) -> Response:
        stream = self.stream(params, now)
        resharding.require_active(stream, self.number)
        stream.mode = params["StreamModeDetails"]["StreamMode"]
        if stream.mode == PROVISIONED:
            stream.strategy = USER_KEY
        return {}

    def _update_max_record_size(self, params: Params, now: float) -> Response:
        stream = self.stream(params, now)
        resharding.require_active(stream, self.number)
        stream.max_record_kib = params["MaxRecordSizeInKiB"]
        return {}

    def _update_strategy(self, params: Params, now: float) -> Response:
        """Set the distribution strategy, which takes effect at once."""
        stream = self.stream(params, now)
        resharding.require_active(stream, self.number)
        if stream.mode != ON_DEMAND:
            raise invalid_argument(
                f"Stream {stream.name} under account {self.number} is in Provisioned mode, which does not support "
                "RecordDistributionStrategy."
            )
        stream.strategy = params["RecordDistributionStrategy"]
        return {}

    # --- consumers ---

    def _register_consumer(self, params: Params, now: float) -> Response:
        stream = self.stream(params, now)
        resharding.require_active(stream, self.number)
        return self._consumers.register(stream, params, now)

    def _deregister_consumer(self, params: Params, now: float) -> Response:
        return self._consumers.deregister(self.stream(params, now), params)

    def _describe_consumer(self, params: Params, now: float) -> Response:
        return self._consumers.describe(self.stream(params, now), params)

    def _list_consumers(self, params: Params, now: float) -> Response:
        return self._consumers.list(self.stream(params, now), params, now)

    def subscribe(self, params: Params, now: float) -> Subscription:
        """Return a new subscription to a shard. The sender of the response asks it for events."""
        return self._consumers.subscribe(self.active_stream(params, now), params, now)

    # --- shards ---

    def _list_shards(self, params: Params, now: float) -> Response:
        token = params.get("NextToken")
        query = None
        if token is not None:
            for each in ("StreamName", "StreamARN", "StreamCreationTimestamp", "ExclusiveStartShardId", "ShardFilter"):
                if params.get(each) is not None:
                    raise invalid_argument(f"NextToken and {each} cannot be provided together.")
            query = listing.ShardQuery.from_token(token, now)
            stream = self.find(query.stream, now)
            if query.incarnation != stream.incarnation:
                raise not_found(f"Stream {stream.name} under account {self.number} of this NextToken not found.")
        else:
            if requested_stream(params) is None:
                raise invalid_argument("Either NextToken or StreamName should be provided.")
            stream = self.stream(params, now)
        if stream.list_rate is not None and not stream.list_rate.take(now):
            raise over_limit(f"Rate exceeded for stream {stream.name} under account {self.number}.")
        if stream.status in ("CREATING", "DELETING"):
            raise in_use(
                f"Stream {stream.name} under account {self.number} not ACTIVE, instead in state {stream.status}"
            )
        created = params.get("StreamCreationTimestamp")
        if created is not None and int(created) != int(stream.created):
            raise not_found(f"Stream {stream.name} under account {self.number} created at {created} not found.")
        return listing.list_shards(stream, query or listing.shard_query(stream, params, now), params, now)

    def _split_shard(self, params: Params, now: float) -> Response:
        resharding.split_shard(self.stream(params, now), params, now, self.phases.updating, self.number)
        return {}

    def _merge_shards(self, params: Params, now: float) -> Response:
        resharding.merge_shards(self.stream(params, now), params, now, self.phases.updating, self.number)
        return {}

    def _update_shard_count(self, params: Params, now: float) -> Response:
        stream, seconds = self.stream(params, now), self.phases.updating
        return resharding.update_shard_count(stream, params, now, seconds, self.number, self.limits)


OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    "CreateStream": Account._create_stream,
    "DeleteStream": Account._delete_stream,
    "DescribeStream": Account._describe_stream,
    "DescribeStreamSummary": Account._describe_stream_summary,
    "ListStreams": Account._list_streams,
    "ListShards": Account._list_shards,
    "SplitShard": Account._split_shard,
    "MergeShards": Account._merge_shards,
    "UpdateShardCount": Account._update_shard_count,
    "UpdateStreamMode": Account._update_stream_mode,
    "UpdateMaxRecordSize": Account._update_max_record_size,
    "UpdateStreamRecordDistributionStrategy": Account._update_strategy,
    "RegisterStreamConsumer": Account._register_consumer,
    "DeregisterStreamConsumer": Account._deregister_consumer,
    "DescribeStreamConsumer": Account._describe_consumer,
    "ListStreamConsumers": Account._list_consumers,
}

READ_ONLY_OPERATIONS = frozenset(
    "DescribeStream DescribeStreamSummary ListStreams ListShards DescribeStreamConsumer ListStreamConsumers".split()
)
"""The OPERATIONS that change nothing, so the journal does not keep them."""
