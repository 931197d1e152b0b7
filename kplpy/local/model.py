"""The modelled service: Kinesis without I/O, told the time.

`Model.handle(operation, params, now)` is one API call: botocore's member names in and out, Data as bytes, times as
epoch seconds. It holds no clock, thread or socket, and nothing in it is random but what the seed decides: the same
calls at the same times give the same answers. The HTTP server and the simulation both drive this class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from random import Random
from typing import Any

from kplpy.local import listing, puts, reads, resharding
from kplpy.local.checks import OPERATIONS, check
from kplpy.local.errors import ServiceError, in_use, invalid_argument, not_found, over_limit, validation
from kplpy.local.faults import Fault, Faults, Transport
from kplpy.local.limits import CallRate, Limits, Phases
from kplpy.local.sequence import sequence_count
from kplpy.local.shard import Record, Shard
from kplpy.local.stream import AUTO, ON_DEMAND, PROVISIONED, USER_KEY, Stream

Params = Mapping[str, Any]
Answer = dict[str, Any]
Event = tuple[Any, ...]

ON_DEMAND_SHARDS = 4


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """One record that the service accepted."""

    stream: str
    incarnation: int
    """Rises each time a stream is created; tells a recreated stream from its predecessor."""
    shard_id: str
    sequence_number: str
    time: float
    """When it was accepted, epoch seconds."""
    partition_key: str | None
    data: bytes
    explicit_hash_key: str | None
    request: int
    """The model's running number of the request that brought it."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request's fate: its answer or error, and what becomes of it on the way back."""

    answer: Answer | None
    error: ServiceError | None
    delay: float = 0.0
    """Seconds to wait before the answer is sent."""
    transport: Transport | None = None
    """What happens instead of a whole answer (see faults.Fault); None: the answer goes out."""


class Model:
    """All streams of one account in one region.

    `store=False` keeps counts only, no records. `retention_bytes` bounds what all streams hold together: the oldest
    records of the fullest stream go first. `keep_deleted` keeps deleted streams for the ledger. `random` decides the
    phases of rate windows. `journal` is called with each change, after it was made and before the call returns (see
    journal.py).
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        phases: Phases | None = None,
        region: str = "us-east-1",
        account: str = "123456789012",
        store: bool = True,
        retention_bytes: int | None = None,
        keep_deleted: bool = False,
        random: Random | None = None,
    ) -> None:
        self.limits = limits if limits is not None else Limits()
        self.phases = phases if phases is not None else Phases()
        self.region, self.account = region, account
        self.store = store
        self.retention_bytes = retention_bytes
        self.keep_deleted = keep_deleted
        self.faults = Faults()
        self.journal: Callable[[Event], None] | None = None
        self.streams: dict[str, Stream] = {}
        self.deleted: list[Stream] = []
        self.requests = 0
        self.now = float("-inf")
        self._incarnations = 0
        self._random = random if random is not None else Random(0)
        self._summary_rate: CallRate | None = None

    # --- one call ---

    def exchange(self, operation: str, params: Params, now: float) -> Exchange:
        """One request with all that the faults in store do to it, the connection's troubles included."""
        fault = self.faults.take(operation, self._named(params), params, now)
        if fault is not None and fault.transport in ("refused", "cut_before"):
            return Exchange(None, None, fault.delay, fault.transport)
        delay, transport = (fault.delay, fault.transport) if fault is not None else (0.0, None)
        try:
            answer = self._handle(operation, params, now, fault)
        except ServiceError as error:
            return Exchange(None, error, delay, transport)
        if transport == "wrong_length":
            answer = {**answer, "Records": answer["Records"][:-1]} if answer.get("Records") else {}
        return Exchange(answer, None, delay, transport)

    def handle(self, operation: str, params: Params, now: float) -> Answer:
        """One API call at `now` (epoch seconds); raises ServiceError. Of the faults in store, error codes befall it,
        and the connection's troubles do not."""
        return self._handle(operation, params, now, self.faults.take(operation, self._named(params), params, now))

    def _handle(self, operation: str, params: Params, now: float, fault: Fault | None) -> Answer:
        self.now = now = max(now, self.now)  # a clock set back must not unsort the records
        members = OPERATIONS.get(operation)
        if members is None:
            raise ServiceError("UnknownOperationException", f"{operation} is not an operation of this Kinesis")
        check(members, params)
        self.requests += 1
        if fault is not None and fault.code is not None:
            raise ServiceError(fault.code, fault.message or "Injected fault.", fault.status)
        if operation == "PutRecords":
            return self._put_records(params, now, fault)
        if operation == "PutRecord":
            return self._put_record(params, now, fault)
        answer = self._REST[operation](self, params, now)
        if self.journal is not None and operation in CHANGES:
            self.journal(("call", operation, dict(params), now, self.phases))
        return answer

    # --- streams ---

    def stream(self, params: Params, now: float) -> Stream:
        """The stream that a request names, as it is at `now`; ResourceNotFoundException when there is none."""
        name = self._named(params)
        if name is None:
            raise invalid_argument("Either StreamName or StreamARN must be provided.")
        return self._find(name, now)

    def _named(self, params: Params) -> str | None:
        arn, name = params.get("StreamARN"), params.get("StreamName")
        return arn.rpartition(":stream/")[2] if isinstance(arn, str) else name

    def _find(self, name: str, now: float) -> Stream:
        stream = self.streams.get(name)
        if stream is not None:
            stream.settle(now)
            stream = self.streams.get(name)  # settling may have ended its deletion
        if stream is None:
            raise not_found(f"Stream {name} under account {self.account} not found.")
        stream.trim(now)
        return stream

    def _usable(self, params: Params, now: float) -> Stream:
        """A stream that takes and hands out records: while it is created or deleted, the service does not know it."""
        stream = self.stream(params, now)
        if stream.status not in ("ACTIVE", "UPDATING"):
            raise not_found(f"Stream {stream.name} under account {self.account} not found.")
        return stream

    def _create_stream(self, params: Params, now: float) -> Answer:
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
            self.streams[name].settle(now)
        if name in self.streams:
            raise in_use(f"Stream {name} under account {self.account} already exists.")
        self._incarnations += 1
        arn = f"arn:aws:kinesis:{self.region}:{self.account}:stream/{name}"
        stream = Stream(name, arn, now, self._incarnations, self.limits, self._random)
        stream.mode, stream.strategy = mode, strategy
        stream.max_record_kib = params.get("MaxRecordSizeInKiB") or 1024
        self.streams[name] = stream

        def ready(at: float) -> None:
            stream.open_shards(count or ON_DEMAND_SHARDS, at)
            stream.set_status("ACTIVE")

        stream.schedule(now + self.phases.creating, ready)
        stream.settle(now)
        return {}

    def _delete_stream(self, params: Params, now: float) -> Answer:
        stream = self.stream(params, now)
        if stream.status == "DELETING":
            raise in_use(f"Stream {stream.name} under account {self.account} not ACTIVE, instead in state DELETING")
        stream.set_status("DELETING")
        stream.abandon()

        def gone(_: float) -> None:
            del self.streams[stream.name]
            if self.keep_deleted:
                self.deleted.append(stream)

        stream.schedule(now + self.phases.deleting, gone)
        stream.settle(now)
        return {}

    def _describe_stream(self, params: Params, now: float) -> Answer:
        return listing.describe_stream(self.stream(params, now), params)

    def _describe_stream_summary(self, params: Params, now: float) -> Answer:
        if self.limits.describe_summary_per_second is not None:
            if self._summary_rate is None:
                self._summary_rate = CallRate(self.limits.describe_summary_per_second, now)
            if not self._summary_rate.take(now):
                raise over_limit(f"Rate exceeded for DescribeStreamSummary under account {self.account}.")
        return listing.describe_stream_summary(self.stream(params, now))

    def _list_streams(self, params: Params, now: float) -> Answer:
        for stream in list(self.streams.values()):
            stream.settle(now)
        return listing.list_streams(self.streams, params, now)

    def _update_stream_mode(self, params: Params, now: float) -> Answer:
        stream = self.stream(params, now)
        resharding.require_active(stream, self.account)
        stream.mode = params["StreamModeDetails"]["StreamMode"]
        if stream.mode == PROVISIONED:
            stream.strategy = USER_KEY
        return {}

    def _update_max_record_size(self, params: Params, now: float) -> Answer:
        stream = self.stream(params, now)
        resharding.require_active(stream, self.account)
        stream.max_record_kib = params["MaxRecordSizeInKiB"]
        return {}

    def _update_strategy(self, params: Params, now: float) -> Answer:
        """It takes effect at once, for records that come after it."""
        stream = self.stream(params, now)
        resharding.require_active(stream, self.account)
        if stream.mode != ON_DEMAND:
            raise invalid_argument(
                f"Stream {stream.name} under account {self.account} is in Provisioned mode, which does not support "
                "RecordDistributionStrategy."
            )
        stream.strategy = params["RecordDistributionStrategy"]
        return {}

    # --- shards ---

    def _list_shards(self, params: Params, now: float) -> Answer:
        token = params.get("NextToken")
        query = None
        if token is not None:
            for each in ("StreamName", "StreamARN", "StreamCreationTimestamp", "ExclusiveStartShardId", "ShardFilter"):
                if params.get(each) is not None:
                    raise invalid_argument(f"NextToken and {each} cannot be provided together.")
            query = listing.ShardQuery.from_token(token, now)
            stream = self._find(query.stream, now)
            if query.incarnation != stream.incarnation:
                raise not_found(f"Stream {stream.name} under account {self.account} of this NextToken not found.")
        else:
            if self._named(params) is None:
                raise invalid_argument("Either NextToken or StreamName should be provided.")
            stream = self.stream(params, now)
        if stream.list_rate is not None and not stream.list_rate.take(now):
            raise over_limit(f"Rate exceeded for stream {stream.name} under account {self.account}.")
        if stream.status in ("CREATING", "DELETING"):
            raise in_use(
                f"Stream {stream.name} under account {self.account} not ACTIVE, instead in state {stream.status}"
            )
        created = params.get("StreamCreationTimestamp")
        if created is not None and int(created) != int(stream.created):
            raise not_found(f"Stream {stream.name} under account {self.account} created at {created} not found.")
        return listing.list_shards(stream, query or listing.shard_query(stream, params, now), params, now)

    def _split_shard(self, params: Params, now: float) -> Answer:
        resharding.split_shard(self.stream(params, now), params, now, self.phases.updating, self.account)
        return {}

    def _merge_shards(self, params: Params, now: float) -> Answer:
        resharding.merge_shards(self.stream(params, now), params, now, self.phases.updating, self.account)
        return {}

    def _update_shard_count(self, params: Params, now: float) -> Answer:
        stream, seconds = self.stream(params, now), self.phases.updating
        return resharding.update_shard_count(stream, params, now, seconds, self.account, self.limits)

    # --- records ---

    def _put_records(self, params: Params, now: float, fault: Fault | None) -> Answer:
        answers = self._put(params, params["Records"], now, fault)
        failed = sum("ErrorCode" in each for each in answers)
        return {"FailedRecordCount": failed, "Records": answers}

    def _put_record(self, params: Params, now: float, fault: Fault | None) -> Answer:
        return puts.single(self._put(params, [params], now, fault)[0])

    def _put(self, params: Params, records: list[Params], now: float, fault: Fault | None) -> list[dict[str, str]]:
        stream = self._usable(params, now)
        entries = puts.entries_of(stream, records, self.limits)
        _refuse_dry_run(params)
        answers, accepted = puts.put_all(stream, entries, now, self.requests, fault, self.store, self.account)
        if self.journal is not None and accepted:
            self.journal(("put", stream.name, now, self.requests, accepted))
        self._bound()
        return answers

    def _get_shard_iterator(self, params: Params, now: float) -> Answer:
        stream = self._usable(params, now)
        answer = reads.get_shard_iterator(stream, params, now, self.account)
        _refuse_dry_run(params)
        return answer

    def _get_records(self, params: Params, now: float) -> Answer:
        iterator = reads.Iterator(params["ShardIterator"], now)
        stream = self._usable({"StreamName": iterator.stream}, now)
        _refuse_dry_run(params)
        return reads.get_records(stream, iterator, params, now, self.account)

    def _bound(self) -> None:
        """Hold the streams' records within retention_bytes; a little below, so as not to trim at each put."""
        if self.retention_bytes is None:
            return
        held = sum(each.held_bytes for each in self.streams.values())
        if held > self.retention_bytes:
            surplus = held - self.retention_bytes * 15 // 16
            largest = max(self.streams.values(), key=lambda each: each.held_bytes)
            largest.trim_to(max(0, largest.held_bytes - surplus))

    # --- the ledger ---

    def ledger(self, stream: str | None = None) -> Iterator[LedgerRecord]:
        """Every accepted record that is still held, in the order of acceptance within each stream.

        `stream`: a name; None: all. Deleted streams come first, when the model keeps them.
        """
        for each in [*self.deleted, *self.streams.values()]:
            if stream in (None, each.name):
                yield from _entries(each)

    _REST: Mapping[str, Callable[[Model, Params, float], Answer]] = {
        "CreateStream": _create_stream,
        "DeleteStream": _delete_stream,
        "DescribeStream": _describe_stream,
        "DescribeStreamSummary": _describe_stream_summary,
        "ListStreams": _list_streams,
        "ListShards": _list_shards,
        "GetShardIterator": _get_shard_iterator,
        "GetRecords": _get_records,
        "SplitShard": _split_shard,
        "MergeShards": _merge_shards,
        "UpdateShardCount": _update_shard_count,
        "UpdateStreamMode": _update_stream_mode,
        "UpdateMaxRecordSize": _update_max_record_size,
        "UpdateStreamRecordDistributionStrategy": _update_strategy,
    }


CHANGES = frozenset(
    {
        "CreateStream",
        "DeleteStream",
        "SplitShard",
        "MergeShards",
        "UpdateShardCount",
        "UpdateStreamMode",
        "UpdateMaxRecordSize",
        "UpdateStreamRecordDistributionStrategy",
    }
)
"""The operations, besides puts, that change something; a journal must keep them."""


def _refuse_dry_run(params: Params) -> None:
    if params.get("DryRun"):
        raise ServiceError(
            "DryRunOperationException", "The request was rejected because the DryRun parameter was specified."
        )


def _entries(stream: Stream) -> Iterator[LedgerRecord]:
    def of(shard: Shard) -> Iterator[tuple[int, Shard, Record]]:
        return ((sequence_count(each.number), shard, each) for each in shard.records[shard.head :])

    for _, shard, record in merge(*map(of, list(stream.shards.values())), key=lambda each: each[0]):
        yield LedgerRecord(
            stream=stream.name,
            incarnation=stream.incarnation,
            shard_id=shard.id,
            sequence_number=str(record.number),
            time=record.arrived,
            partition_key=record.key,
            data=record.data,
            explicit_hash_key=record.explicit,
            request=record.request,
        )
