"""Noticing that this process is a forked child, also where the fork skips Python's hooks, as uWSGI's does.

A page of memory that the kernel wipes in a child (MADV_WIPEONFORK, Linux 4.14) tells child from parent for 20 ns a
look, so that every put can look; os.getpid() is a system call. Elsewhere Python's hooks wipe the page.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType

Page = memoryview | bytearray | bytes
"""page[0] is 1 in the process that made it, and 0 in its children."""

_MADV_WIPEONFORK = 18  # the mmap module does not name it
# How long a fork waits for a section that must not be cut in two: far longer than any takes on a busy machine, for a
# child that was forked in the midst of one hangs. Its thread may wait for something that the forking one holds, though.
PATIENCE = 30.0

_renewals: list[Callable[[], object]] = []
_whole_sections: list[WholeSection] = []
_renewing = threading.RLock()


def _new_page() -> memoryview | bytearray:
    if sys.platform == "linux":
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        try:
            page.madvise(_MADV_WIPEONFORK)
        except (OSError, AttributeError):  # an old kernel, or a stand-in for one
            page.close()
        else:
            page[0] = 1
            return memoryview(page)
    return bytearray(b"\1")


_page = _new_page()
_pid = os.getpid()


def page() -> Page:
    """This process's page, once `check` has been called in it."""
    return _page


def renew(function: Callable[[], object]) -> Callable[[], object]:
    """Call the function in every forked child, in the order of registration: no other thread has survived there, and
    a lock that one of them held stays held."""
    _renewals.append(function)
    return function


def check() -> None:
    """Where a page was found wiped, or somewhere slow: renew everything, should nobody have told us of a fork."""
    with _renewing:
        if not _page[0] or (isinstance(_page, bytearray) and os.getpid() != _pid):
            _renew_all()


def _renew_all() -> None:
    global _page, _pid
    if isinstance(_page, bytearray):
        _page[0] = 0
    _page = _new_page()
    _pid = os.getpid()
    for function in _renewals:
        function()


class WholeSection:
    """A lock whose section a fork waits for, PATIENCE seconds at the most.

    For the sections in which a thread imports: a child would find the module's own lock held for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._kept_for_fork = False
        _whole_sections.append(self)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._owner = 0
        self._lock.release()

    def before_fork(self) -> None:
        if self._owner != threading.get_ident() and self._lock.acquire(timeout=PATIENCE):
            self._owner = threading.get_ident()
            self._kept_for_fork = True

    def after_fork_in_parent(self) -> None:
        if self._kept_for_fork and self._owner == threading.get_ident():
            self._kept_for_fork = False
            self._owner = 0
            self._lock.release()

    def after_fork_in_child(self) -> None:
        self._kept_for_fork = False
        self._owner = 0
        self._lock = threading.Lock()


def _before_fork() -> None:
    for section in _whole_sections:
        section.before_fork()


def _after_fork_in_parent() -> None:
    for section in _whole_sections:
        section.after_fork_in_parent()


def _after_fork_in_child() -> None:
    global _renewing
    _renewing = threading.RLock()
    if not _page[0] or os.getpid() != _pid:  # else a __del__ has put since, and noticed it already
        _renew_all()


@renew
def _renew_sections() -> None:
    for section in _whole_sections:
        section.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
