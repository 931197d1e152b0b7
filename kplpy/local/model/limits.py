"""The service's limits, which can be switched off, and the counters of limits per second."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, Protocol

KIB = 1024
MIB = 1024 * KIB

_ONE = 1 - 1e-6  # allows for the rounding of epoch seconds as floats, which is below a microsecond


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The service's limits, by default as documented.

    None (or False) switches a limit off. A bad value raises ValueError with the field's name. `Limits.no_rates()` has
    no limits per second and keeps the limits on the sizes of requests and records. `Limits.none()` has no limits.
    """

    request_records: int | None = 500
    """The most records in one PutRecords request."""
    request_bytes: int | None = 10 * MIB
    """The most bytes in one PutRecords request, data and partition keys."""
    record_size: bool = True
    """Refuse a record (data + partition key) above the stream's MaxRecordSizeInKiB, which is 1024 unless raised."""
    shard_records_per_second: float | None = 1000
    """Records written to one shard."""
    shard_bytes_per_second: float | None = MIB
    """Bytes of data and partition keys written to one shard.

    A record above the bytes of one second is accepted only when the whole second's allowance is free. The shard then
    refuses records until the excess is paid off.
    """
    rate_form: Literal["bucket", "window"] = "bucket"
    """How the limits of writes are counted; the service's own way is not published.

    bucket: a token bucket with a burst of one second
    window: fixed windows of one second, whose phase is random for each shard
    """
    shard_reads_per_second: float | None = 5
    """GetRecords calls on one shard."""
    shard_read_bytes_per_second: float | None = 2 * MIB
    """Bytes read from one shard.

    One GetRecords can return 10 MiB. The shard then refuses reads until the average is met again.
    """
    list_shards_per_second: float | None = 1000
    """ListShards calls on one stream."""
    describe_summary_per_second: float | None = 20
    """DescribeStreamSummary calls of the whole account."""
    subscribe_per_second: float | None = 1
    """SubscribeToShard calls of one consumer on one shard."""
    subscription_bytes_per_second: float | None = 2 * MIB
    """Bytes that one consumer gets from one shard."""
    subscription_seconds: float | None = 300
    """How long a subscription of SubscribeToShard lasts."""
    subscription_takeover_seconds: float = 5
    """A further SubscribeToShard fails for so long, and then takes the shard over."""
    update_shard_count_factor: bool = True
    """UpdateShardCount may at most double or halve the number of shards."""
    account_shards: int | None = 20_000
    """Open shards of all provisioned streams: the quota of us-east-1, us-west-2 and eu-west-1."""
    on_demand_streams: int | None = 50
    """On-demand streams of the account."""
    firehose_request_records: int | None = 500
    """The most records in one PutRecordBatch request of Firehose."""
    firehose_request_bytes: int | None = 4 * MIB
    """The most bytes of data in one PutRecordBatch request."""
    firehose_record_size: bool = True
    """Refuse a record of Firehose above 1,000 KiB."""
    firehose_records_per_second: float | None = 500_000
    """Records put to one delivery stream.

    This quota and the next two are those of us-east-1, us-west-2 and eu-west-1. Elsewhere they are a fifth of the
    records, half of the requests and a fifth of the bytes.
    """
    firehose_requests_per_second: float | None = 2000
    """PutRecord and PutRecordBatch requests on one delivery stream."""
    firehose_bytes_per_second: float | None = 5 * MIB
    """Bytes put to one delivery stream."""
    firehose_streams: int | None = 5000
    """Delivery streams of the account."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "rate_form":
                if value not in ("bucket", "window"):
                    raise ValueError(f"rate_form must be 'bucket' or 'window', got {value!r}")
            elif "bool" in str(each.type):
                if not isinstance(value, bool):
                    raise ValueError(f"{each.name} must be True or False, got {value!r}")
            elif value is None and "None" not in str(each.type):
                raise ValueError(f"{each.name} must be a number above 0, got None")
            elif value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0):
                raise ValueError(f"{each.name} must be a number above 0, or None for no limit; got {value!r}")

    @classmethod
    def no_rates(cls) -> Limits:
        """Return limits without any limit per second; the limits on sizes stay."""
        return cls(
            shard_records_per_second=None,
            shard_bytes_per_second=None,
            shard_reads_per_second=None,
            shard_read_bytes_per_second=None,
            list_shards_per_second=None,
            describe_summary_per_second=None,
            subscribe_per_second=None,
            subscription_bytes_per_second=None,
            firehose_records_per_second=None,
            firehose_requests_per_second=None,
            firehose_bytes_per_second=None,
        )

    @classmethod
    def none(cls) -> Limits:
        """Return limits that are all switched off."""
        return replace(
            cls.no_rates(),
            request_records=None,
            request_bytes=None,
            record_size=False,
            update_shard_count_factor=False,
            account_shards=None,
            on_demand_streams=None,
        )


@dataclass(frozen=True)
class Phases:
    """How long a stream stays CREATING, UPDATING (a whole reshard) and DELETING.

    The times are in seconds; 0 skips a phase. A negative value raises ValueError.

    The real service takes about ten seconds for each phase. Here only DELETING takes time by default. kplpy relies on a
    name not being reused sooner, because a recreated stream has the same shard ids with other ranges.
    """

    creating: float = 0.0
    updating: float = 0.0
    deleting: float = 10.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise ValueError(f"{each.name} must be a number of seconds, 0 or more; got {value!r}")


class WriteRate(Protocol):
    """The write limit of one shard."""

    def take(self, size: int, now: float) -> bool:
        """Charge a record of `size` bytes and return True, or charge nothing and return False."""


class WriteBucket:
    """A token bucket of one second.

    A record above one second's bytes needs a full bucket, and makes it negative.
    """

    __slots__ = ("at", "byte_rate", "bytes", "record_rate", "records")

    def __init__(self, records: float, size: float, now: float) -> None:
        self.record_rate = self.records = records
        self.byte_rate = self.bytes = size
        self.at = now

    def take(self, size: int, now: float) -> bool:
        elapsed = now - self.at
        if elapsed > 0:
            self.at = now
            self.records = min(self.record_rate, self.records + elapsed * self.record_rate)
            self.bytes = min(self.byte_rate, self.bytes + elapsed * self.byte_rate)
        if self.records < _ONE or self.bytes + 0.5 < min(size, self.byte_rate):
            return False
        self.records -= 1
        self.bytes -= size
        return True


class WriteWindow:
    """Fixed windows of one second that begin at `phase`.

    The excess of a large record is charged to later windows.
    """

    __slots__ = ("byte_rate", "phase", "record_rate", "used_bytes", "used_records", "window")

    def __init__(self, records: float, size: float, phase: float) -> None:
        self.record_rate, self.byte_rate, self.phase = records, size, phase
        self.window = -1
        self.used_records = 0
        self.used_bytes = 0.0

    def take(self, size: int, now: float) -> bool:
        window = int(now - self.phase)
        if window > self.window:
            self.used_bytes = max(0.0, self.used_bytes - self.byte_rate * (window - self.window))
            self.used_records = 0
            self.window = window
        over = self.used_bytes + size > self.byte_rate
        if self.used_records + 1 > self.record_rate or (over and self.used_bytes > 0):
            return False
        self.used_records += 1
        self.used_bytes += size
        return True


class CallRate:
    """A limit of calls per second: a token bucket of one second."""

    __slots__ = ("at", "level", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = self.level = rate
        self.at = now

    def take(self, now: float) -> bool:
        self.level = min(self.rate, self.level + max(0.0, now - self.at) * self.rate)
        self.at = max(self.at, now)
        if self.level < _ONE:
            return False
        self.level -= 1
        return True


class ReadRate:
    """The read limit of one shard: calls per second, and bytes per second.

    A read's bytes are known only after the read, so charge() charges them then.
    """

    __slots__ = ("at", "byte_rate", "bytes", "calls")

    def __init__(self, calls: float, size: float, now: float) -> None:
        self.calls = CallRate(calls, now)
        self.byte_rate = self.bytes = size
        self.at = now

    def take(self, now: float) -> bool:
        self.bytes = min(self.byte_rate, self.bytes + max(0.0, now - self.at) * self.byte_rate)
        self.at = max(self.at, now)
        return self.bytes > 0 and self.calls.take(now)

    def charge(self, size: int) -> None:
        self.bytes -= size


def write_rate(
    records: float | None, size: float | None, form: Literal["bucket", "window"], now: float, phase: float
) -> WriteRate | None:
    """Return a write limit of `records` and `size` bytes per second, None without limits.

    `phase`: where windows begin, 0 to 1 second.
    """
    if records is None and size is None:
        return None
    records, size = records or float("inf"), size or float("inf")
    return WriteWindow(records, size, phase) if form == "window" else WriteBucket(records, size, now)


def read_rate(limits: Limits, now: float) -> ReadRate | None:
    """Return the read limit of a new shard, None without limits."""
    calls, size = limits.shard_reads_per_second, limits.shard_read_bytes_per_second
    if calls is None and size is None:
        return None
    return ReadRate(calls or float("inf"), size or float("inf"), now)
