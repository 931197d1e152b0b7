"""The tests' only way to the private state of kplpy's objects, and of the libraries' that kplpy uses.

Each function hides one private name, so that a change of it changes this file alone. tests/unit/project/test_inside.py
keeps every other file away from such names. Nothing of kplpy is imported until a function needs it: subprocesses and
the simulation import this module, too.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from kplpy import Producer, RecordFuture
    from kplpy.agent.tailing import Checkpoints
    from kplpy.cli.demo.command import Run
    from kplpy.core.batching.limiter import Limiter
    from kplpy.core.batching.request import Request
    from kplpy.core.batching.shard_queue import ShardQueue
    from kplpy.core.gauges import Gauges
    from kplpy.core.outcome import Delivered, Failed
    from kplpy.core.pipeline import Pipeline
    from kplpy.core.routing.router import Router
    from kplpy.futures.asyncio_bridge import Patience
    from kplpy.integrations.logging import KinesisHandler
    from kplpy.local.model.queue import Queue as LocalQueue
    from kplpy.rate_limited_log import RateLimitedLog
    from kplpy.runtime.buffer import Buffer
    from kplpy.runtime.engine import Engine
    from kplpy.runtime.spooling import Spooling
    from kplpy.runtime.stream import Results, Stream
    from kplpy.runtime.stream_spool import StreamSpool
    from kplpy.runtime.threads import WorkerThreads

# --- a producer ---


def engine_of(producer: Producer) -> Engine:
    """Return the engine that the producer puts through."""
    return producer._engine


def buffer_of(producer: Producer) -> Buffer:
    """Return the buffer that the producer's records are charged to."""
    return producer._parts.buffer


def use_clock(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float]) -> None:
    """Have kplpy read this clock instead of time.monotonic()."""
    import kplpy.validation

    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(kplpy.validation, "_clock", clock)
    if kplpy.__accelerated__:
        from kplpy.accelerator import native

        monkeypatch.setattr(native.clock, "read", clock)


def remembered_batches(spool: StreamSpool) -> int:
    """Return of how many batches the spool remembers when the pipeline got them."""
    return len(spool._accepted_at)


def spooling_of(producer: Producer) -> Spooling:
    """Return the producer's spool."""
    assert producer._spooling is not None
    return producer._spooling


@contextmanager
def lock_guard_held() -> Iterator[None]:
    """Hold the guard of the file locks, as a thread does that takes one."""
    from kplpy.process import file_lock

    with file_lock._guard:
        yield


def watch_outcomes(
    producer: Producer, before: Callable[[bytes, bool, bool], int], after: Callable[[Sequence[int]], object]
) -> None:
    """Call `before` (data, failed, possible_duplicate) with each outcome, and `after` once the outcomes are set.

    `after` gets what `before` returned for the records. Records that stay in the spool have no outcome.
    """
    from kplpy.core.outcome import Failed, Reason

    delivery = engine_of(producer)._delivery
    resolve = delivery.resolve

    def watched(stream: Stream, results: Results) -> list[RecordFuture]:
        seen = [
            before(item.data, isinstance(each.outcome, Failed), item.maybe_written)
            for each in results.completions
            if not (isinstance(each.outcome, Failed) and each.outcome.reason is Reason.SPOOLED)
            for item in each.items
        ]
        callbacks = resolve(stream, results)
        if seen:
            after(seen)
        return callbacks

    delivery.resolve = watched  # type: ignore[method-assign]


def streams_of(producer: Producer) -> Mapping[str, Stream]:
    """Return the producer's streams, by the name or ARN that they were first put by."""
    return engine_of(producer).streams


def the_stream(producer: Producer) -> Stream:
    """Return the only stream that the producer has put to."""
    (stream,) = streams_of(producer).values()
    return stream


def waiters_of(producer: Producer) -> int:
    """Return how many puts wait for buffer space."""
    return len(buffer_of(producer)._waiters)


def is_stopping(producer: Producer) -> bool:
    """Return True once the end of a close has begun to stop the threads."""
    return engine_of(producer).stopping


def is_idle(producer: Producer) -> bool:
    """Return True if all counts are at zero and no thread has anything to do."""
    engine = engine_of(producer)
    return (
        producer.outstanding_records == producer.outstanding_bytes == 0
        and not engine._delivery.busy
        and not engine.scheduler.sender._inflight
        and all(_is_idle(stream) for stream in streams_of(producer).values())
    )


def _is_idle(stream: Stream) -> bool:
    return (
        stream.held_records == stream.held_bytes == 0
        and not stream.senders
        and stream.broken is None
        and stream.pipeline.outstanding == 0
        and not any(stream.pipeline.leftovers().values())
    )


