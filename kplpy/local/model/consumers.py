"""Registered consumers, and the subscriptions of enhanced fan-out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kplpy.local.model.errors import ServiceError, in_use, invalid_argument, not_found, over_limit
from kplpy.local.model.get_records import describe_records, find_shard, starting_number
from kplpy.local.model.limits import MIB, CallRate, Limits
from kplpy.local.model.pages import page
from kplpy.local.model.resources import Resource
from kplpy.local.model.sequence import sequence_number
from kplpy.local.model.shard import Record, Shard
from kplpy.local.model.stream import Stream

Params = Mapping[str, Any]
Response = dict[str, Any]

HEARTBEAT = 5.0
"""Seconds after which a subscription without records gets an empty event."""
_MAX_EVENT = MIB
_ARN = re.compile(r".*:stream/([a-zA-Z0-9_.-]+)/consumer/([a-zA-Z0-9_.-]+):([0-9]+)")


class Consumer(Resource):
    """A registered consumer of a stream.

    subscriptions: the latest subscription of each shard, by shard id.
    rates: of the SubscribeToShard calls for each shard, by shard id.
    """

    def __init__(self, stream_arn: str, name: str, now: float) -> None:
        super().__init__(f"{stream_arn}/consumer/{name}:{int(now)}")
        self.name = name
        self.created = now
        self.is_registered = True
        self.subscriptions: dict[str, Subscription] = {}
        self.rates: dict[str, CallRate] = {}

    def describe(self) -> Response:
        """Return the Consumer structure."""
        return {
            "ConsumerName": self.name,
            "ConsumerARN": self.arn,
            "ConsumerStatus": "ACTIVE",
            "ConsumerCreationTimestamp": round(self.created, 3),
        }


class Subscription:
    """What SubscribeToShard returns: the source of a shard's events. Call events(now) again and again until `ended`.

    Reads at most Limits.subscription_bytes_per_second, in events of up to 1 MiB. An event has at least one record.
    """

    def __init__(self, stream: Stream, consumer: Consumer, shard: Shard, number: int, now: float) -> None:
        self.ended = False
        self._stream, self._consumer, self._shard = stream, consumer, shard
        self._number = number  # of the next record
        self._started_at = now
        self._last_event_at = float("-inf")
        self._rate = stream.limits.subscription_bytes_per_second
        self._tokens = self._rate or 0.0
        self._refilled_at = now

    def is_held(self, now: float) -> bool:
        """Return True while another call cannot take the shard over."""
        return now - self._started_at < self._stream.limits.subscription_takeover_seconds

    def events(self, now: float) -> list[Response]:
        """Return the events that are due, as SubscribeToShardEvent structures.

        Raises ServiceError for the event that ends the subscription with an error: another call took the shard over,
        or the consumer or stream was deleted.
        """
        if self.ended:
            return []
        error = self._error(now)
        if error is not None:
            self.ended = True
            raise error
        seconds = self._stream.limits.subscription_seconds
        if seconds is not None and now - self._started_at >= seconds:
            self.ended = True
            return []
        found = []
        while not self.ended and (event := self._next_event(now)) is not None:
            found.append(event)
            self._last_event_at = now
        return found

    def _error(self, now: float) -> ServiceError | None:
        self._stream.apply_changes(now)
        if not self._consumer.is_registered or self._stream.status == "DELETING":
            return not_found(f"Consumer {self._consumer.arn} of stream {self._stream.name} not found.")
        if self._consumer.subscriptions.get(self._shard.id) is not self:
            return in_use(f"Another subscription of {self._consumer.arn} to {self._shard.id} is active.")
        return None

    def _next_event(self, now: float) -> Response | None:
        shard, rate = self._shard, self._rate
        if rate is not None:
            self._tokens = min(rate, self._tokens + max(0.0, now - self._refilled_at) * rate)
            self._refilled_at = max(now, self._refilled_at)
        records, position = self._take(shard.position(self._number))
        has_more = position < len(shard.records)
        at_end = shard.closed is not None and not has_more
        if not records and not at_end and (has_more or now - self._last_event_at < HEARTBEAT):
            return None
        event: Response = {
            "Records": describe_records(self._stream, records),
            "MillisBehindLatest": max(0, int(1000 * (now - shard.records[position].arrived))) if has_more else 0,
            "ChildShards": shard.describe_children() if at_end else [],
        }
        if records:
            self._number = records[-1].number + 1
        if at_end:  # the service's last event has no ContinuationSequenceNumber
            self.ended = True
        elif has_more:
            event["ContinuationSequenceNumber"] = str(records[-1].number)
        else:  # no record up to the stream's latest is left in this shard
            event["ContinuationSequenceNumber"] = str(sequence_number(shard.base, self._stream.count, now))
        return event

    def _take(self, position: int) -> tuple[list[Record], int]:
        """Return the records of the next event, at least one if the rate allows it, and the position after them."""
        shard, size = self._shard, 0
        records: list[Record] = []
        while position < len(shard.records) and (self._rate is None or self._tokens > 0):
            record = shard.records[position]
            if records and size + record.size > _MAX_EVENT:
                break
            records.append(record)
            size += record.size
            self._tokens -= record.size
            position += 1
        return records, position


class Consumers:
    """The registered consumers of all streams of an account."""

    def __init__(self, account: str, limits: Limits) -> None:
        self._account = account
        self._limits = limits
        self._by_stream: dict[int, dict[str, Consumer]] = {}  # by the stream's incarnation

    def of(self, stream: Stream) -> dict[str, Consumer]:
        """Return the consumers of a stream, by name."""
        return self._by_stream.setdefault(stream.incarnation, {})

    def forget(self, stream: Stream) -> None:
        """Deregister all consumers of a stream that is being deleted."""
        for each in self._by_stream.pop(stream.incarnation, {}).values():
            each.is_registered = False

    def register(self, stream: Stream, params: Params, now: float, tags: dict[str, str]) -> Response:
        name, consumers = params["ConsumerName"], self.of(stream)
        if name in consumers:
            raise in_use(f"Consumer {name} under stream {stream.name} already exists for account {self._account}.")
        consumer = consumers[name] = Consumer(stream.arn, name, now)
        consumer.tags = tags
        return {"Consumer": consumer.describe()}

    def deregister(self, stream: Stream, params: Params) -> Response:
        consumer = self.find(stream, params)
        consumer.is_registered = False
        del self.of(stream)[consumer.name]
        return {}

    def describe(self, stream: Stream, params: Params) -> Response:
        return {"ConsumerDescription": {**self.find(stream, params).describe(), "StreamARN": stream.arn}}

    def list(self, stream: Stream, params: Params, now: float) -> Response:
        created = params.get("StreamCreationTimestamp")
        if created is not None and params.get("NextToken") is not None:
            raise invalid_argument("NextToken and StreamCreationTimestamp cannot be provided together.")
        if created is not None and int(created) != int(stream.created):
            raise not_found(f"Stream {stream.name} under account {self._account} created at {created} not found.")
        shown, token = page("consumers", self.of(stream), params, now)
        return {"Consumers": [each.describe() for each in shown], **token}

    def subscribe(self, stream: Stream, params: Params, now: float) -> Subscription:
        """Return a new subscription. It takes the shard over from an earlier one of the same consumer."""
        consumer = self.find(stream, params)
        shard = find_shard(stream, params["ShardId"], self._account)
        if self._limits.subscribe_per_second is not None:
            rate = consumer.rates.setdefault(shard.id, CallRate(self._limits.subscribe_per_second, now))
            if not rate.take(now):
                raise over_limit(f"Rate exceeded for SubscribeToShard of {consumer.arn} to {shard.id}.")
        start = params["StartingPosition"]
        place = {
            "ShardIteratorType": start["Type"],
            "StartingSequenceNumber": start.get("SequenceNumber"),
            "Timestamp": start.get("Timestamp"),
        }
        number = starting_number(stream, shard, place, now, self._account)
        earlier = consumer.subscriptions.get(shard.id)
        if earlier is not None and earlier.is_held(now):
            raise in_use(f"Another active subscription exists for consumer {consumer.arn} and shard {shard.id}.")
        subscription = consumer.subscriptions[shard.id] = Subscription(stream, consumer, shard, number, now)
        return subscription

    def find(self, stream: Stream, params: Params) -> Consumer:
        """Return the consumer that a request names by its ARN, or by its name."""
        arn, name = params.get("ConsumerARN"), params.get("ConsumerName")
        if arn is None and name is None:
            raise invalid_argument("Either ConsumerARN, or StreamARN and ConsumerName, must be provided.")
        match = _ARN.fullmatch(arn) if isinstance(arn, str) else None
        consumer = self.of(stream).get(match[2] if match is not None else str(name))
        if consumer is None or (arn is not None and arn != consumer.arn) or name not in (None, consumer.name):
            raise not_found(f"Consumer {arn or name}, stream {stream.name}, under account {self._account} not found.")
        return consumer
