"""A process that is frozen, as by Lambda between invocations: what is put after the thaw is as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from kplpy.aws import transport
from kplpy.local import Fault, LocalKinesis
from tests.integration.reading import read_all
from tests.integration.test_exit import PATIENCE, ends
from tests.integration.way_there import WayThere
from tests.local_stream import local, producing

SCRIPT = """
import sys
from kplpy import Producer
from kplpy.aws import transport
from kplpy.integrations.aws_lambda import flush_after
transport.STALE = float(sys.argv[2])
producer = Producer(endpoint_url=sys.argv[1], region_name="us-east-1", record_ttl_ms=20_000, request_timeout_ms=30_000)

class Context:
    def get_remaining_time_in_millis(self):
        return 60_000

@flush_after(producer)
def handler(event, context):
    return [producer.put_record("orders", b"%s %d" % (event, n), f"key {n}") for n in range(20)]

for event in (b"before", b"after"):
    for future in handler(event, Context()):
        result = future.result(0)
        if result.possible_duplicate or len(result.attempts) > 1:
            print(result, file=sys.stderr)
    print(event.decode(), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
@pytest.mark.parametrize(
    ("happens", "stale"),
    # Only what is closed can be seen on the connection itself; the real bound of 30 s is too long for a test.
    [(WayThere.close_all, 30.0), (WayThere.reset_all, 30.0), (WayThere.forget_all, 0.1)],
    ids=["closed", "reset", "forgotten"],
)
def test_connections_that_went_bad_while_the_process_was_stopped(
    happens: Callable[[WayThere], None], stale: float
) -> None:
    with (
        local() as kinesis,
        WayThere(port_of(kinesis)) as way,
        running(SCRIPT, f"http://127.0.0.1:{way.port}", str(stale)) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "before\n"
        before = way.accepted
        freeze(process, 0.3, lambda: happens(way))  # for longer than `stale` where that is short
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "after\n"
        code, _, stderr = ends(process)
        assert (code, stderr) == (0, "")  # one attempt each, and no possible duplicate
        assert way.accepted > before  # what was there was not used again
        got = sorted(record.data for record in read_all(kinesis, "orders"))
        assert got == sorted(b"%s %d" % (event, n) for event in (b"before", b"after") for n in range(20))


@pytest.mark.parametrize("clock", ["monotonic", "time"])
def test_after_a_freeze_in_either_clock_connections_are_new(monkeypatch: pytest.MonkeyPatch, clock: str) -> None:
    """A stopped process sees it in time.monotonic, a machine that was suspended perhaps only in time.time."""
    with local() as kinesis, WayThere(port_of(kinesis)) as way:
        with producing(kinesis, endpoint_url=f"http://127.0.0.1:{way.port}") as producer:
            producer.put_record("orders", b"1", "k").result(PATIENCE)
            producer.put_record("orders", b"2", "k").result(PATIENCE)
            before = way.accepted
            original = getattr(time, clock)
            clocks = {"monotonic": time.monotonic, "time": time.time, clock: lambda: original() + 900}
            monkeypatch.setattr(transport, "time", SimpleNamespace(**clocks))
            way.forget_all()
            result = producer.put_record("orders", b"3", "k").result(PATIENCE)
            assert way.accepted > before
            assert (len(result.attempts), result.possible_duplicate) == (1, False)
            monkeypatch.undo()
        assert [record.data for record in read_all(kinesis, "orders")] == [b"1", b"2", b"3"]


LEFT = """
import sys
from kplpy import FlushTimeoutError, Producer
from kplpy.integrations.aws_lambda import flush_after
producer = Producer(endpoint_url=sys.argv[1], region_name="us-east-1", record_ttl_ms=3000, request_timeout_ms=500)
while producer.put_record("orders", b"warm", "k").exception(30):
    pass  # making the client takes some of its time
print("warm", flush=True)
sys.stdin.readline()

class Context:
    def get_remaining_time_in_millis(self):
        return 600

@flush_after(producer)
def handler(event, context):
    return producer.put_record("orders", event, "k")

try:
    handler(b"left", Context())
except FlushTimeoutError as error:
    print(error.remaining, flush=True)
sys.stdin.readline()
result = producer.put_record("orders", b"after", "k").result(30)
print(len(result.attempts), result.possible_duplicate)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
def test_what_was_left_at_the_freeze_is_told() -> None:
    """The flush ran out of time, and in the freeze the record's time to live passes: it fails for all to see, and
    what is put after the thaw is delivered."""
    with local() as kinesis, running(LEFT, kinesis.endpoint_url) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "warm\n"
        kinesis.faults.add(Fault(transport="never"), times=1_000_000)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "1\n"
        freeze(process, 3.5)
        kinesis.call(lambda model: model.faults.clear())
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "1 False\n"
        code, _, stderr = ends(process)
        assert code == 0
        assert "1 records failed in total, and nobody has looked at their futures: 1 Expired" in stderr


def port_of(kinesis: LocalKinesis) -> int:
    return urlsplit(kinesis.endpoint_url).port or 0


@contextmanager
def running(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def freeze(process: subprocess.Popen[str], seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Stop the process for that long."""
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    thaw_at = time.monotonic() + seconds
    meanwhile()
    time.sleep(max(0.0, thaw_at - time.monotonic()))
    process.send_signal(signal.SIGCONT)
