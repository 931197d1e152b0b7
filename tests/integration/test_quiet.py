"""An idle producer wakes no thread, and a producer's whole life prints nothing to stderr."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter

import pytest

from kplpy import Producer
from kplpy.concurrency import WakeSignal
from kplpy.core import policy
from kplpy.metrics.sample import Window
from kplpy.runtime import threads
from tests.integration.reading import wait_until
from tests.integration.test_exit import ends
from tests.local_stream import contents, local
from tests.stub_service import PATIENCE, install


class Windows(list[Window]):
    """A metrics sink that keeps all windows."""

    emit = list.append

    def total(self, name: str) -> float:
        return sum(each.total for window in list(self) if (each := window.find(name)))


@pytest.mark.parametrize("metrics", [None, Windows()], ids=["without metrics", "with metrics"])
def test_no_thread_means_to_wake_up_without_work(monkeypatch: pytest.MonkeyPatch, metrics: Windows | None) -> None:
    """After puts to 50 streams, each remaining thread waits for its wake signal without a timeout.

    Before that, the scheduler may make the visits that it planned while records were in flight: for their expiry, a
    lost request, or the next control-plane call.
    """
    install(monkeypatch, shards=2)
    monkeypatch.setattr(policy, "STRATEGY_POLL", 1.0)
    monkeypatch.setattr(threads, "IDLE_SENDER", 0.01)
    sleeping: dict[int, float] = {}  # thread → the timeout of its current wait
    wait = WakeSignal.wait

    def noted(self: WakeSignal, timeout: float) -> bool:
        sleeping[threading.get_ident()] = timeout
        try:
            return wait(self, timeout)
        finally:
            sleeping.pop(threading.get_ident(), None)

    monkeypatch.setattr(WakeSignal, "wait", noted)
    wait_for_event = threading.Event.wait

    def noted_event(self: threading.Event, timeout: float | None = None) -> bool:
        sleeping[threading.get_ident()] = threads.NEVER if timeout is None else timeout
        try:
            return wait_for_event(self, timeout)
        finally:
            sleeping.pop(threading.get_ident(), None)

    monkeypatch.setattr(threading.Event, "wait", noted_event)
    before = set(threading.enumerate())
    with Producer(
        record_max_buffered_time_ms=1,
        record_ttl_ms=None,
        metrics_level="none" if metrics is None else "summary",
        metrics_sink=metrics,
        metrics_upload_delay_ms=1000,
    ) as producer:
        futures = [producer.put_record(f"stream-{n % 50}", b"x", str(n)) for n in range(500)]
        assert all(future.exception(PATIENCE) is None for future in futures)

        def asleep() -> bool:
            own = {each for each in set(threading.enumerate()) - before if each.name.startswith("kplpy")}
            own = {each for each in own if each.name != "kplpy-metrics-sink"}  # it waits for a window without a timeout
            return len(own) >= 2 and all(sleeping.get(each.ident or 0) == threads.NEVER for each in own)

        wait_until(asleep, PATIENCE)
        assert producer.put_record("stream-0", b"x", "k").exception(PATIENCE) is None  # the threads wake for work
        if metrics is not None:  # the metrics thread rests only once all is reported
            wait_until(lambda: metrics.total("UserRecordsPut") == 501, PATIENCE)
        wait_until(asleep, PATIENCE)


LIFE = """
import sys
from kplpy import Producer
from kplpy.core import policy
from kplpy.metrics.sample import Window
producer = Producer(endpoint_url=sys.argv[1], region_name="us-east-1")
future = producer.put_record("orders", b"first", "k")
producer.flush()
assert future.result().shard_id
producer.put_records("orders", [(b"more", str(n)) for n in range(100)])
"""


@pytest.mark.parametrize("end", ["producer.close()", "", "sys.exit()"])
def test_a_whole_life_says_nothing(end: str) -> None:
    with local() as kinesis:
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", *others_warnings(), "-c", LIFE + end, kinesis.endpoint_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert ends(process) == (0, "", "")
        assert contents(kinesis) == Counter({b"first": 1, b"more": 100})


def test_nothing_is_written_to_disk() -> None:
    """No file is opened for writing, created, moved or removed, as Lambda and read-only file systems require."""
    audit = """
import os, sys
def audit(event, given):
    if event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        if given[0] != os.devnull: print("opened", given, file=sys.stderr)
    if event in ("os.mkdir", "os.rename", "os.remove", "os.truncate", "os.link", "os.symlink", "tempfile.mkstemp"):
        print(event, given, file=sys.stderr)
sys.dont_write_bytecode = True
sys.addaudithook(audit)
"""
    with local() as kinesis:
        process = subprocess.Popen(
            [sys.executable, "-c", audit + LIFE + "producer.close()", kinesis.endpoint_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert ends(process) == (0, "", "")
        assert contents(kinesis) == Counter({b"first": 1, b"more": 100})


def others_warnings() -> list[str]:
    """Return options that ignore other libraries' warnings.

    protobuf 4.25 warns at its import on Python 3.12 and later. boto3 warns about old Pythons.
    """
    return ["-W", "ignore:Type google", "-W", "ignore:Boto3 will no longer support Python"]
