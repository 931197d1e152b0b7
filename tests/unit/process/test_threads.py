"""How kplpy's threads are started under uWSGI, here a module that looks like it."""

from __future__ import annotations

import signal
import sys
import threading
from types import SimpleNamespace

import pytest

from kplpy.process.threads import start_thread

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no signal masks")

ENDING = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1}
FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


def mask() -> set[int]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def mask_of_a_started_thread() -> set[int]:
    masks: list[set[int]] = []
    thread = threading.Thread(target=lambda: masks.append(mask()), daemon=True)
    assert start_thread(thread)
    thread.join(10)
    return masks[0]


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(worker_id=lambda: 1))


def test_a_thread_takes_the_signals_of_its_process() -> None:
    assert not mask_of_a_started_thread() & ENDING


@pytest.mark.usefixtures("uwsgi")
def test_under_uwsgi_a_thread_takes_no_signal_that_ends_the_worker() -> None:
    before = mask()
    blocked = mask_of_a_started_thread()
    assert blocked >= ENDING
    assert not blocked & FAULTS  # faulthandler reports these on the thread that has them
    assert mask() == before


@pytest.mark.usefixtures("uwsgi")
def test_the_starting_thread_takes_signals_again_if_none_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    before = mask()
    assert not start_thread(threading.Thread())
    assert mask() == before
