"""Journal: keeps a model's changes in a directory.

Every change is appended to a log before it is made. The log is a series of frames. A frame has the length and the
CRC-32 of a CBOR list, four bytes each, and then the list. A put is written as its accepted records, each with its shard
and count. So a record comes back with the same sequence number, whatever the limits are at that time.

The log survives SIGKILL. A frame that a kill cut short was not acknowledged; the next start drops it. The log is not
synced to the disk, so a crash of the machine may lose the log's end, or leave zeros there.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import cbor2

from kplpy.local.model.errors import ServiceError
from kplpy.local.model.events import CallEvent, ChannelEvent, DeliveryEvent, Event, PutEvent, QueueEvent, StreamKey
from kplpy.local.model.model import Model
from kplpy.logs import log
from kplpy.private_files import open_private

try:
    import fcntl
except ImportError:  # Windows, where two servers can open the same directory
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_HEADER = struct.Struct(">II")
_COMPACT_FROM = 64 << 20
"""Size in bytes from which the log is rewritten without the records that are no longer held."""


class Journal:
    """The log in `directory`, which is created if it does not exist.

    The files are for their user alone (mode 0600).

    Call restore(model) first. recording() is then the model's journal.

    Raises OSError if the directory cannot be used, if another server uses it, or if one of its files is a symbolic
    link (the directory itself may be one).
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
        self._has_rest = False  # there are bytes after _end that could not be truncated

    def close(self) -> None:
        self._file.close()
        self._lock.close()

    def restore(self, model: Model) -> None:
        """Repeat the log's changes on an empty model.

        Raises ValueError if the log is damaged before its end.
        """
        created: dict[StreamKey, int] = {}  # by stream: the frame that created it
        last: dict[StreamKey, int] = {}  # by stream: its last put
        for index, event in enumerate(self._events()):
            try:
                model.restore(event)
            except ServiceError:  # the model refused it at that time too, and a kill came before it was truncated
                continue
            if isinstance(event, (PutEvent, DeliveryEvent)):
                last[event.key] = index
            elif isinstance(event, CallEvent) and event.creates:
                created[event.key] = index
        held_bytes = model.held_bytes
        end = self._end
        if end > max(_COMPACT_FROM, 2 * held_bytes):
            try:
                self._compact(model, created, last)
            except OSError as error:  # probably a full disk; the old log can be used as well
                self._end = end
                log(logger, "journal_not_rewritten", {"path": str(self._path), "reason": str(error)})

    @contextmanager
    def recording(self, event: Event) -> Iterator[None]:
        """Append a change to the log; the `with` block makes the change.

        If the block raises, the change is removed from the log. If the change cannot be appended, ServiceError
        (InternalFailure) is raised and the block does not run.
        """
        frame = _frame(event)
        try:
            if self._has_rest:
                self._file.truncate(self._end)  # else a broken frame would hide the frames after it
            self._has_rest = True
            _write_all(self._file, frame)
        except OSError as error:
            self._truncate()
            raise ServiceError("InternalFailure", f"The data directory cannot be written: {error}", 500) from error
        try:
            yield
        except BaseException:
            self._truncate()
            raise
        self._end += len(frame)
        self._has_rest = False

    def _truncate(self) -> None:
        """Remove the bytes of a change that is not made.

        If that fails, recording() does it before the next change.
        """
        with suppress(OSError):
            self._file.truncate(self._end)
            self._has_rest = False

    def _events(self) -> Iterator[Event]:
        """Yield the log's changes from the beginning; truncate an unfinished frame at the end."""
        self._end = 0
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            while header := file.read(_HEADER.size):
                length, crc = _HEADER.unpack(header) if len(header) == _HEADER.size else (size, 0)
                next_frame = self._end + _HEADER.size + length
                body = file.read(length) if next_frame <= size else b""
                if not length or next_frame > size or zlib.crc32(body) != crc:
                    if next_frame < size and not _only_zeros(file):
                        raise ValueError(f"{self._path} is damaged at byte {self._end}")
                    log(
                        logger,
                        "journal_torn",
                        {"path": str(self._path), "offset": self._end, "bytes": size - self._end},
                    )
                    self._file.truncate(self._end)
                    return
                yield _event(cbor2.loads(body))
                self._end = next_frame

    def _compact(self, model: Model, created: dict[StreamKey, int], last: dict[StreamKey, int]) -> None:
        """Replace the log by one without deleted streams and without records that are no longer held."""
        path = self._path.with_suffix(".new")
        path.unlink(missing_ok=True)  # a start that was killed may have left the file
        new_file = _open(path)
        size = 0
        try:
            for index, event in enumerate(self._events()):
                if _is_stale(event, index, model, created):
                    continue
                if isinstance(event, QueueEvent):
                    event = event.without_trimmed(model.streams[event.stream])
                    if event.queue not in model.account.queues or not event.deliveries:
                        continue
                elif isinstance(event, PutEvent):
                    event = event.without_trimmed(model.streams[event.stream])
                elif isinstance(event, DeliveryEvent):
                    event = event.without_trimmed(model.firehose.streams[event.stream])
                # The last put holds the stream's count.
                if isinstance(event, (PutEvent, DeliveryEvent)) and not event.records and index != last[event.key]:
                    continue
                frame = _frame(event)
                _write_all(new_file, frame)
                size += len(frame)
            os.replace(path, self._path)
        except BaseException:
            new_file.close()
            path.unlink(missing_ok=True)
            raise
        self._file.close()
        self._file = new_file
        self._end = size


def _is_stale(event: Event, index: int, model: Model, created: dict[StreamKey, int]) -> bool:
    """Return True for a change of a stream that was deleted since. Changes of the whole account are never stale."""
    if not event.stream:
        return False
    streams = model.firehose.streams if event.key[0] else model.streams
    return event.stream not in streams or index < created[event.key]


def _open(path: Path) -> FileIO:
    """Open for appending, unbuffered."""
    return FileIO(open_private(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def _only_zeros(file: BinaryIO) -> bool:
    """Return True if the rest of the file is zeros.

    A loss of power leaves zeros where data did not reach the disk.
    """
    return not any(part.strip(b"\0") for part in iter(lambda: file.read(1 << 20), b""))


def _frame(event: Event) -> bytes:
    body = cbor2.dumps(event.plain())
    return _HEADER.pack(len(body), zlib.crc32(body)) + body


def _event(plain: list[Any]) -> Event:
    kinds: dict[str, Callable[..., Event]] = {
        "put": PutEvent,
        "deliver": DeliveryEvent,
        "call": CallEvent,
        "queue": QueueEvent.of,
        "channel": ChannelEvent,
    }
    return kinds[plain[0]](*plain[1:])


def _write_all(file: FileIO, frame: bytes) -> None:
    view = memoryview(frame)
    while view:
        view = view[file.write(view) :]
