"""A directory that outlives the process: every change is appended to a log before it is made.

The log is a row of frames: length and CRC-32 of a CBOR list, four bytes each, then the list. A put is written as what
comes of it, each record with its shard and count, so that it comes back with the same sequence number whatever the
limits are then. A frame that a kill cut short was never answered; it is dropped at the next start. The log outlives
SIGKILL; it is not synced to the disk, so the loss of the whole machine may take its end with it, or leave zeros there.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import cbor2

from kplpy.local.model.errors import ServiceError
from kplpy.local.model.events import CallEvent, Event, PutEvent
from kplpy.local.model.model import Model
from kplpy.logs import log
from kplpy.private_files import open_private

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two servers apart there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_HEAD = struct.Struct(">II")
_COMPACT_FROM = 64 << 20
"""Bytes of log below which rewriting it is not worth the while."""


class Journal:
    """The log in `directory`, which is made where missing. Its files are their user's alone (mode 0600).

    restore(model) comes first; keeping() is then the model's journal. OSError when the directory cannot be used, one of
    its files is a symbolic link (the directory itself may be one), or another server holds it; ValueError when the log
    is damaged before its end.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _open(directory / "lock")
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._lock.close()
                raise OSError(error.errno, "it is in use by another local Kinesis", str(directory)) from error
        self._path = directory / "kinesis.log"
        try:
            self._file = _open(self._path)
        except OSError:
            self._lock.close()
            raise
        self._end = 0
        self._rest = False  # something lies behind _end that could not be taken away

    def close(self) -> None:
        self._file.close()
        self._lock.close()

    def restore(self, model: Model) -> None:
        """Bring an empty model to where the log ends."""
        created: dict[str, int] = {}  # by stream, the frame that created it
        last: dict[str, int] = {}  # by stream, its last put
        for index, event in enumerate(self._frames()):
            try:
                model.restore(event)
            except ServiceError:  # refused then, too; a kill came before it was taken out of the log
                continue
            if isinstance(event, PutEvent):
                last[event.stream] = index
            elif event.operation == "CreateStream":
                created[event.stream] = index
        held = sum(each.held_bytes for each in model.streams.values())
        end = self._end
        if end > max(_COMPACT_FROM, 2 * held):
            try:
                self._compact(model, created, last)
            except OSError as error:  # a full disk, most likely: the old log does as well
                self._end = end
                log(logger, "journal_not_rewritten", {"path": str(self._path), "reason": str(error)})

    @contextmanager
    def keeping(self, event: Event) -> Iterator[None]:
        """Append a change, for the block that makes it. A block that raises takes the change out of the log again.

        ServiceError (InternalFailure) when it cannot be appended: the block does not run.
        """
        frame = _frame(event)
        try:
            if self._rest:
                self._file.truncate(self._end)  # else it would hide what comes after it
            self._rest = True
            _write_all(self._file, frame)
        except OSError as error:
            self._take_away()
            raise ServiceError("InternalFailure", f"The data directory cannot be written: {error}", 500) from error
        try:
            yield
        except BaseException:
            self._take_away()
            raise
        self._end += len(frame)
        self._rest = False

    def _take_away(self) -> None:
        """Take away what was written of a change that is not made. Where that fails, the next change tries again."""
        with suppress(OSError):
            self._file.truncate(self._end)
            self._rest = False

    def _frames(self) -> Iterator[Event]:
        """The log from its beginning; an unfinished frame at its end is cut off."""
        self._end = 0
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            while head := file.read(_HEAD.size):
                length, crc = _HEAD.unpack(head) if len(head) == _HEAD.size else (size, 0)
                following = self._end + _HEAD.size + length
                body = file.read(length) if following <= size else b""
                if not length or following > size or zlib.crc32(body) != crc:
                    if following < size and not _zeros(file):
                        raise ValueError(f"{self._path} is damaged at byte {self._end}")
                    log(
                        logger,
                        "journal_torn",
                        {"path": str(self._path), "offset": self._end, "bytes": size - self._end},
                    )
                    self._file.truncate(self._end)
                    return
                yield _event(cbor2.loads(body))
                self._end = following

    def _compact(self, model: Model, created: dict[str, int], last: dict[str, int]) -> None:
        """Write the log again with what is still held, and put it in the old one's place."""
        path = self._path.with_suffix(".new")
        path.unlink(missing_ok=True)  # of a start that was killed
        fresh = _open(path)
        size = 0
        try:
            for index, event in enumerate(self._frames()):
                if event.stream not in model.streams or index < created[event.stream]:
                    continue
                if isinstance(event, PutEvent):
                    event = event.held(model.streams[event.stream])
                    if not event.records and index != last[event.stream]:  # the last one carries the count
                        continue
                frame = _frame(event)
                _write_all(fresh, frame)
                size += len(frame)
            os.replace(path, self._path)
        except BaseException:
            fresh.close()
            path.unlink(missing_ok=True)
            raise
        self._file.close()
        self._file = fresh
        self._end = size


def _open(path: Path) -> FileIO:
    """Open for appending, unbuffered."""
    return FileIO(open_private(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def _zeros(file: BinaryIO) -> bool:
    """Return True if the rest of the file is zeros: what a loss of power leaves where data did not reach the disk."""
    return not any(part.strip(b"\0") for part in iter(lambda: file.read(1 << 20), b""))


def _frame(event: Event) -> bytes:
    body = cbor2.dumps(event.plain())
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _event(plain: list[Any]) -> Event:
    return PutEvent(*plain[1:]) if plain[0] == "put" else CallEvent(*plain[1:])


def _write_all(file: FileIO, frame: bytes) -> None:
    view = memoryview(frame)
    while view:
        view = view[file.write(view) :]
