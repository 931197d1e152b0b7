"""Detects that this process is a forked child.

This also works when the fork skips Python's hooks, as uWSGI's does. The kernel wipes one page of memory in each child
(MADV_WIPEONFORK, Linux 4.14). Reading it takes 20 ns, so every put can do it; os.getpid() is a system call. On other
systems Python's hooks wipe the page.
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
PATIENCE = 30.0
"""Seconds that a fork waits for a NoForkSection.

A child that is forked during one hangs, so the limit is far above the time that any section takes on a busy machine.
There is a limit because the section's thread may wait for something that the forking thread holds.
"""

_renewals: list[Callable[[], object]] = []
_no_fork_sections: list[NoForkSection] = []
_renewing = threading.RLock()


def _new_page() -> memoryview | bytearray:
    """Make a page that holds 1: one that the kernel wipes in children, if it can."""
    if sys.platform == "linux":
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        try:
            page.madvise(_MADV_WIPEONFORK)
        except (OSError, AttributeError):  # an old kernel, or an emulated one
            page.close()
        else:
            page[0] = 1
            return memoryview(page)
    return bytearray(b"\1")


_page = _new_page()
_pid = os.getpid()


def page() -> Page:
    """Return this process's page. In a forked child, call `check` first."""
    return _page


def call_in_child(function: Callable[[], object]) -> Callable[[], object]:
    """Register a function to be called in every forked child, in the order of registration.

    interpreter_exit.py registers what gives the producers new parts.

    Only the forking thread survives in a child. A lock that another thread held stays held, so it must be replaced.
    """
    _renewals.append(function)
    return function


def check() -> None:
    """Call the registered functions once in a forked child.

    Called when a page was found wiped, and where the time does not matter.
    """
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


class NoForkSection:
    """A lock that a fork waits for, at most PATIENCE seconds.

    Held while a thread imports modules, or is in a library with locks of its own. A child that is forked meanwhile
    would find these locks held for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._kept_for_fork = False
        _no_fork_sections.append(self)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._owner = 0
        self._lock.release()

    def discard(self) -> None:
        """Have no fork wait for the section any more."""
        if self in _no_fork_sections:
            _no_fork_sections.remove(self)

    def before_fork(self) -> None:
        """Take the lock for the fork, unless the forking thread holds it."""
        if self._owner != threading.get_ident() and self._lock.acquire(timeout=PATIENCE):
            self._owner = threading.get_ident()
            self._kept_for_fork = True

    def after_fork_in_parent(self) -> None:
        """Release the lock that before_fork took."""
        if self._kept_for_fork and self._owner == threading.get_ident():
            self._kept_for_fork = False
            self._owner = 0
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Replace the lock, which another thread of the parent may hold."""
        self._kept_for_fork = False
        self._owner = 0
        self._lock = threading.Lock()


def _before_fork() -> None:
    for section in list(_no_fork_sections):
        section.before_fork()


def _after_fork_in_parent() -> None:
    for section in list(_no_fork_sections):
        section.after_fork_in_parent()


def _after_fork_in_child() -> None:
    global _renewing
    _renewing = threading.RLock()
    if not _page[0] or os.getpid() != _pid:  # else a __del__ has put since, and renewed everything
        _renew_all()


@call_in_child
def _renew_sections() -> None:
    for section in _no_fork_sections:
        section.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
