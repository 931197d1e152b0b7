"""close(): from any thread, from callbacks, during another close, and at the interpreter's exit."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kplpy import KplpyError, Producer, ProducerClosedError, RecordFuture
from kplpy.core.exchange import RequestError
from kplpy.metrics.sample import Window
from kplpy.process import interpreter_exit
from kplpy.runtime import threads
from tests.inside import each_staging_interrupted, is_stopping, raise_in_flush
from tests.integration.reading import wait_until
from tests.integration.test_exit import ends
from tests.local_stream import contents, local
from tests.stub_service import PATIENCE, install

COUNT = 50


def put(producer: Producer) -> list[RecordFuture]:
    return [producer.put_record("orders", b"%d" % n, str(n)) for n in range(COUNT)]


def ended(producer: Producer) -> bool:
    return is_stopping(producer) and producer.outstanding_records == 0


def within_patience(do: Callable[[], object]) -> None:
    """Call it on a separate thread, so that a deadlock fails the test."""
    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_many_threads_close_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call returns when all records are delivered."""
    service = install(monkeypatch)
    producer = Producer(record_max_buffered_time_ms=60_000)
    futures = put(producer)
    service.hold()
    delivered: list[bool] = []

    def close() -> None:
        producer.close()
        delivered.append(all(future.done() for future in futures))

    threads = [threading.Thread(target=close) for _ in range(8)]
    for thread in threads:
        thread.start()
    service.await_waiting(1)
    assert not delivered
    service.let_go()
    for thread in threads:
        thread.join(PATIENCE)
    assert delivered == [True] * 8
    producer.close()  # closing again is allowed
    assert len(service.sent()) == COUNT


@pytest.mark.parametrize("meanwhile", ["no other thread closes", "another thread closes"])
def test_a_callback_closes(monkeypatch: pytest.MonkeyPatch, meanwhile: str) -> None:
    service = install(monkeypatch)
    service.hold()
    producer = Producer()
    returned = threading.Event()

    def close(_: object) -> None:
        producer.close()
        returned.set()

    futures = put(producer)
    for future in futures[::10]:
        future.add_done_callback(close)
    service.await_waiting(1)
    if meanwhile == "another thread closes":
        threading.Timer(0.05, service.let_go).start()
        within_patience(producer.close)
    service.let_go()
    assert returned.wait(PATIENCE)
    wait_until(lambda: ended(producer), PATIENCE)
    assert all(future.exception(0) is None for future in futures)
    within_patience(producer.close)
    with pytest.raises(ProducerClosedError):
        producer.put_record("orders", b"late", "k")


def test_on_failure_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    service = install(monkeypatch)
    service.hold()
    reported: list[object] = []

    def close(error: object) -> None:
        reported.append(error)
        producer.close()

    producer = Producer(on_failure=close, record_ttl_ms=300, record_max_buffered_time_ms=1)
    service.refuse["orders"] = RequestError("InternalFailure", "not today", maybe_written=False)
    put(producer)
    service.let_go()
    wait_until(lambda: ended(producer), PATIENCE)
    assert len(reported) == COUNT


def test_close_distinguishes_lost_records_from_callbacks_that_still_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = install(monkeypatch)
    go_on, called = threading.Event(), threading.Event()

    def block(_: object) -> None:
        called.set()
        go_on.wait(PATIENCE)

    def blocked_producer() -> Producer:
        called.clear()
        producer = Producer(record_max_buffered_time_ms=0, close_timeout_ms=300)
        futures = producer.put_records("orders", [(b"x", str(n)) for n in range(COUNT)])
        futures[0].add_done_callback(block)
        assert called.wait(PATIENCE)
        wait_until(lambda: all(future.done() for future in futures), PATIENCE)
        return producer

    try:
        producer = blocked_producer()
        within_patience(producer.close)
        (line,) = [each.kplpy for each in caplog.records]  # type: ignore[attr-defined]
        assert line["event"] == "closed_with_callbacks"
        assert 0 < line["records"] <= COUNT
        assert line["seconds"] >= 0.3

        caplog.clear()
        service.hold("stuck")
        producer = blocked_producer()
        lost = [producer.put_record("stuck", b"x", str(n)) for n in range(7)]
        within_patience(producer.close)
        events = {each.kplpy["event"]: each.kplpy for each in caplog.records}  # type: ignore[attr-defined]
        assert events["closed_with_undelivered"]["records"] == 7
        assert "closed_with_callbacks" not in events
        assert all(future.exception(0) is not None for future in lost)
    finally:
        go_on.set()


