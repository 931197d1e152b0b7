"""The local Kinesis as a process of its own: serve() is that process, LocalKinesisProcess starts and ends one."""

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

from kplpy.local.clients import make_client, make_producer, make_session
from kplpy.local.server.inprocess import Running, StreamAtStart
from kplpy.local.server.options import Arguments, Options

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_kinesis import KinesisClient
    from typing_extensions import Unpack

    from kplpy.producer import Producer

READY = "ready: "

Ready = Callable[[str, "str | None", list[StreamAtStart]], object]


def serve(*, ready: Ready | None = None, **arguments: Unpack[Arguments]) -> None:
    """Serve until SIGINT or SIGTERM; for the main thread of a process.

    `ready` is called once the port answers: with the URL, the path of the certificate authority (None for http), and
    the streams there are (name, shards, wanted, restored, records). The other arguments are those of LocalKinesis, but
    port is 4567 unless given. ValueError for a bad argument, OSError when the port is taken or the data directory
    cannot be used.
    """
    arguments.setdefault("port", 4567)
    run(Options(**arguments), ready)


def run(options: Options, ready: Ready | None) -> None:
    """serve(), with its arguments checked already."""
    asyncio.run(_serve(options, ready))


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
    """A local Kinesis in a process of its own, so that it shares no interpreter with what it measures or tests.

        with LocalKinesisProcess(shards=4, stream="orders", limits=False) as kinesis: ...

    Arguments as those of LocalKinesis; a bad one raises ValueError. It is ended with SIGTERM at the end of `with`, and
    ends by itself when this process does, however that comes about.
    """

    def __init__(self, **arguments: Unpack[Arguments]) -> None:
        self.options = Options(**arguments)
        self._process: subprocess.Popen[str] | None = None
        self._url = ""
        self.ca_bundle: str | None = None

    @property
    def endpoint_url(self) -> str:
        """RuntimeError before start()."""
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
        """Start the process and wait until its port answers, for `timeout` seconds at the most.

        RuntimeError with what it printed when it ends or is not ready in time.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kplpy.local", "--options", self.options.to_json()],
            stdin=subprocess.PIPE,  # its end of file tells the process that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C at a terminal is for us, who may still need it then, and end it
        )
        try:
            line = _first_line(self._process, timeout)
        except BaseException:  # Ctrl-C meanwhile
            self.kill()
            raise
        if not line.startswith(READY):
            self._process.kill()
            _, errors = self._process.communicate()
            raise RuntimeError(f"the local Kinesis did not start: {(line + errors).strip() or 'not ready in time'}")
        told = json.loads(line[len(READY) :])
        self._url, self.ca_bundle = told["url"], told["ca_bundle"]
        threading.Thread(target=_drain, args=(self._process.stderr,), name="kplpy-local-log", daemon=True).start()
        return self

    def stop(self, timeout: float = 10.0) -> None:
        """End it with SIGTERM; SIGKILL after `timeout` seconds. Stopping twice is fine."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
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

    def __enter__(self) -> LocalKinesisProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _first_line(process: subprocess.Popen[str], timeout: float) -> str:
    """The first line the process prints; empty when it ends or `timeout` seconds pass before."""
    assert process.stdout is not None
    overdue = threading.Timer(timeout, process.kill)
    overdue.start()
    try:
        return process.stdout.readline()
    finally:
        overdue.cancel()


def _drain(errors: IO[str] | None) -> None:
    """Pass on what the process has to say, so that its pipe never fills."""
    if errors is not None:
        with errors:
            for line in errors:
                sys.stderr.write(line)
