"""The local Kinesis in a separate process: serve() runs in it, LocalKinesisProcess starts and ends it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from kplpy.local.clients import make_client, make_cloudwatch_client, make_firehose_client, make_producer, make_session
from kplpy.local.server.inprocess import Running, StreamAtStart
from kplpy.local.server.options import Arguments, Options

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_firehose import FirehoseClient
    from mypy_boto3_kinesis import KinesisClient
    from typing_extensions import Unpack

    from kplpy.producer import Producer

READY = "ready: "
"""What the process prints, followed by JSON, once its port accepts connections."""
KEPT_BYTES = 128 << 20
"""Freed memory that the process keeps for its next requests."""
MMAP_THRESHOLD = 32 << 20
"""Bytes from which glibc takes memory for one object from the kernel; mallopt takes no more."""

Ready = Callable[[str, "str | None", list[StreamAtStart]], object]


def serve(*, ready: Ready | None = None, **arguments: Unpack[Arguments]) -> None:
    """Serve a local Kinesis until SIGINT or SIGTERM.

    Call it on the main thread of a process.

    ready: called once the port accepts connections, with the URL, the path of the certificate authority (None for
        http), and the streams and delivery streams (name, is_delivery, shards, wanted, restored, records).
    The other arguments are those of LocalKinesis; the port is 4567 by default.

    Raises ValueError for a bad argument, OSError if the port is taken or the data directory cannot be used.
    """
    arguments.setdefault("port", 4567)
    run(Options(**arguments), ready)


def run(options: Options, ready: Ready | None) -> None:
    """Serve with options that are already checked; see serve()."""
    _keep_freed_memory()
    asyncio.run(_serve(options, ready))


def _keep_freed_memory() -> None:
    """Have glibc keep KEPT_BYTES of what requests free, and reuse what it took for large bodies.

    It would return this memory to the kernel at the end of each request, and take it again page by page. With 500
    records of 1 KB, this is a sixth of a request's time.
    """
    if sys.platform.startswith("linux"):
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # musl has none
            mallopt(-1, KEPT_BYTES)  # M_TRIM_THRESHOLD of <malloc.h>
            mallopt(-3, MMAP_THRESHOLD)  # M_MMAP_THRESHOLD


async def _serve(options: Options, ready: Ready | None) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(each, ended.set)
        except NotImplementedError:  # Windows: the handler runs between two steps of the loop
            signal.signal(each, lambda *_: loop.call_soon_threadsafe(ended.set))
    running = Running(options)
    try:
        await running.start()
        if ready is not None:
            ready(running.server.url, running.server.ca_bundle, running.streams)
        await ended.wait()
    finally:
        await running.stop()


class LocalKinesisProcess:
    """A local Kinesis in a separate process, so that it does not share an interpreter with the program under test.

        with LocalKinesisProcess(shards=4, stream="orders", limits=False) as kinesis: ...

    The arguments are those of LocalKinesis; a bad one raises ValueError. The process ends with SIGTERM at the end of
    `with`. It ends by itself when the process that started it ends, in whatever way.
    """

    def __init__(self, **arguments: Unpack[Arguments]) -> None:
        self.options = Options(**arguments)
        self._process: subprocess.Popen[str] | None = None
        self._url = ""
        self.ca_bundle: str | None = None

    @property
    def endpoint_url(self) -> str:
        """The server's URL; RuntimeError before start()."""
        if not self._url:
            raise RuntimeError("this LocalKinesisProcess is not started: use it in a with statement, or call start()")
        return self._url

    @property
    def region_name(self) -> str:
        return self.options.region_name

    @property
    def pid(self) -> int:
        """The process's id; RuntimeError before start()."""
        if self._process is None:
            raise RuntimeError("this LocalKinesisProcess is not started")
        return self._process.pid

    def start(self, timeout: float = 30.0) -> LocalKinesisProcess:
        """Start the process and wait until its port accepts connections, at most `timeout` seconds.

        Raises RuntimeError with the process's output if the process ends, or is not ready in time.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kplpy.local", "--options", self.options.to_json()],
            stdin=subprocess.PIPE,  # the process ends when it reaches the end of its input
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # So that Ctrl-C at a terminal interrupts only this process, which may still need the other one then.
            start_new_session=True,
        )
        try:
            line = _first_line(self._process, timeout)
        except BaseException:  # for example Ctrl-C
            self.kill()
            raise
        if not line.startswith(READY):
            self._process.kill()
            _, errors = self._process.communicate()
            raise RuntimeError(f"the local Kinesis did not start: {(line + errors).strip() or 'not ready in time'}")
        address = json.loads(line[len(READY) :])
        self._url, self.ca_bundle = address["url"], address["ca_bundle"]
        threading.Thread(target=_copy_errors, args=(self._process.stderr,), name="kplpy-local-log", daemon=True).start()
        return self

    def stop(self, timeout: float = 10.0) -> None:
        """End the process with SIGTERM, and with SIGKILL after `timeout` seconds.

        A second call does nothing.
        """
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End the process with SIGKILL, which has the effect of a crash."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        for each in (self._process.stdin, self._process.stdout):
            if each is not None:
                each.close()

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

    def __enter__(self) -> LocalKinesisProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _first_line(process: subprocess.Popen[str], timeout: float) -> str:
    """Return the first line that the process prints, or "" if it ends first. Kill it after `timeout` seconds."""
    assert process.stdout is not None
    timer = threading.Timer(timeout, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


def _copy_errors(errors: IO[str] | None) -> None:
    """Copy the process's standard error to this process's, so that the pipe never fills."""
    if errors is not None:
        with errors:
            for line in errors:
                sys.stderr.write(line)