def test_an_interrupted_close_says_how_long_it_waited(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = install(monkeypatch)
    service.hold()
    producer = Producer(close_timeout_ms=60_000)
    put(producer)

    raise_in_flush(monkeypatch, producer, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        producer.close()
    (line,) = [each for each in caplog.records if each.kplpy["event"] == "closed_with_undelivered"]  # type: ignore[attr-defined]
    assert line.kplpy["records"] == COUNT  # type: ignore[attr-defined]
    assert line.kplpy["seconds"] < 30  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread")
def test_a_signal_handler_closes_during_a_close_and_during_a_put(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupted close goes on. An interrupted put that holds a lock leaves the close to another thread."""
    service = install(monkeypatch)
    service.hold()
    # A small buffer gives no credit, so each put takes the buffer's lock.
    producer = Producer(record_max_buffered_time_ms=60_000, max_buffered_records=1000)
    handled: list[bool] = []

    def handler(*_: object) -> None:
        with pytest.raises(KplpyError):  # flush would wait for the thread that the handler interrupts
            producer.flush(timeout=0)
        producer.close()
        handled.append(ended(producer))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        futures = put(producer)

        def interrupt_once() -> None:
            if not handled:
                signal.raise_signal(signal.SIGUSR1)

        with each_staging_interrupted(interrupt_once):
            futures.append(producer.put_record("orders", b"%d" % COUNT, "k"))
        assert handled == [False]
        threading.Timer(0.05, service.let_go).start()
        wait_until(lambda: ended(producer), PATIENCE)
        assert all(future.exception(0) is None for future in futures)

        service = install(monkeypatch)
        service.hold()
        producer = Producer(record_max_buffered_time_ms=60_000)
        futures = put(producer)

        main = threading.main_thread().ident
        assert main is not None

        def interrupt() -> None:
            service.await_waiting(1)
            while len(handled) == 1:  # a signal that comes just before the wait begins does not interrupt it
                signal.pthread_kill(main, signal.SIGUSR1)
                time.sleep(0.05)
            service.let_go()

        threading.Thread(target=interrupt).start()
        producer.close()
        assert len(handled) >= 2
        assert not any(handled)
        assert ended(producer)
        assert all(future.exception(0) is None for future in futures)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_event_loops_and_threads_close_together(monkeypatch: pytest.MonkeyPatch) -> None:
    service = install(monkeypatch)
    producer = Producer(record_max_buffered_time_ms=60_000)
    put(producer)

    async def close() -> None:
        await asyncio.gather(*(producer.aclose() for _ in range(3)))
        assert ended(producer)

    others = [threading.Thread(target=asyncio.run, args=(close(),)) for _ in range(2)]
    for each in others:
        each.start()
    within_patience(producer.close)
    for each in others:
        each.join(PATIENCE)
        assert not each.is_alive()
    assert len(service.sent()) == COUNT


def test_put_records_where_no_thread_may_run_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the interpreter's exit: each call delivers all its records in one request before it returns."""
    service = install(monkeypatch)
    monkeypatch.setattr(interpreter_exit, "keep", lambda _: False)
    producer = Producer()
    futures = producer.put_records("orders", [(b"%d" % number, str(number)) for number in range(COUNT)])
    assert all(future.done() for future in futures)
    service.await_requests(1)
    assert service.requests == 1
    assert len(service.sent()) == COUNT


def threads_of(prefix: str = "kplpy-") -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith(prefix)}


class Nowhere:
    def emit(self, window: Window) -> None:
        pass


def test_after_close_no_thread_of_the_producer_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = threads_of()
    service = install(monkeypatch)
    service.hold()
    # A short path, because a Unix socket's may have about 80 bytes only.
    monkeypatch.chdir(tmp_path)
    producer = Producer(record_max_buffered_time_ms=1, metrics_sink=Nowhere(), stats_path="stats")
    futures = [producer.put_record(f"stream-{number}", b"x", "k") for number in range(6)]
    service.await_waiting(6)
    service.let_go()
    assert all(future.exception(PATIENCE) is None for future in futures)
    names = Counter(each.name for each in threads_of() - before)
    assert names["kplpy-sender"] > 1, "the test needs idle senders"
    assert {"kplpy-scheduler", "kplpy-metrics", "kplpy-stats"} <= names.keys()
    producer.close()
    assert threads_of() - before == set()


def test_after_a_close_in_a_callback_another_one_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threads_of()
    install(monkeypatch)
    producer = Producer(record_max_buffered_time_ms=1)
    called = threading.Event()

    def close(_: object) -> None:
        producer.close()
        called.set()

    producer.put_record("orders", b"x", "k").add_done_callback(close)
    assert called.wait(PATIENCE)
    within_patience(producer.close)
    assert threads_of() - before == set()


def test_close_does_not_wait_for_a_request_without_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "JOIN_TIMEOUT", 10 * PATIENCE)
    before = threads_of("kplpy-sender")
    service = install(monkeypatch)
    service.hold("stuck")
    producer = Producer(record_max_buffered_time_ms=1, close_timeout_ms=100)
    future = producer.put_record("stuck", b"x", "k")
    service.await_waiting(1)
    within_patience(producer.close)
    assert "0.1 s" in str(future.exception(0))
    service.let_go()
    wait_until(lambda: not threads_of("kplpy-sender") - before, PATIENCE)


IN_A_SUBINTERPRETER = """
import importlib, sys
try:  # Python 3.13
    interpreters = importlib.import_module("_interpreters")
    inner = interpreters.create("legacy")
except ImportError:
    interpreters = importlib.import_module("_xxsubinterpreters")
    inner = interpreters.create(isolated=False)
run = getattr(interpreters, "exec", None) or interpreters.run_string
print(run(inner, f'''
import sys; sys.path[:] = {sys.path!r}
from kplpy import Producer
producer = Producer(endpoint_url={sys.argv[1]!r}, region_name="us-east-1")
for number in range(5):
    producer.put_record("orders", b"%d" % number, str(number)).result(30)
producer.put_record("orders", b"left to the end", "k")
{sys.argv[2]}
'''), flush=True)
interpreters.destroy(inner)
print("destroyed", flush=True)
"""


@pytest.mark.parametrize("last", ["producer.close()", ""])
def test_a_subinterpreter_ends(last: str) -> None:
    """mod_wsgi uses sub-interpreters. CPython ends the process with "not the last thread" if a thread is left."""
    if not last and sys.version_info < (3, 12):
        pytest.skip("this Python refuses to end an interpreter with threads before its exit functions have run")
    with local(shards=2) as kinesis:
        process = subprocess.Popen(
            [sys.executable, "-c", IN_A_SUBINTERPRETER, kinesis.endpoint_url, last],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        code, out, errors = ends(process)
        assert (code, out) == (0, "None\ndestroyed\n"), errors
        assert contents(kinesis) == Counter([b"left to the end", *(b"%d" % number for number in range(5))])


IN_AN_ISOLATED_INTERPRETER = """
import importlib, sys
try:  # Python 3.13
    interpreters = importlib.import_module("_interpreters")
    inner = interpreters.create("isolated")
except ImportError:
    interpreters = importlib.import_module("_xxsubinterpreters")
    inner = interpreters.create(isolated=True)
run = getattr(interpreters, "exec", None) or interpreters.run_string
print(run(inner, f'''
import sys; sys.path[:] = {sys.path!r}
import kplpy
from kplpy.reading import StreamReader
for make in (lambda: kplpy.Producer(region_name="us-east-1"), lambda: StreamReader("orders")):
    try:
        make()
    except kplpy.KplpyError as error:
        print(error, flush=True)
'''), flush=True)
interpreters.destroy(inner)
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sub-interpreters share the GIL, and have daemon threads")
def test_a_subinterpreter_with_a_gil_of_its_own_is_refused() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", IN_AN_ISOLATED_INTERPRETER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KPLPY_ACCELERATOR": "auto"},  # the extension is for one interpreter
    )
    code, out, errors = ends(process)
    assert code == 0, errors
    refused = "kplpy cannot run in this sub-interpreter, because its threads are daemons: "
    assert [line[: len(refused)] for line in out.splitlines()] == [refused, refused, "None"]


HEAD = """
import atexit, sys, threading
latest = []
atexit.register(lambda: [each() for each in latest])  # runs after kplpy's own
from kplpy import Producer
producer = Producer(endpoint_url=sys.argv[1], region_name="us-east-1", record_max_buffered_time_ms=60_000)
def put(): return producer.put_record("orders", b"x", "k")
def close(*_): producer.close()
def after_main(): threading.main_thread().join(); close()
"""
AT_EXIT = {
    "a callback of what the exit delivers": "put().add_done_callback(close)",
    "a callback of a put in atexit": "atexit.register(lambda: put().add_done_callback(close))",
    "a callback of a put after kplpy's own exit": "latest.append(lambda: put().add_done_callback(close))",
    "an atexit function, twice": "put(); atexit.register(close); atexit.register(close)",
    "a daemon thread": "put(); threading.Thread(target=after_main, daemon=True).start()",
    "a thread that goes on": "put(); threading.Thread(target=after_main).start()",
}


@pytest.mark.parametrize("where", AT_EXIT)
def test_closing_at_the_interpreters_end(where: str) -> None:
    with local() as kinesis:
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD + AT_EXIT[where], kinesis.endpoint_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert ends(process) == (0, "", "")
        assert contents(kinesis) == Counter([b"x"])
