"""LocalKinesis: a local Kinesis in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from kplpy.local.clients import make_client, make_producer, make_session
from kplpy.local.model.errors import ServiceError
from kplpy.local.model.faults import Faults
from kplpy.local.model.limits import Limits, Phases
from kplpy.local.model.model import LedgerRecord, Model, no_journal
from kplpy.local.server.journal import Journal
from kplpy.local.server.options import DEFAULT_STREAM, GIB, Options
from kplpy.local.server.server import Server, turns
from kplpy.local.server.service import Service

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_kinesis import KinesisClient

    from kplpy.producer import Producer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamAtStart:
    """A stream that a server begins with. `wanted`: the shards that were asked for, None if it was not asked for."""

    name: str
    shards: int
    wanted: int | None
    restored: bool
    records: int


class Running:
    """A model with its streams, served: what the thread and the process have in common."""

    def __init__(self, options: Options) -> None:
        self.model = options.model()
        self.server = Server(Service(self.model), options.host, options.port, options.https)
        self._options = options
        self._journal: Journal | None = None
        self.streams: list[StreamAtStart] = []

    async def start(self) -> None:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        if self._options.data_dir is not None:
            self._journal = Journal(Path(self._options.data_dir))
            self._journal.restore(self.model)
            self.model.journal = self._journal.keeping
        self._begin_streams(time.time())
        await self.server.start()

    def _begin_streams(self, now: float) -> None:
        """Make the streams that are wanted and not restored, and note all that there are."""
        account = self.model.account
        for stream in list(account.streams.values()):
            stream.settle(now)
        restored = set(account.streams)
        wanted = self._options.wanted_streams(restored)
        for name, shards in wanted.items():
            if name not in restored:
                try:
                    self.model.handle("CreateStream", {"StreamName": name, "ShardCount": shards}, now)
                except ServiceError as error:
                    raise OSError(f"stream {name!r} cannot be made: {error.message}") from error
        for name, stream in account.streams.items():
            records = sum(len(each.records) - each.head for each in stream.shards.values())
            asked = wanted.get(name)
            shards = len(stream.open) or asked or 0  # none is open yet while it is CREATING
            self.streams.append(StreamAtStart(name, shards, asked, name in restored, records))

    async def stop(self) -> None:
        await self.server.stop()
        if self._journal is not None:
            self.model.journal = no_journal
            self._journal.close()


class LocalKinesis:
    """A Kinesis for tests, on a port of this machine, with the service's limits:

        with LocalKinesis(shards=4, stream="orders") as kinesis, kinesis.producer() as producer:
            producer.put_record("orders", b"...", "key").result()

    Arguments (a bad one raises ValueError):
        shards, stream: a stream to begin with; stream=None: none. Unless said otherwise it is "test" with one shard,
            which is left out where data_dir has streams already.
        streams: several instead, {name: number of shards}.
        limits: the service's; Limits(...) to change single ones; False: none per second (Limits.no_rates()).
        phases: Phases(...), seconds in CREATING, UPDATING, DELETING; by default 0, 0 and 10.
        https: serve TLS, with a certificate made on the fly; verify it against `ca_bundle`.
        host, port: where to listen; port 0 takes a free one.
        region_name: the region in ARNs, and that of client().
        store: False keeps counts only and hands out no records: a sink for measurements.
        retention_bytes: how much is held before the oldest records go; 1 GiB; None: no bound.
        data_dir: a directory that makes it durable; what was answered survives a kill. None: memory only.

    It starts at `with` or start(), and ends at the end of `with` or stop(). Signatures are not checked: any
    credentials do.
    """

    def __init__(
        self,
        *,
        shards: int = 1,
        stream: str | None = DEFAULT_STREAM,
        streams: Mapping[str, int] | None = None,
        limits: Limits | bool | None = True,
        phases: Phases | None = None,
        https: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        region_name: str = "us-east-1",
        store: bool = True,
        retention_bytes: int | None = GIB,
        data_dir: str | Path | None = None,
    ) -> None:
        self.options = Options(
            shards=shards,
            stream=stream,
            streams=streams,
            limits=limits,
            phases=phases,
            https=https,
            host=host,
            port=port,
            region_name=region_name,
            store=store,
            retention_bytes=retention_bytes,
            data_dir=data_dir,
        )
        self._running = Running(self.options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # --- life ---

    def start(self) -> LocalKinesis:
        """Start serving and return when the port answers; OSError when the port is taken."""
        if self._thread is not None:
            raise RuntimeError("this LocalKinesis was started already; make another one")
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run_loop, args=(loop,), name="kplpy-local", daemon=True)
        self._thread.start()
        self._loop = loop
        try:
            asyncio.run_coroutine_threadsafe(self._running.start(), loop).result()
        except BaseException:
            self._end()
            raise
        return self

    def stop(self) -> None:
        """Stop serving. The model and its ledger stay readable. Stopping twice is fine."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._running.stop(), self._loop).result()
            self._end()

    def _end(self) -> None:
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

    # --- where it is ---

    @property
    def endpoint_url(self) -> str:
        if not self._running.server.url:
            raise RuntimeError("this LocalKinesis is not started: use it in a with statement, or call start()")
        return self._running.server.url

    @property
    def region_name(self) -> str:
        return self.options.region_name

    @property
    def ca_bundle(self) -> str | None:
        """Path of the certificate authority for verify=, with https; None with http."""
        return self._running.server.ca_bundle

    def client(self, **arguments: Any) -> KinesisClient:
        """Return a boto3 Kinesis client for this endpoint, with made-up credentials; `arguments` go to boto3."""
        return make_client(self, **arguments)

    def session(self) -> boto3.Session:
        """Return a boto3 session with made-up credentials and this region. Its clients need endpoint_url."""
        return make_session(self.region_name)

    def producer(self, **config: Any) -> Producer:
        """Return a Producer for this endpoint; `config` are fields of Config.

        It needs no credentials, region or profile on this machine, and tells CloudWatch nothing unless `config` names a
        sink. Close it before this ends, as any producer: `with kinesis.producer() as producer`.
        """
        return make_producer(self, **config)

    # --- what is inside ---

    @property
    def model(self) -> Model:
        """The model itself. While the server runs, its thread owns it: go through call(), handle() or ledger()."""
        return self._running.model

    @property
    def faults(self) -> Faults:
        """What is to go wrong with coming requests (kplpy.local.model.faults)."""
        return self._running.model.faults

    def ledger(self, stream: str | None = None) -> list[LedgerRecord]:
        """Every accepted record that is still held, of one stream or all, in the order of acceptance."""
        return self.call(lambda model: list(model.ledger(stream)))

    def handle(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One API call without HTTP, at the time that it is; raises kplpy.local.ServiceError."""
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
        # Connections in the midst of a TLS handshake are known only to their tasks.
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(turns())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