def gauges_of(producer: Producer) -> Gauges:
    """Return what the metrics' reporter samples."""
    return engine_of(producer).status.gauges()


def replace_reported_gauges(monkeypatch: pytest.MonkeyPatch, producer: Producer, gauges: Callable[[], Gauges]) -> None:
    """Have the metrics' reporter sample `gauges`."""
    reporter = producer._parts.reporter
    assert reporter is not None
    monkeypatch.setattr(reporter, "_gauges", gauges)


def top_view_of(producer: Producer) -> Mapping[str, Any]:
    """Return what `kplpy top` is shown."""
    return producer._snapshot()


def has_client(producer: Producer) -> bool:
    """Return True once the producer has made its botocore client."""
    return producer._parts.transport.streams.was_used


def raise_in_flush(monkeypatch: pytest.MonkeyPatch, producer: Producer, error: BaseException) -> None:
    """Raise the error wherever the producer waits for a flush: its close does so, too."""

    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(producer._shutdown, "flush", raises)


def locks_of(producer: Producer, stream: str, future: RecordFuture) -> list[Any]:
    """Return every lock of kplpy's that another thread may hold at a fork."""
    from kplpy.aws import transport
    from kplpy.futures import record_future
    from kplpy.process import fork
    from kplpy.rate_limited_log import RateLimitedLog

    engine = engine_of(producer)
    return [
        transport._encoding,
        record_future.LOCK,
        producer._shutdown._lock,
        buffer_of(producer).lock,
        streams_of(producer)[stream].lock,
        make_condition(future),
        engine._threads.lock,
        engine.directory.lock,
        engine._threads.errors.lock,
        *(each.lock for each in vars(engine._delivery).values() if isinstance(each, RateLimitedLog)),
        fork._renewing,
    ]


# --- a producer's threads ---


def threads_of(producer: Producer) -> WorkerThreads:
    """Return the scheduler and the senders of the producer."""
    return engine_of(producer)._threads


def scheduler_of(producer: Producer) -> threading.Thread:
    """Return the thread of the producer's scheduler."""
    scheduler = threads_of(producer)._scheduler
    assert scheduler is not None
    return scheduler


def callback_thread_of(threads: WorkerThreads) -> threading.Thread:
    """Return the thread that runs callbacks for the scheduler."""
    caller = threads._callback_thread
    assert caller is not None
    return caller


# --- steps within a producer that tests break or interrupt ---


def answer_step() -> tuple[type, str]:
    """Return the class and the name of the method that gives futures their outcomes."""
    from kplpy.runtime.delivery import Delivery

    return Delivery, "_resolve_completions"


@contextmanager
def each_staging_interrupted(interrupt: Callable[[], object]) -> Iterator[None]:
    """Call `interrupt` each time that a record was staged with the buffer's lock held, before that is released."""
    from kplpy.runtime.buffer import Buffer

    stage = Buffer._stage

    def interrupted(buffer: Buffer, *args: Any) -> None:
        stage(buffer, *args)
        interrupt()

    Buffer._stage = interrupted  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Buffer._stage = stage  # type: ignore[method-assign]


def call_after_recovery(monkeypatch: pytest.MonkeyPatch, then: Callable[[Stream], object]) -> None:
    """Call `then` with the stream each time that a scheduler has looked whether it is to recover it."""
    from kplpy.runtime.scheduler import Scheduler

    recover = Scheduler._recover

    def recover_and_call(scheduler: Scheduler, stream: Stream) -> None:
        recover(scheduler, stream)
        then(stream)

    monkeypatch.setattr(Scheduler, "_recover", recover_and_call)


# --- a buffer ---


def newcomers_of(buffer: Buffer) -> Collection[Stream]:
    """Return the streams whose first record was refused, and which have first call on space."""
    return buffer._newcomers


# --- a pipeline ---


def router_of(pipeline: Pipeline) -> Router:
    """Return what routes the pipeline's records to shards."""
    return pipeline._router


def queues_of(pipeline: Pipeline) -> Sequence[ShardQueue]:
    """Return the queues of the shards that the pipeline knows."""
    return router_of(pipeline).queues


def bytes_level(limiter: Limiter) -> float:
    """Return the tokens of a shard's byte limit."""
    return limiter._bytes.level


def bytes_full(limiter: Limiter) -> float:
    """Return the most tokens of a shard's byte limit."""
    return limiter._bytes.full


def in_flight_of(pipeline: Pipeline) -> Collection[Request]:
    """Return the requests that were handed out and are not answered."""
    return pipeline._in_flight.keys()


