"""The modelled service: Kinesis without I/O, told the time.

`Model.handle(operation, params, now)` is one API call: botocore's member names in and out, Data as bytes, times as
epoch seconds. It holds no clock, thread or socket, and nothing in it is random but what the seed decides: the same
calls at the same times give the same answers. The HTTP server and the simulation both drive this class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from heapq import merge
from random import Random

from kplpy.local.model import get_records, put_records
from kplpy.local.model.account import READING, Account, Answer, Params, named
from kplpy.local.model.errors import ServiceError
from kplpy.local.model.events import CallEvent, Event, PutEvent
from kplpy.local.model.faults import Fault, Faults, Transport
from kplpy.local.model.limits import Limits, Phases
from kplpy.local.model.sequence import sequence_count, sequence_number
from kplpy.local.model.shard import Record, Shard
from kplpy.local.model.stream import Stream
from kplpy.local.model.validation import OPERATIONS, check
from kplpy.wire.decode import decode_aggregate


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """One record that the service accepted."""

    stream: str
    incarnation: int
    """Rises each time a stream is created; tells a recreated stream from its predecessor."""
    shard_id: str
    shard_range: tuple[int, int]
    """The shard's first and last hash key: what a KCL consumer measures the records of an aggregate by."""
    sequence_number: str
    time: float
    """When it was accepted, epoch seconds."""
    partition_key: str | None
    data: bytes
    explicit_hash_key: str | None
    request: int
    """The model's running number of the request that brought it."""

    @property
    def dropped(self) -> bool:
        """Would a KCL consumer drop it: an aggregate of which some record's hash key is outside shard_range?"""
        return decode_aggregate(self.data, *self.shard_range) == []


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
    phases of rate windows. `journal` is called with each change and returns a context in which the change is made;
    where it raises, nothing changes (see journal.py).
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
        self.account = Account(
            account,
            region,
            limits if limits is not None else Limits(),
            phases if phases is not None else Phases(),
            keep_deleted,
            random if random is not None else Random(0),
        )
        self.store = store
        self.retention_bytes = retention_bytes
        self.faults = Faults()
        self.journal: Callable[[Event], AbstractContextManager[None]] = no_journal
        self.requests = 0
        self.now = float("-inf")

    # --- one call ---

    def exchange(self, operation: str, params: Params, now: float) -> Exchange:
        """One request with all that the faults in store do to it, the connection's troubles included."""
        fault = self.faults.take(operation, params, now, lambda: self.bound_for(params, now))
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
        fault = self.faults.take(operation, params, now, lambda: self.bound_for(params, now))
        return self._handle(operation, params, now, fault)

    def bound_for(self, params: Params, now: float) -> set[str]:
        """The shards for which a request has records, as far as it makes sense and keys decide."""
        stream = self.streams.get(named(params) or "")
        if stream is None:
            return set()
        stream.settle(max(now, self.now))
        return put_records.shards_by_key(stream, params.get("Records", [params]))

    def _handle(self, operation: str, params: Params, now: float, fault: Fault | None) -> Answer:
        self.now = now = max(now, self.now)  # a clock set back must not unsort the records
        members = OPERATIONS.get(operation)
        if members is None:
            raise ServiceError("UnknownOperationException", f"{operation} is not an operation of this Kinesis")
        check(members, params)
        self.requests += 1
        if fault is not None and fault.code is not None:
            raise ServiceError(fault.code, fault.message or "Injected fault.", fault.status)
        if fault is not None and fault.answer is not None:
            return dict(fault.answer)
        if operation == "PutRecords":
            return self._put_records(params, now, fault)
        if operation == "PutRecord":
            return self._put_record(params, now, fault)
        if operation == "GetRecords":
            return self._get_records(params, now)
        if operation == "GetShardIterator":
            return self._get_shard_iterator(params, now)
        if operation in READING:
            return self.account.call(operation, params, now)
        phases = self.account.phases
        known = {name: params[name] for name in members if name in params}
        times = (phases.creating, phases.updating, phases.deleting)
        with self.journal(CallEvent(named(params) or "", operation, known, now, times)):
            return self.account.call(operation, params, now)

    @property
    def streams(self) -> dict[str, Stream]:
        """The streams there are, by name."""
        return self.account.streams

    @property
    def limits(self) -> Limits:
        return self.account.limits

    # --- records ---

    def _put_records(self, params: Params, now: float, fault: Fault | None) -> Answer:
        answers = self._put(params, params["Records"], now, fault, 1)
        failed = sum("ErrorCode" in each for each in answers)
        return {"FailedRecordCount": failed, "Records": answers}

    def _put_record(self, params: Params, now: float, fault: Fault | None) -> Answer:
        return put_records.single(self._put(params, [params], now, fault, 0)[0])

    def _put(
        self, params: Params, records: list[Params], now: float, fault: Fault | None, first: int
    ) -> list[dict[str, str]]:
        stream = self.account.usable(params, now)
        entries = put_records.entries_of(stream, records, self.limits, first)
        _refuse_dry_run(params)
        answers, accepted = put_records.judge(stream, entries, now, self.requests, fault, self.account.number)
        if accepted:
            with self.journal(PutEvent.of(stream, now, self.requests, accepted)):
                put_records.take_in(stream, accepted, self.store)
        self._bound()
        return answers

    def _get_shard_iterator(self, params: Params, now: float) -> Answer:
        stream = self.account.usable(params, now)
        answer = get_records.get_shard_iterator(stream, params, now, self.account.number)
        _refuse_dry_run(params)
        return answer

    def _get_records(self, params: Params, now: float) -> Answer:
        iterator = get_records.Iterator(params["ShardIterator"], now)
        stream = self.account.usable({"StreamName": iterator.stream}, now)
        _refuse_dry_run(params)
        return get_records.get_records(stream, iterator, params, now, self.account.number)

    def restore(self, event: Event) -> None:
        """Do again what a journal kept, with no limits in the way and the same sequence numbers."""
        if isinstance(event, PutEvent):
            self._restore_put(event)
        else:
            account = self.account
            limits, phases = account.limits, account.phases
            account.limits, account.phases = replace(limits, update_shard_count_factor=False), Phases(*event.phases)
            try:
                account.call(event.operation, event.params, event.now)
            finally:
                account.limits, account.phases = limits, phases
        self.now = max(self.now, event.now)

    def _restore_put(self, event: PutEvent) -> None:
        stream = self.account.find(event.stream, event.now)
        for index, count, key, data, explicit in event.records:
            shard = stream.shards[index]
            number = sequence_number(shard.base, count, event.now)
            record = Record(number, event.now, key, data, explicit, event.request)
            shard.add(record, record.size, self.store)
            stream.held_bytes += record.size
        stream.count = event.count
        self.requests = max(self.requests, event.request)
        self._bound()

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
        for each in [*self.account.deleted, *self.streams.values()]:
            if stream in (None, each.name):
                yield from _entries(each)


def no_journal(event: Event) -> AbstractContextManager[None]:
    """The journal of a model that keeps nothing."""
    return nullcontext()


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
            shard_range=(shard.first, shard.last),
            sequence_number=str(record.number),
            time=record.arrived,
            partition_key=record.key,
            data=record.data,
            explicit_hash_key=record.explicit,
            request=record.request,
        )
