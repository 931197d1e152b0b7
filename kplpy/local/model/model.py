"""The modelled services: Kinesis, Firehose and CloudWatch without I/O, whose callers pass the time.

`Model.handle(operation, params, now)` is one API call with botocore's member names. Data is bytes, times are epoch
seconds. The model has no clock, thread or socket, and its only randomness is the Random that it is given. So the same
calls at the same times give the same responses. The HTTP server and the simulation both use this class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from random import Random

from kplpy.local.model import (
    channel_operations,
    cloudwatch,
    firehose,
    get_records,
    operations,
    put_records,
    queue_records,
)
from kplpy.local.model.account import Account, Params, Response
from kplpy.local.model.channel import Channel, StoredObject
from kplpy.local.model.cloudwatch import CloudWatch
from kplpy.local.model.delivery_stream import DeliveryStream
from kplpy.local.model.errors import ServiceError, invalid_argument
from kplpy.local.model.events import CallEvent, ChannelEvent, DeliveryEvent, Event, PutEvent, QueueEvent
from kplpy.local.model.faults import Fault, Faults, Transport
from kplpy.local.model.firehose import Firehose
from kplpy.local.model.ledger import DeliveryLedgerRecord, LedgerRecord, firehose_records, records_of
from kplpy.local.model.limits import Limits, Phases
from kplpy.local.model.rules import check
from kplpy.local.model.sequence import sequence_number
from kplpy.local.model.shard import Record
from kplpy.local.model.stream import AUTO, Stream
from kplpy.local.model.validation import OPERATIONS, requested_stream


@dataclass(frozen=True, slots=True)
class Exchange:
    """The response to one request, and the fault of its connection."""

    answer: Response | None
    """The response; None after an error, or if the request was not carried out."""
    error: ServiceError | None
    """The error response."""
    delay: float = 0.0
    """Seconds to wait before the response is sent."""
    transport: Transport | None = None
    """What happens to the connection or the response's body (see faults.Fault); None: the response is sent whole."""