def seed_sticky(pipeline: Pipeline, random: Random) -> None:
    """Have the shards of records without partition key drawn from `random`."""
    router_of(pipeline)._sticky._random = random.random


def allow_describing(pipeline: Pipeline) -> None:
    """Let the stream be described again, however short a time ago it was."""
    router_of(pipeline).placement._not_before = 0.0


# --- a future ---


def outcome_of(future: RecordFuture) -> Delivered | Failed | None:
    """Return the future's outcome as the core gave it."""
    return future._outcome


def make_condition(future: RecordFuture) -> threading.Condition:
    """Return the future's condition, made on first use."""
    return future._condition


def is_waited_for(future: RecordFuture) -> bool:
    """Return True if a function of concurrent.futures waits for the future."""
    waits = future._waits
    return waits is not None and bool(waits.waiters)


def threads_blocked_on(future: RecordFuture) -> int:
    """Return how many threads are blocked in the future's result() or exception()."""
    threads = getattr(future._waits, "threads", ())  # a task's Await has none
    return len(threads)


def callbacks_of(future: RecordFuture) -> int:
    """Return how many callbacks the future has, awaits among them."""
    waits = future._waits
    return 0 if waits is None else len(waits.callbacks)


TaskInPython: Any = asyncio.tasks._PyTask  # type: ignore[attr-defined]
"""asyncio's own Task without C, which other implementations of Python have."""


def timer_of(patience: Patience) -> asyncio.TimerHandle | None:
    """Return the timer of those who wait in an event loop."""
    return patience._timer


def waits_of(patience: Patience) -> Collection[asyncio.Future[None]]:
    """Return those who wait in an event loop for the same time."""
    return patience._deadlines.keys()


# --- the edge to AWS ---


def clock_offsets() -> MutableMapping[str, float]:
    """Return, by endpoint, the seconds that its clock was found to be ahead."""
    from kplpy.aws import clock

    return clock._offsets


def forget_clock_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no endpoint's clock be known, for one test."""
    from kplpy.aws import clock

    monkeypatch.setattr(clock, "_offsets", {})


def clock_offset_in(http_response: Any, parsed: dict[str, Any]) -> float | None:
    """Return the offset of the service's clock that a refused signature shows."""
    from kplpy.aws import clock

    return clock._offset_in_refusal(http_response, parsed)


def endpoint_url_key() -> str:
    """Return the key of the response's metadata that holds the request's URL."""
    from kplpy.aws import causes

    return causes._URL


def parse_response(response: dict[str, Any], parsed: dict[str, Any]) -> None:
    """Parse a response of PutRecords as the client's hook does: into `parsed`."""
    from kplpy.aws import put_calls

    put_calls._parse_response(("Records",), response, parsed)


