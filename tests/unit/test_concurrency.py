"""How kplpy finds out what the Python is that runs it, and how its threads wait."""

from __future__ import annotations

import sysconfig
import threading

import pytest

from kplpy import concurrency
from kplpy.concurrency import WaitingThreads, WakeSignal, has_gil


def test_a_free_threaded_build_counts_as_without_a_gil() -> None:
    assert has_gil() is not bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def test_a_wait_ends_at_its_timeout() -> None:
    assert WakeSignal().wait_until(lambda: False, 0.01) is False
    assert WakeSignal().wait_until(lambda: False, 0) is False


def test_a_wake_ends_a_wait_without_a_limit() -> None:
    signal, happened = WakeSignal(), threading.Event()

    def happen() -> None:
        signal.wake()  # too early: the thread looks, and waits again
        happened.set()
        signal.wake()

    timer = threading.Timer(0.01, happen)
    timer.start()
    assert signal.wait_until(happened.is_set, None) is True
    timer.join()


def test_a_thread_whose_wake_was_lost_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "LOOK_AGAIN", 0.01)
    happened = threading.Event()
    timer = threading.Timer(0.02, happened.set)  # without a wake
    timer.start()
    assert WaitingThreads().wait_until(happened.is_set, None) is True
    timer.join()