class Model:
    """All streams and delivery streams of one account in one region. Not thread-safe.

    Operations of Firehose have the prefix `Firehose.`, for example Firehose.PutRecordBatch, those of CloudWatch the
    prefix `CloudWatch.`. The journal does not keep metrics.

    limits, phases: see Limits and Phases
    store: False keeps only counts, no records
    retention_bytes: the most bytes that all streams hold together; the fullest stream drops its oldest records first
    keep_deleted: True keeps deleted streams for the ledger
    random: decides the phases of rate windows

    The attribute `journal` is a function. The model calls it with each change, and makes the change in the context
    manager that it returns. If the context raises on entry, nothing changes (see journal.py).
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
        self.firehose = Firehose(self.account)
        self.cloudwatch = CloudWatch()
        self.store = store
        self.retention_bytes = retention_bytes
        self.faults = Faults()
        self.journal: Callable[[Event], AbstractContextManager[None]] = no_journal
        self.requests = 0
        self.now = float("-inf")

    # --- one call ---

    def exchange(self, operation: str, params: Params, now: float) -> Exchange:
        """Carry out one API call at `now` (epoch seconds), with all its faults.

        The result also says what happens to the connection.
        """
        fault = self.faults.take(operation, params, now, lambda: self.target_shards(params, now))
        if fault is not None and fault.transport in ("refused", "cut_before"):
            return Exchange(None, None, fault.delay, fault.transport)
        delay, transport = (fault.delay, fault.transport) if fault is not None else (0.0, None)
        try:
            response = self._handle(operation, params, now, fault)
        except ServiceError as error:
            return Exchange(None, error, delay, transport)
        if transport == "wrong_length":
            entries = "RequestResponses" if "RequestResponses" in response else "Records"
            response = {**response, entries: response[entries][:-1]} if response.get(entries) else {}
        return Exchange(response, None, delay, transport)

    def handle(self, operation: str, params: Params, now: float) -> Response:
        """Carry out one API call at `now` (epoch seconds) and return the response.

        Raises ServiceError. A fault's error codes and `answer` apply, its `delay` and `transport` do not.
        """
        fault = self.faults.take(operation, params, now, lambda: self.target_shards(params, now))
        return self._handle(operation, params, now, fault)

    def target_shards(self, params: Params, now: float) -> set[str]:
        """Return the ids of the shards to which the keys of a request's records route them."""
        stream = self.streams.get(requested_stream(params) or "")
        if stream is None:
            return set()
        stream.apply_changes(max(now, self.now))
        return put_records.shards_by_key(stream, params.get("Records") or [params])

    def _handle(self, operation: str, params: Params, now: float, fault: Fault | None) -> Response:
        self.now = now = max(now, self.now)  # so that records stay in order when the clock is set back
        members = OPERATIONS.get(operation)
        if members is None or operation not in SERVED:
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
        if operation == "SubscribeToShard":
            return self._subscribe_to_shard(params, now)
        if operation in cloudwatch.OPERATIONS:
            return self.cloudwatch.call(operation, params, now)
        if operation in queue_records.OPERATIONS:
            return self.change_queue(operation, params, now)
        if operation == "Firehose.PutRecordBatch":
            return self._deliver_batch(params, now, fault)
        if operation == "Firehose.PutRecord":
            return self._deliver_record(params, now, fault)
        if operation in operations.READ_ONLY_OPERATIONS or operation in firehose.READ_ONLY_OPERATIONS:
            return self._call(operation, params, now)
        phases = self.account.phases
        known_params = {name: params[name] for name in members if name in params}
        times = (phases.creating, phases.updating, phases.deleting)
        with self.journal(CallEvent(self.account.subject(params), operation, known_params, now, times)):
            return self._call(operation, params, now)

    def _call(self, operation: str, params: Params, now: float) -> Response:
        """Carry out an operation on something other than records."""
        if operation in firehose.OPERATIONS:
            return self.firehose.call(operation, params, now)
        return operations.OPERATIONS[operation](self.account, params, now)

    @property
    def streams(self) -> dict[str, Stream]:
        """The streams by name, without deleted ones."""
        return self.account.streams

    @property
    def limits(self) -> Limits:
        return self.account.limits

    # --- records ---

    def _put_records(self, params: Params, now: float, fault: Fault | None) -> Response:
        stream = self.account.active_stream(params, now)
        response_entries = self._put(stream, params, params["Records"], now, fault, 1)
        failed = sum("ErrorCode" in each for each in response_entries)
        response = {"FailedRecordCount": failed, "Records": response_entries}
        return response if stream.key_id is None else {**response, "EncryptionType": "KMS"}

    def _put_record(self, params: Params, now: float, fault: Fault | None) -> Response:
        stream = self.account.active_stream(params, now)
        if params.get("SequenceNumberForOrdering") is not None and stream.strategy == AUTO:
            raise invalid_argument(
                f"SequenceNumberForOrdering is not supported: the RecordDistributionStrategy of {stream.name} is AUTO."
            )
        response = put_records.put_record_response(self._put(stream, params, [params], now, fault, 0)[0])
        return response if stream.key_id is None else {**response, "EncryptionType": "KMS"}

    def _put(
        self,
        stream: Stream,
        params: Params,
        records: list[Params],
        now: float,
        fault: Fault | None,
        first_position: int,
    ) -> list[dict[str, str]]:
        entries = put_records.route_records(stream, records, self.limits, first_position)
        _refuse_dry_run(params)
        response_entries, accepted = put_records.apply_limits(
            stream, entries, now, self.requests, fault, self.account.number
        )
        if accepted:
            with self.journal(PutEvent.of(stream, now, self.requests, accepted)):
                put_records.store_records(stream, accepted, self.store)
        self._trim_to_retention()
        return response_entries

    def _deliver_batch(self, params: Params, now: float, fault: Fault | None) -> Response:
        stream = self.firehose.writable(params, now)
        stream.charge_request(now)
        records = firehose.check_records(params["Records"], self.limits)
        entries = self._deliver(stream, records, now, fault)
        failed = sum("ErrorCode" in each for each in entries)
        return {"FailedPutCount": failed, "Encrypted": False, "RequestResponses": entries}

    def _deliver_record(self, params: Params, now: float, fault: Fault | None) -> Response:
        stream = self.firehose.writable(params, now)
        stream.charge_request(now)
        records = firehose.check_records([params["Record"]], self.limits, single=True)
        entry = self._deliver(stream, records, now, fault)[0]
        if "ErrorCode" in entry:
            status = {"InternalFailure": 500, "ServiceUnavailableException": 503}.get(entry["ErrorCode"], 400)
            raise ServiceError(entry["ErrorCode"], entry["ErrorMessage"], status)
        return {**entry, "Encrypted": False}

    def _deliver(
        self, stream: DeliveryStream, records: list[bytes], now: float, fault: Fault | None
    ) -> list[dict[str, str]]:
        entries, accepted = stream.apply_limits(records, now, self.requests, fault)
        if accepted:
            data = [each.data for each in accepted]
            with self.journal(DeliveryEvent(stream.name, now, self.requests, accepted[-1].number, data)):
                stream.store_records(accepted, self.store)
        self._trim_to_retention()
        return entries

    def _get_shard_iterator(self, params: Params, now: float) -> Response:
        stream = self.account.active_stream(params, now)
        response = get_records.get_shard_iterator(stream, params, now, self.account.number)
        _refuse_dry_run(params)
        return response

    def _get_records(self, params: Params, now: float) -> Response:
        iterator = get_records.Iterator(params["ShardIterator"], now)
        stream = self.account.active_stream({"StreamName": iterator.stream}, now)
        _refuse_dry_run(params)
        return get_records.get_records(stream, iterator, params, now, self.account.number)

    def _subscribe_to_shard(self, params: Params, now: float) -> Response:
        self.account.active_stream(params, now)
        _refuse_dry_run(params)
        return {"EventStream": self.account.subscribe(params, now)}

    def change_queue(self, operation: str, params: Params, now: float) -> Response:
        """Carry out an operation on the records of a queue, without faults.

        A caller that waits for records calls it again and again (queue_records.WAITING).
        """
        self.now = now = max(now, self.now)
        queue = self.account.active_queue(params["QueueARN"], now)
        deliveries, response = queue_records.OPERATIONS[operation](queue, params, now)
        if deliveries:
            with self.journal(QueueEvent(queue.stream.name, queue.id, now, deliveries)):
                queue.apply(deliveries)
        return response

    def due_channels(self, now: float, seconds: float | None) -> Iterator[tuple[Channel, list[StoredObject], int]]:
        """Yield the channels with objects to deliver, and the count for note_delivery().

        seconds: the freshness of all channels; None: each one's own
        """
        now = max(now, self.now)
        for channel in list(self.account.channels.values()):
            channel.apply_changes(now)
            due = channel.due(now, seconds) if channel_operations.can_deliver(self.account, channel) else None
            if due is not None:
                yield channel, *due

    def note_delivery(self, channel: Channel, delivered: int, now: float) -> None:
        """Note that the objects of due_channels() are stored."""
        self.now = now = max(now, self.now)
        with self.journal(ChannelEvent(channel.stream.name, channel.id, now, delivered)):
            channel.delivered = delivered

    def restore(self, event: Event) -> None:
        """Repeat a change that the journal kept: without limits, and with the same sequence numbers."""
        if isinstance(event, PutEvent):
            self._restore_put(event)
        elif isinstance(event, DeliveryEvent):
            self._restore_delivery(event)
        elif isinstance(event, ChannelEvent):
            if event.channel in self.account.channels:
                channel = self.account.channels[event.channel]
                channel.apply_changes(event.now)
                channel.delivered = event.delivered
        elif isinstance(event, QueueEvent):
            if event.queue in self.account.queues:
                self.account.queues[event.queue].apply(event.deliveries)
        else:
            holder = self.account
            limits, phases = holder.limits, holder.phases
            holder.limits = replace(
                limits,
                update_shard_count_factor=False,
                firehose_streams=None,
                account_shards=None,
                on_demand_streams=None,
            )
            holder.phases = Phases(*event.phases)
            try:
                self._call(event.operation, event.params, event.now)
            finally:
                holder.limits, holder.phases = limits, phases
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
        self._trim_to_retention()

    def _restore_delivery(self, event: DeliveryEvent) -> None:
        stream = self.firehose.find(event.stream, event.now)
        stream.store_records(event.delivery_records(), self.store)
        stream.count = event.count
        self.requests = max(self.requests, event.request)
        self._trim_to_retention()

    @property
    def held_bytes(self) -> int:
        """Bytes of the records that all streams and delivery streams hold."""
        return sum(each.held_bytes for each in self._all_streams())

    def _all_streams(self) -> list[Stream | DeliveryStream]:
        return [*self.streams.values(), *self.firehose.streams.values()]

    def _trim_to_retention(self) -> None:
        """Trim the fullest stream if the streams hold more than retention_bytes.

        It is trimmed to 15/16 of retention_bytes, so that not every put has to trim.
        """
        if self.retention_bytes is None:
            return
        held_bytes = self.held_bytes
        if held_bytes > self.retention_bytes:
            surplus = held_bytes - self.retention_bytes * 15 // 16
            largest = max(self._all_streams(), key=lambda each: each.held_bytes)
            largest.trim_to(max(0, largest.held_bytes - surplus))

    # --- the ledger ---

    def ledger(self, stream: str | None = None) -> Iterator[LedgerRecord]:
        """Yield every accepted record that is still held.

        The records of a stream are in the order of acceptance.

        stream: a stream's name; None for all. Deleted streams come first, if the model keeps them.
        """
        for each in [*self.account.deleted, *self.streams.values()]:
            if stream in (None, each.name):
                yield from records_of(each)

    def firehose_ledger(self, delivery_stream: str | None = None) -> Iterator[DeliveryLedgerRecord]:
        """Yield every record that Firehose accepted and that is still held.

        The records of a delivery stream are in the order of acceptance.

        delivery_stream: a delivery stream's name; None for all. Deleted ones come first, if the model keeps them.
        """
        for each in [*self.firehose.deleted, *self.firehose.streams.values()]:
            if delivery_stream in (None, each.name):
                yield from firehose_records(each, 0)


SERVED = frozenset(
    [
        *("PutRecord", "PutRecords", "GetRecords", "GetShardIterator", "SubscribeToShard"),
        *("Firehose.PutRecord", "Firehose.PutRecordBatch"),
        *operations.OPERATIONS,
        *queue_records.OPERATIONS,
        *firehose.OPERATIONS,
        *cloudwatch.OPERATIONS,
    ]
)
"""The operations that the model carries out."""


def no_journal(event: Event) -> AbstractContextManager[None]:
    """The journal of a model whose changes are not kept."""
    return nullcontext()


def _refuse_dry_run(params: Params) -> None:
    if params.get("DryRun"):
        raise ServiceError(
            "DryRunOperationException", "The request was rejected because the DryRun parameter was specified."
        )
