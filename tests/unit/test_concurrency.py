"""How kplpy finds out what the Python is that runs it, and how its threads wait."""

from __future__ import annotations

import signal
import sys
import sysconfig
import threading

import pytest

from kplpy import concurrency
from kplpy.concurrency import SoundLock, WaitingThreads, WakeSignal, has_gil, new_lock, new_rlock
from tests.interrupts import Interrupted, interrupts


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


def is_free(lock: SoundLock) -> bool:
    """Return True if no thread holds the lock."""
    taken: list[bool] = []
    other = threading.Thread(target=lambda: taken.append(lock.acquire(blocking=False)))
    other.start()
    other.join()
    return taken == [True]


def interrupt_loop(lock: SoundLock, seconds: float) -> None:
    """It is a function, because Python 3.13 may run a handler at a jump that leaves a try block."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    while True:
        with lock:
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.skipif(sys.version_info < (3, 12), reason="RLock does not tell how often it is taken")
def test_no_interrupt_leaves_a_sound_lock_held() -> None:
    """threading.RLock stays held after more than half of them on Python 3.14."""

    with interrupts():
        for number in range(300):
            lock = SoundLock()
            with pytest.raises(Interrupted):
                interrupt_loop(lock, 2e-4 + number * 1e-6)
            assert is_free(lock)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="RLock does not tell how often it is taken")
def test_a_sound_lock_is_reentrant_and_exclusive() -> None:
    lock = SoundLock()
    with lock:
        with lock:
            assert not is_free(lock)
        assert not is_free(lock)
    assert is_free(lock)


@pytest.mark.skipif(sys.version_info[:2] != (3, 14), reason="elsewhere Python's own locks do")
def test_python_3_14_gets_sound_locks() -> None:
    assert isinstance(new_lock(), SoundLock)
    assert isinstance(new_rlock(), SoundLock)
