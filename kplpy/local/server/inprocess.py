"""LocalKinesis: a local Kinesis and Firehose in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from kplpy.local.clients import make_client, make_cloudwatch_client, make_firehose_client, make_producer, make_session
from kplpy.local.model.errors import ServiceError
from kplpy.local.model.faults import Faults
from kplpy.local.model.ledger import DeliveryLedgerRecord, LedgerRecord
from kplpy.local.model.limits import Limits, Phases
from kplpy.local.model.model import Model, no_journal
from kplpy.local.model.validation import requested_stream
from kplpy.local.server.channel_writer import ChannelWriter
from kplpy.local.server.journal import Journal
from kplpy.local.server.options import DEFAULT_STREAM, GIB, Options
from kplpy.local.server.server import Server, run_pending_callbacks
from kplpy.local.server.service import Service

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_firehose import FirehoseClient
    from mypy_boto3_kinesis import KinesisClient

    from kplpy.producer import Producer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamAtStart:
    """A stream that a server has when it starts.

    is_delivery: True for a delivery stream of Firehose, which has no shards
    shards: open shards
    wanted: shards that the options ask for; None if the options do not name the stream
    restored: True if the stream is from the data directory
    records: records that the stream holds
    """

    name: str
    is_delivery: bool
    shards: int
    wanted: int | None
    restored: bool
    records: int


class Running:
    """A model with its streams, its server and its journal.

    LocalKinesis and serve() both use it, on the event loop.
    """

    def __init__(self, options: Options) -> None:
        self.model = options.model()
        self.server = Server(Service(self.model), options.host, options.port, options.https)
        self._options = options
        self._journal: Journal | None = None
        self._channels: ChannelWriter | None = None
        self.streams: list[StreamAtStart] = []

    async def start(self) -> None:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        self.model.account.has_buckets = self._options.channels_dir is not None
        if self._options.data_dir is not None:
            self._journal = Journal(Path(self._options.data_dir))
            self._journal.restore(self.model)
            self.model.journal = self._journal.recording
        if self._options.channels_dir is not None:
            directory, seconds = Path(self._options.channels_dir), self._options.channel_seconds
            self._channels = ChannelWriter(self.model, directory, seconds, time.time)
            self._channels.start()
        now = time.time()
        self._create_streams(now)
        self._create_delivery_streams(now)
        await self.server.start()

    def _create_streams(self, now: float) -> None:
        """Create the streams that are wanted and not restored, and set `streams` to all streams."""
        account = self.model.account
        for stream in list(account.streams.values()):
            stream.apply_changes(now)
        restored = set(account.streams)
        wanted = self._options.wanted_streams(restored)
        for name, shards in wanted.items():
            if name not in restored:
                self._create("CreateStream", {"StreamName": name, "ShardCount": shards}, now)
        for name, stream in account.streams.items():
            records = sum(len(each.records) - each.head for each in stream.shards.values())
            wanted_shards = wanted.get(name)
            shards = len(stream.open) or wanted_shards or 0  # no shard is open yet while the stream is CREATING
            self.streams.append(StreamAtStart(name, False, shards, wanted_shards, name in restored, records))

    def _create_delivery_streams(self, now: float) -> None:
        """Create the delivery streams that are wanted and not restored, and add all of them to `streams`."""
        firehose = self.model.firehose
        for stream in list(firehose.streams.values()):
            stream.apply_changes(now)
        restored = set(firehose.streams)
        role, bucket = f"arn:aws:iam::{self.model.account.number}:role/local", "arn:aws:s3:::local"
        destination = {"ExtendedS3DestinationConfiguration": {"RoleARN": role, "BucketARN": bucket}}
        for name in dict.fromkeys(self._options.delivery_streams):
            if name not in restored:
                self._create("Firehose.CreateDeliveryStream", {"DeliveryStreamName": name, **destination}, now)
        for name, stream in firehose.streams.items():
            self.streams.append(StreamAtStart(name, True, 0, None, name in restored, len(stream.records)))

    def _create(self, operation: str, params: dict[str, Any], now: float) -> None:
        try:
            self.model.handle(operation, params, now)
        except ServiceError as error:
            raise OSError(f"stream {requested_stream(params)!r} cannot be created: {error.message}") from error

    async def stop(self) -> None:
        if self._channels is not None:
            await self._channels.stop()
        await self.server.stop()
        if self._journal is not None:
            self.model.journal = no_journal
            self._journal.close()


class LocalKinesis:
    """A Kinesis for tests, on a port of this machine, with the service's limits.

        with LocalKinesis(shards=4, stream="orders") as kinesis, kinesis.producer() as producer:
            producer.put_record("orders", b"...", "key").result()

    Arguments (a bad one raises ValueError):
        shards, stream: the stream that exists at the start. By default "test" with one shard, which is not created if
            data_dir has streams already. stream=None: no stream.
        streams: several streams instead, {name: number of shards}.
        delivery_streams: names of delivery streams of Firehose that exist at the start.
        limits: True for the service's limits, Limits(...) to change some, False for no limits per second
            (Limits.no_rates()).
        phases: Phases(...), seconds in CREATING, UPDATING and DELETING; by default 0, 0 and 10.
        https: True serves TLS with a certificate made at the start; verify it against `ca_bundle`.
        host, port: where to listen; port 0 takes a free port.
        region_name: the region in ARNs, and the region of client().
        store: False keeps only counts, no records: a sink for measurements.
        retention_bytes: the most bytes of records that are held before the oldest are dropped. By default 1 GiB;
            None: no bound.
        data_dir: a directory that keeps all changes; a change that was acknowledged survives a kill. None: memory only.
        channels_dir: a directory that stands for S3: channels write their objects to it, a folder for each bucket.
            None: channels are FAILED.
        channel_seconds: how long channels wait before they deliver; None: each its DataFreshnessInSeconds, 300 or more.

    The server starts at `with` or start(), and ends at the end of `with` or at stop(). Signatures are not checked, so
    any credentials are accepted.
    """

    def __init__(
        self,
        *,
        shards: int = 1,
        stream: str | None = DEFAULT_STREAM,
        streams: Mapping[str, int] | None = None,
        delivery_streams: Collection[str] = (),
        limits: Limits | bool | None = True,
        phases: Phases | None = None,
        https: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        region_name: str = "us-east-1",
        store: bool = True,
        retention_bytes: int | None = GIB,
        data_dir: str | Path | None = None,
        channels_dir: str | Path | None = None,
        channel_seconds: float | None = None,
    ) -> None:
        self.options = Options(
            shards=shards,
            stream=stream,
            streams=streams,
            delivery_streams=delivery_streams,
            limits=limits,
            phases=phases,
            https=https,
            host=host,
            port=port,
            region_name=region_name,
            store=store,
            retention_bytes=retention_bytes,
            data_dir=data_dir,
            channels_dir=channels_dir,
            channel_seconds=channel_seconds,
        )
        self._running = Running(self.options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # --- start and stop ---

    def start(self) -> LocalKinesis:
        """Start the server's thread and return when the port accepts connections.

        Raises OSError if the port is taken or data_dir cannot be used, ValueError if the log in data_dir is damaged,
        RuntimeError if this LocalKinesis was started before.
        """
        if self._thread is not None:
            raise RuntimeError("this LocalKinesis was started already; create a new one")
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run_loop, args=(loop,), name="kplpy-local", daemon=True)
        self._thread.start()
        self._loop = loop
        try:
            asyncio.run_coroutine_threadsafe(self._running.start(), loop).result()
        except BaseException:
            self._end_thread()
            raise
        return self

    def stop(self) -> None:
        """Stop the server.

        The model and its ledger stay readable. A second call does nothing.
        """
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._running.stop(), self._loop).result()
            self._end_thread()

    def _end_thread(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()

    def __enter__(self) -> LocalKinesis:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- address and clients ---

    @property
    def endpoint_url(self) -> str:
        """The server's URL; RuntimeError before start()."""
        if not self._running.server.url:
            raise RuntimeError("this LocalKinesis is not started: use it in a with statement, or call start()")
        return self._running.server.url

    @property
    def region_name(self) -> str:
        return self.options.region_name

    @property
    def ca_bundle(self) -> str | None:
        """The path of the certificate authority for verify=; None with http."""
        return self._running.server.ca_bundle

    def client(self, **arguments: Any) -> KinesisClient:
        """Return a boto3 Kinesis client for this endpoint, with made-up credentials; `arguments` are for boto3."""
        return make_client(self, **arguments)

    def firehose_client(self, **arguments: Any) -> FirehoseClient:
        """Return a boto3 Firehose client for this endpoint, with made-up credentials; `arguments` are for boto3."""
        return make_firehose_client(self, **arguments)

    def cloudwatch_client(self, **arguments: Any) -> CloudWatchClient:
        """Return a boto3 CloudWatch client for this endpoint, with made-up credentials; `arguments` are for boto3."""
        return make_cloudwatch_client(self, **arguments)

    def session(self) -> boto3.Session:
        """Return a boto3 session with made-up credentials and this region. Its clients need endpoint_url."""
        return make_session(self.region_name)

    def producer(self, **config: Any) -> Producer:
        """Return a Producer for this endpoint; `config` are fields of Config.

        The producer needs no credentials, region or profile on this machine. It sends nothing to CloudWatch unless
        `config` names a sink. Close the producer before the server stops: `with kinesis.producer() as producer`.
        """
        return make_producer(self, **config)

    # --- the model ---

    @property
    def model(self) -> Model:
        """The model.

        The server's thread owns it while the server runs: use call(), handle() or ledger().
        """
        return self._running.model

    @property
    def faults(self) -> Faults:
        """The faults of the coming requests (kplpy.local.model.faults)."""
        return self._running.model.faults

    def ledger(self, stream: str | None = None) -> list[LedgerRecord]:
        """Return every accepted record that is still held.

        The records of a stream are in the order of acceptance.

        stream: a stream's name; None for all streams.
        """
        return self.call(lambda model: list(model.ledger(stream)))

    def firehose_ledger(self, delivery_stream: str | None = None) -> list[DeliveryLedgerRecord]:
        """Return every record that Firehose accepted and that is still held.

        The records of a delivery stream are in the order of acceptance.

        delivery_stream: a delivery stream's name; None for all.
        """
        return self.call(lambda model: list(model.firehose_ledger(delivery_stream)))

    def handle(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one API call without HTTP, now; raises kplpy.local.ServiceError.

        Operations of Firehose have the prefix `Firehose.`, for example Firehose.CreateDeliveryStream.
        """
        return self.call(lambda model: model.handle(operation, params, time.time()))

    def call(self, function: Callable[[Model], T]) -> T:
        """Run `function(model)` on the server's thread, between two requests, and return its result."""
        if self._loop is None:
            return function(self._running.model)

        async def run() -> T:
            return function(self._running.model)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        # Only its task knows a connection that is in its TLS handshake. Cancelling the task closes the connection.
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(run_pending_callbacks())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