def use_put_path(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Make all PutRecords requests of this process go one way.

    path: "client", through botocore's client, or "direct", past it from a stream's first request on.
    """
    from botocore.awsrequest import AWSResponse

    from kplpy.aws import put_calls
    from kplpy.aws.interceptors import Interceptors

    make_in_client: Any = put_calls.PutCalls._make_in_client

    def make_directly(self: Any, place: Any) -> object:
        call = put_calls._making.call
        if call.kind is None and call.to_prove is None:
            return make_in_client(self, place)
        no_headers: Any = {}
        call.response = AWSResponse("", 200, no_headers, None)
        call.response._content = b"{}"
        make_in_client(self, place)  # the client makes the request, and takes this response for it
        call.to_prove = None
        return self.make(call, place)

    if path == "client":
        monkeypatch.setattr(Interceptors, "any", lambda self: True)
    else:
        assert path == "direct"
        monkeypatch.setattr(put_calls.PutCalls, "_make_in_client", make_directly)


def count_as_known(monkeypatch: pytest.MonkeyPatch, handler: object) -> None:
    """Have PutRecords requests go past botocore's client in spite of this handler."""
    from kplpy.aws import interceptors

    is_known = interceptors._is_known
    monkeypatch.setattr(interceptors, "_is_known", lambda each: each is handler or is_known(each))


def own_handlers(client: Any) -> set[tuple[str, str]]:
    """Return kplpy's handlers for the events of PutRecords: the event, and the function's name."""
    from kplpy.aws import interceptors
    from kplpy.aws.kinesis.transport import KinesisTransport

    operation, events = KinesisTransport.operation, interceptors._EVENTS
    found = ((event, each) for event in events for each in interceptors._handlers(client, operation, event))
    return {(event, each.__name__) for event, each in found if each.__module__.startswith("kplpy.")}


def watch_direct_requests(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list that gets the body of each request sent past botocore's client."""
    from kplpy.aws.put_calls import PutCalls

    bodies: list[bytes] = []
    send: Any = PutCalls._send

    def noted(self: Any, prepared: Any, call: Any) -> Any:
        bodies.append(call.body)
        return send(self, prepared, call)

    monkeypatch.setattr(PutCalls, "_send", noted)
    return bodies


def answer_instead_of_sending(monkeypatch: pytest.MonkeyPatch, transport: Any, respond: Callable[[Any], Any]) -> None:
    """Have `respond` return the responses to the requests of all clients that the transport makes, and send nothing."""
    connected = transport._connected

    def replaced() -> Any:
        calls = connected()
        calls.client._endpoint.http_session.send = respond
        return calls

    monkeypatch.setattr(transport, "_connected", replaced)


def client_of(transport: Any) -> Any:
    """Return the transport's botocore client. It is made if there is none."""
    return transport._connected().client


# --- the rest of kplpy ---


def be_forked_child(monkeypatch: pytest.MonkeyPatch, of: RateLimitedLog) -> None:
    """Let the log find itself in a forked child of the process that made it."""
    monkeypatch.setattr(of, "_page", b"\0")


def fork_without_wiping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kplpy find a kernel that does not wipe pages at a fork."""
    from kplpy.process import fork

    monkeypatch.setattr(fork, "_page", bytearray(b"\1"))
    monkeypatch.setattr(fork, "_new_page", lambda: bytearray(b"\1"))


def producer_of(handler: KinesisHandler) -> Producer:
    """Return the producer that the logging handler puts to."""
    return handler._producer


def drops_of(handler: KinesisHandler) -> RateLimitedLog:
    """Return the logging handler's count of dropped log records."""
    return handler._drops


def put_intruder(run: Run, data: bytes) -> None:
    """Put a record past kplpy on the stream of a run of the demo."""
    run._kinesis.client().put_record(StreamName="demo", Data=data, PartitionKey="x")


# --- other libraries ---


def core_session_of(session: Any) -> Any:
    """Return the botocore session within boto3's."""
    return session._session


def set_credentials(core_session: Any, credentials: Any) -> None:
    """Let a botocore session have these credentials, of any kind."""
    core_session._credentials = credentials


def set_refresh(credentials: Any, refresh: Callable[[], dict[str, str]]) -> None:
    """Let botocore's refreshable credentials come from `refresh` when next they are asked for."""
    credentials._refresh_using = refresh


def refresh_lock_of(credentials: Any) -> Any:
    """Return the lock that botocore's refreshable credentials are refreshed under."""
    return credentials._refresh_lock


def expire_credentials(monkeypatch: pytest.MonkeyPatch, session: Any) -> None:
    """Let refreshable credentials of a session end now."""
    from datetime import datetime, timezone

    monkeypatch.setattr(session.get_credentials(), "_expiry_time", datetime.now(timezone.utc))


def signing_credentials_of(client: Any) -> Any:
    """Return the credentials that a botocore client signs with."""
    return client._request_signer._credentials


def keeps_service_files(client: Any) -> bool:
    """Return True if the botocore client's loader has kept what it read."""
    return bool(client._loader._cache)


@contextmanager
def logging_handlers_kept() -> Iterator[None]:
    """Restore the list of handlers that logging.config.dictConfig forgets: pytest's are among them."""
    import logging

    handlers = list(logging._handlerList)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        logging._handlerList[:] = handlers  # type: ignore[attr-defined]


def abandon(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from complaining of a task that never ends, when it is collected."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]


# --- serializers ---


def json_serializers() -> dict[str, Callable[[Any], bytes]]:
    """Return what serializers.json is with orjson, if it is installed, and without."""
    from kplpy import serializers

    found: dict[str, Callable[[Any], bytes]] = {"json": serializers._standard_json}
    with suppress(ImportError):
        found["orjson"] = serializers._fast_json()
    return found


def kill_checkpoints(checkpoints: Checkpoints) -> None:
    """Let go of an agent's checkpoint file as SIGKILL does: what is not committed is not written."""
    checkpoints._is_closed = True
    checkpoints._database.close()
    checkpoints._lock.release()


# --- local ---


def ignore_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the local Kinesis carry out requests with DryRun, as moto and kinesalite do."""
    from kplpy.local.model import model

    monkeypatch.setattr(model, "_refuse_dry_run", lambda params: None)


def held_entries(queue: LocalQueue) -> int:
    """Return how many entries a queue of the local Kinesis holds in its heaps."""
    return len(queue._ready) + len(queue._hidden) + len(queue._dead)
