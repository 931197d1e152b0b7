"""Descriptors: bounds the open files of all flows."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Protocol

DEFAULT_LIMIT = 1000


class Closable(Protocol):
    """A file that can be closed and opened again."""

    def may_close(self) -> bool:
        """Return False if what was not read would be lost, or a deleted file's content."""
        ...  # pragma: no cover

    def close_descriptor(self) -> None: ...  # pragma: no cover


def default_limit() -> int:
    """Return the smaller of 1,000 and half of the descriptors that the process may open."""
    if sys.platform == "win32":
        return DEFAULT_LIMIT // 2
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return DEFAULT_LIMIT if soft == resource.RLIM_INFINITY else max(1, min(DEFAULT_LIMIT, soft // 2))


class Descriptors:
    """Bounds the open files over all flows. The least recently written file is closed first.

    Used from one thread. A file whose content would be lost stays open, even above the limit.

    limit: most open files.
    closed: files closed because of the limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = default_limit() if limit is None else limit
        self.closed = 0
        self._files: OrderedDict[Closable, None] = OrderedDict()  # the most recently written file is last

    def __len__(self) -> int:
        return len(self._files)

    def opened(self, file: Closable) -> None:
        """Note an open file, and close others if there are too many."""
        self._files[file] = None
        self._close_others(file)

    def exhausted(self) -> None:
        """Close a file, and have one less open from now on: the process or the system has no more descriptors."""
        self.limit = max(1, len(self._files) - 1)
        self._close_others(None)

    def _close_others(self, file: Closable | None) -> None:
        while len(self._files) > self.limit:
            other = next((other for other in self._files if other is not file and other.may_close()), None)
            if other is None:
                return
            self.closed += 1
            other.close_descriptor()

    def written(self, file: Closable) -> None:
        """Note that the file grew."""
        self._files.move_to_end(file)

    def forget(self, file: Closable) -> None:
        """Note that the file was closed."""
        self._files.pop(file, None)
