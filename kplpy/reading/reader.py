"""StreamReader: iterates over the user records of all shards of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from kplpy.concurrency import check_threads_allowed, new_lock
from kplpy.errors import InvalidRecordError, KplpyError
from kplpy.escaping import brief_repr
from kplpy.reading.fan_out import SILENCE, FanOut, find_consumer
from kplpy.reading.fetcher import Batch, Fetcher, Options
from kplpy.reading.frontier import Frontier, checkpoint_of, positions_in
from kplpy.reading.polling import Polling
from kplpy.reading.position import OLDEST, Position, ReadRecord
from kplpy.reading.shards import list_all_shards, list_shards
from kplpy.reading.source import Source
from kplpy.stream_names import is_delivery_stream, parse_stream
from kplpy.wire.compressed import MAX_UNCOMPRESSED
from kplpy.wire.deaggregate import check_on_error, check_options
from kplpy.wire.envelope import MAX_RECORDS

if TYPE_CHECKING:
    import boto3
    import botocore.session
    from mypy_boto3_kinesis import KinesisClient

_POLL = 0.5  # seconds that a step of the iteration waits at a time: after an interrupt, the next step waits for it


class StreamReader:
    """Iterates over the user records of all shards of a stream. For tests, tools and small readers.

    One process reads the whole stream. For leases or several processes use the KCL.

        with StreamReader("orders", start="TRIM_HORIZON") as reader:
            for record in reader:
                print(record.shard_id, record.data)

    stream: the stream's name or ARN.
    start: "LATEST", records put since open(). "TRIM_HORIZON", the oldest record. A datetime with a timezone, records
        that arrived then or later. Or what checkpoint() returned, to go on after the last record.
    client: a boto3 Kinesis client, which the caller closes. None: a client is made of session, region_name,
        endpoint_url and verify, which are as in Config.
    consumer_name, consumer_arn: a registered consumer to read with enhanced fan-out. None: GetRecords is polled.
    register_consumer: True registers `consumer_name` if it does not exist. It stays registered, and is charged for,
        until DeregisterStreamConsumer.
    follow: True waits for new records without end. False ends when each shard was read to its latest record.
    idle_timeout: seconds. Iteration ends when no record came for so long and no shard has one left. Polling reads every
        shard once more for that, up to `interval` later. While reads fail, iteration does not end.
    interval: seconds between two GetRecords of a shard without new records, 0.2 or more.
    max_buffered_records: Kinesis records that are read ahead, 1 or more. Enhanced fan-out: one event a shard.
    max_records, max_uncompressed: as in deaggregate().
    on_error: called with the error and the Kinesis record if deaggregate() cannot read the record, after the records
        before it were handed out. The record is then skipped. None: the error is raised. A further iteration goes on
        after the record, also if on_error raised.

    The records of a shard come in order, and those of its children after them. Records of different shards have no
    order. As in the KCL, an aggregate with a hash key outside the shard's range is dropped, because the producer put
    its records again.

    With start="LATEST" only the second of open() is known of a shard without a record since then. If its iterator
    expires or its subscription breaks, records that were put up to a second before open() may be read.

    An interrupt of the iteration, such as KeyboardInterrupt or a cancelled task, loses nothing: a further iteration
    goes on after the last record that was handed out, and raises an error that nobody got.

    Throttling, expired iterators, failures of the service and broken connections are retried after a backoff. Other
    errors are raised by the iteration: botocore's, an error of deaggregate(), ConsumerInUseError.

    For one thread or task at a time. Only checkpoint(), caught_up and close() may be called from any thread.

    Raises TypeError or ValueError for an argument that is not valid, and KplpyError in a sub-interpreter that forbids
    daemon threads.
    """

    def __init__(
        self,
        stream: str,
        *,
        start: Literal["LATEST", "TRIM_HORIZON"] | datetime | Mapping[str, Any] = "LATEST",
        client: KinesisClient | None = None,
        session: boto3.Session | botocore.session.Session | None = None,
        region_name: str | None = None,
        endpoint_url: str | None = None,
        verify: bool | str | None = None,
        consumer_name: str | None = None,
        consumer_arn: str | None = None,
        register_consumer: bool = False,
        follow: bool = True,
        idle_timeout: float | None = None,
        interval: float = 1.0,
        max_buffered_records: int = 10_000,
        max_records: int | None = MAX_RECORDS,
        max_uncompressed: int | None = MAX_UNCOMPRESSED,
        on_error: Callable[[ValueError, Mapping[str, Any]], object] | None = None,
    ) -> None:
        check_threads_allowed()
        name, arn = parse_stream(stream)
        if is_delivery_stream(arn):
            raise InvalidRecordError(f"a delivery stream cannot be read: {stream!r}; read its destination")
        _check_number("idle_timeout", idle_timeout, 0, (int, float), or_none=True)
        _check_number("interval", interval, 0.2, (int, float))
        _check_number("max_buffered_records", max_buffered_records, 1, (int,))
        if consumer_name is not None and consumer_arn is not None:
            raise ValueError("consumer_name and consumer_arn contradict each other: give one of them")
        if register_consumer and consumer_name is None:
            raise ValueError("register_consumer needs consumer_name, the name to register")
        check_on_error(on_error)
        self.name = name
        self._stream = {"StreamName": name} if arn is None else {"StreamARN": arn}
        self._start = _checked_start(start, name)
        self._connection = {
            "session": session,
            "region_name": region_name,
            "endpoint_url": endpoint_url,
            "verify": verify,
        }
        if client is not None and any(each is not None for each in self._connection.values()):
            raise ValueError("client contradicts session, region_name, endpoint_url and verify: give either")
        self._client = client
        self._owns_client = client is None
        self._consumer_name, self._consumer_arn = consumer_name, consumer_arn
        self._register_consumer = register_consumer
        self._interval = interval
        self._max_buffered = max_buffered_records
        check_options(None, None, max_records, max_uncompressed)
        limits = {"max_records": max_records, "max_uncompressed": max_uncompressed}
        self._options = Options(follow=follow, idle_timeout=idle_timeout, limits=limits, on_error=on_error)
        self._fetcher: Fetcher | None = None
        self._opening = new_lock()
        self._closed = False

    # --- open and close ---

    def open(self) -> int:
        """Begin in all shards, and return the number of shards that are read now. Iterating opens the reader, too.

        With start="LATEST", every record that is put after open() has returned is read. A second call only returns the
        number. Raises botocore's errors, and KplpyError after close().
        """
        return self._opened().shards

    def _opened(self) -> Fetcher:
        with self._opening:
            if self._closed:
                raise KplpyError("the reader is closed")
            if self._fetcher is None:
                fetcher = Fetcher(self.name, self._make_source(), self._make_frontier(), self._options)
                try:
                    if self._start == "LATEST":
                        fetcher.begin_at_latest()
                    self._fetcher = fetcher
                except BaseException:
                    fetcher.close()
                    raise
            return self._fetcher

    def _make_source(self) -> Source:
        client = self._make_client()
        arn = self._consumer_arn
        if self._consumer_name is not None:
            arn = find_consumer(client, self._stream, self._consumer_name, self._register_consumer)
        if arn is not None:
            return FanOut(client, self._stream, arn)
        return Polling(client, self._stream, self._interval, self._max_buffered)

    def _make_client(self) -> KinesisClient:
        if self._client is None:
            from kplpy.aws.client import make_client
            from kplpy.config.options import Config

            config = Config(**self._connection)  # type: ignore[arg-type]
            if self._consumer_name is not None or self._consumer_arn is not None:
                # Each shard has a connection, on which nothing may come for a while.
                config = replace(config, request_timeout_ms=int(SILENCE * 1000), max_connections=256)
            self._client = make_client(config)
        return self._client

    def _make_frontier(self) -> Frontier:
        client, start = self._make_client(), self._start
        if isinstance(start, dict):
            return Frontier.resume(start, list_all_shards(client, self._stream))
        kind = start if isinstance(start, str) else "AT_TIMESTAMP"
        moment = start if isinstance(start, datetime) else None
        shards, now = list_shards(client, self._stream, kind, moment)
        # In a shard without a record since LATEST, only the time of open() is known later.
        position = OLDEST if kind == "TRIM_HORIZON" else Position(timestamp=moment or now)
        listed = {each.id for each in shards}
        frontier = Frontier()
        for each in shards:
            # An imitation of Kinesis that ignores filters lists children beside their parents.
            frontier.add(each, OLDEST if listed.intersection(each.parents) else position)
        return frontier

    def close(self) -> None:
        """End the iteration and the threads. checkpoint() still works. A second call does nothing.

        A thread inside a request ends after it, one with a subscription after its next event.
        """
        if self._closed:
            return
        self._closed = True
        if self._fetcher is not None:
            self._fetcher.close()
        if self._owns_client and self._client is not None:
            self._client.close()

    def __enter__(self) -> StreamReader:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> StreamReader:
        await asyncio.to_thread(self.open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- iterating ---

    def __iter__(self) -> Iterator[ReadRecord]:
        """Yield each record. A further iteration goes on after the last record of this one."""
        fetcher = self._begin_iteration()
        while fetcher.thread.call(lambda: fetcher.fill(_POLL)):
            yield from fetcher.hand_out()

    async def __aiter__(self) -> AsyncIterator[ReadRecord]:
        """Yield each record. A thread waits for records, so the event loop runs on."""
        fetcher = await asyncio.to_thread(self._begin_iteration)
        while await fetcher.thread.call_from_task(lambda: fetcher.fill(_POLL)):
            for record in fetcher.hand_out():
                yield record

    def batches(self, poll: float = 1.0) -> Iterator[Batch | None]:
        """Yield the records of one shard at a time, and None after `poll` seconds without any.

        All records of a batch count as read once it is yielded.
        """
        fetcher = self._begin_iteration()
        while fetcher.thread.call(lambda: fetcher.fill(poll)):
            yield from fetcher.hand_out_batch()

    def _begin_iteration(self) -> Fetcher:
        fetcher = self._opened()
        fetcher.thread.call(fetcher.begin_iteration)
        return fetcher

    # --- where it is ---

    @property
    def caught_up(self) -> bool:
        """Return True if the last read of every shard left no records behind, and all its records were handed out."""
        return self._fetcher is not None and self._fetcher.is_caught_up

    def checkpoint(self) -> dict[str, Any]:
        """Return the place after the last record that was handed out, for json.dumps() and for `start`.

        A reader that starts from it reads every record after the place once, and none before it. One exception: with
        start="LATEST", only the second of open() is known of a shard without a record since then. A reader that starts
        from the checkpoint may then read records that were put up to a second before open().

        Raises KplpyError before open().
        """
        if self._fetcher is None:
            raise KplpyError("the reader has no place yet: open() it first")
        return checkpoint_of(self.name, self._fetcher.positions())


def _checked_start(start: object, stream: str) -> str | datetime | dict[str, Position]:
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise ValueError(f"start must be a datetime with a timezone, got {start!r}")
        return start
    if isinstance(start, Mapping):
        return positions_in(start, stream)
    if start not in ("LATEST", "TRIM_HORIZON"):
        raise ValueError(
            f"start must be 'LATEST', 'TRIM_HORIZON', a datetime or a checkpoint, got {brief_repr(start, 200)}"
        )
    return str(start)


def _check_number(name: str, value: object, least: float, types: tuple[type, ...], or_none: bool = False) -> None:
    if value is None and or_none:
        return
    if isinstance(value, bool) or not isinstance(value, types):
        raise TypeError(f"{name} must be {' or '.join(each.__name__ for each in types)}, not {type(value).__name__}")
    if not float(value) >= least:  # type: ignore[arg-type]
        raise ValueError(f"{name} must be {least:g} or more, got {value!r}")
