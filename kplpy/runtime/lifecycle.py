"""The process around a producer: its exit, and forks."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol


class Living(Protocol):
    """What lifecycle asks of a producer."""

    def close(self) -> None: ...

    def _after_fork_in_child(self) -> None: ...


_all: weakref.WeakSet[Living] = weakref.WeakSet()
# Producers that were put to and not closed: their records must survive the last reference to the producer.
_started: set[Living] = set()


def watch(producer: Living) -> None:
    """From its construction: a forked child gives the producer a new engine."""
    _all.add(producer)


def keep(producer: Living) -> None:
    """From its first put: the producer is closed at the interpreter's exit."""
    _started.add(producer)


def forget(producer: Living) -> None:
    """It is closed."""
    _started.discard(producer)


def _close_all() -> None:
    for producer in list(_started):
        producer.close()


def _after_fork_in_child() -> None:
    _started.clear()
    for producer in list(_all):
        producer._after_fork_in_child()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
