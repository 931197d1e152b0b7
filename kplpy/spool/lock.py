"""Locks a part of the spool: one process at a time holds a part, and a killed process holds none."""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path

from kplpy.errors import SpoolError
from kplpy.private_files import open_private
from kplpy.process import fork

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_held: dict[tuple[int, int], int] = {}
"""Device and inode of each lock file that a process holds, and the process, which a forked child is not."""
_guard = fork.NoForkSection()
# struct flock, and the place of l_type and l_pid in it.
_FLOCK, _TYPE, _PID = ("hhqqi", 0, 4) if sys.platform == "linux" else ("qqihh", 3, 2)


class PartLock:
    """The lock of a part that this process holds.

    A POSIX record lock: a forked child does not inherit it. The kernel drops it when the process ends, but also when
    the process closes any descriptor of the file. So no lock file of a part that this process holds is opened again.
    """

    def __init__(self, path: Path, descriptor: int, key: tuple[int, int]) -> None:
        self._path = path
        self._descriptor = descriptor
        self._key = key

    def release(self, *, remove: bool = False) -> None:
        """Release the lock; with `remove`, remove its file first."""
        if remove:
            self._path.unlink(missing_ok=True)
        with _guard:
            _held.pop(self._key, None)
            os.close(self._descriptor)

    def abandon(self) -> None:
        """Forget the lock in a forked child, which never had it."""
        os.close(self._descriptor)


def take(path: Path, *, create: bool = False) -> PartLock | None:
    """Lock the file. None: the file is gone, or this or another process holds the lock.

    create: make the file if it is missing.

    Raises SpoolError if the file cannot be opened or locked.
    """
    _check_system(path)
    with _guard:
        if _is_held_here(path):
            return None
        try:
            descriptor = open_private(str(path), os.O_RDWR | (os.O_CREAT if create else 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SpoolError(f"{path}: {error.strerror}") from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            state = os.fstat(descriptor)
            key = (state.st_dev, state.st_ino)
            if _identity(path) != key:  # its holder removed it meanwhile
                os.close(descriptor)
                return None
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return None
            raise SpoolError(f"{path}: {error.strerror}") from error
        _held[key] = os.getpid()
        return PartLock(path, descriptor, key)


def holder(path: Path) -> int | None:
    """Return the process that holds the lock, or None.

    The lock is not taken, so that a process that wants it gets it. Raises SpoolError like take().
    """
    _check_system(path)
    with _guard:
        if _is_held_here(path):
            return os.getpid()
        try:
            descriptor = open_private(str(path), os.O_RDWR)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SpoolError(f"{path}: {error.strerror}") from error
        try:
            values = [0] * 5
            values[_TYPE] = fcntl.F_WRLCK
            found = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, *values)))
        finally:
            os.close(descriptor)
    return None if found[_TYPE] == fcntl.F_UNLCK else found[_PID]


def _check_system(path: Path) -> None:
    if fcntl is None:
        raise SpoolError(f"{path}: a spool needs POSIX record locks, which this system does not have")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return None
    return state.st_dev, state.st_ino


def _is_held_here(path: Path) -> bool:
    key = _identity(path)
    return key is not None and _held.get(key) == os.getpid()
