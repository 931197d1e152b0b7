"""Signals that reach `kplpy put` while no system call of the main thread is interrupted by them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kplpy import Config
from kplpy.cli import lines
from kplpy.cli.failed import Failures
from kplpy.cli.lines import Given, Position
from kplpy.cli.sending import Sending
from kplpy.cli.stop import Interrupted, Stop
from kplpy.local import Fault, LocalKinesis


@pytest.fixture
def unseen() -> Iterator[Stop]:
    """A Stop whose signals come to another thread, as if they came just before a blocking call of the main thread."""
    with Stop().handled() as stop:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            yield stop
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def strike() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_wait_for_input_ends(unseen: Stop, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    held: list[int] = []
    opening = threading.Thread(target=lambda: held.append(os.open(path, os.O_WRONLY)))
    opening.start()
    too_late = threading.Timer(20, lambda: os.write(held[0], b"\n"))  # ends a read that no signal ends
    with lines.open_source(str(path)) as file:
        opening.join()
        too_late.start()
        unseen.waiting = True
        threading.Timer(0.1, strike).start()
        with pytest.raises(Interrupted):
            file.readline()
        too_late.cancel()
    os.close(held[0])


def test_the_wait_for_outcomes_ends(unseen: Stop, kinesis: LocalKinesis, tmp_path: Path) -> None:
    kinesis.faults.add(Fault(code="InternalFailure", status=500), times=1_000_000)
    config = Config(session=kinesis.session(), endpoint_url=kinesis.endpoint_url, close_timeout_ms=20_000)
    with Failures(str(tmp_path / "failed")) as failures:
        sending = Sending(config, "test", failures, unseen, Position())
        began = time.monotonic()
        for each in (1.0, 2.5):
            threading.Timer(each, strike).start()
        sending.run(iter([Given(b"one", "-", 1, "k")]), None, quiet=True)
        assert failures.count == 1
    assert unseen.signal == signal.SIGTERM
    assert time.monotonic() - began < 15
