"""A directory that outlives the process: every change is appended to a log before it is answered.

The log is a row of frames: length and CRC-32 of a CBOR list, four bytes each, then the list. A put is written as what
came of it, each record with its shard and count, so that it comes back with the same sequence number whatever the
limits are then. A frame that a kill cut short was never answered; it is dropped at the next start. The log outlives
SIGKILL; it is not synced to the disk, so the loss of the whole machine may take its end with it.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cbor2

from kplpy.local.errors import ServiceError
from kplpy.local.events import CallEvent, Event, PutEvent
from kplpy.local.model import Model
from kplpy.log_events import log

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two servers apart there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

_HEAD = struct.Struct(">II")
_COMPACT_FROM = 64 << 20
"""Bytes of log below which rewriting it is not worth the while."""


class Journal:
    """The log in `directory`, which is made where missing.

    restore(model) comes first; write() is then the model's journal. OSError when the directory cannot be used or
    another server holds it; ValueError when the log is damaged before its end.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = (directory / "lock").open("ab")
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._lock.close()
                raise OSError(f"{directory} is in use by another local Kinesis") from error
        self._path = directory / "kinesis.log"
        self._file = self._path.open("ab", buffering=0)
        self._end = 0

    def close(self) -> None:
        self._file.close()
        self._lock.close()

    def restore(self, model: Model) -> None:
        """Bring an empty model to where the log ends."""
        created: dict[str, int] = {}  # by stream, the frame that created it
        last: dict[str, int] = {}  # by stream, its last put
        for index, event in enumerate(self._frames()):
            model.restore(event)
            if isinstance(event, PutEvent):
                last[event.stream] = index
            elif event.operation == "CreateStream":
                created[event.stream] = index
        held = sum(each.held_bytes for each in model.streams.values())
        if self._end > max(_COMPACT_FROM, 2 * held):
            self._compact(model, created, last)

    def write(self, event: Event) -> None:
        """Append a change. One that cannot be kept must not be acknowledged: InternalFailure."""
        frame = _frame(event)
        try:
            _write_all(self._file, frame)
        except OSError as error:
            self._file.truncate(self._end)  # a torn frame would hide what comes after it
            raise ServiceError("InternalFailure", f"The data directory cannot be written: {error}", 500) from error
        self._end += len(frame)

    def _frames(self) -> Iterator[Event]:
        """The log from its beginning; an unfinished frame at its end is cut off."""
        self._end = 0
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            while head := file.read(_HEAD.size):
                length, crc = _HEAD.unpack(head) if len(head) == _HEAD.size else (size, 0)
                following = self._end + _HEAD.size + length
                body = file.read(length) if following <= size else b""
                if following > size or zlib.crc32(body) != crc:
                    if following < size:
                        raise ValueError(f"{self._path} is damaged at byte {self._end}")
                    log(logger, "journal_torn", {"path": str(self._path), "offset": self._end})
                    self._file.truncate(self._end)
                    return
                yield _event(cbor2.loads(body))
                self._end = following

    def _compact(self, model: Model, created: dict[str, int], last: dict[str, int]) -> None:
        """Write the log anew with what is still held, and put it in the old one's place."""
        fresh = self._path.with_suffix(".new")
        size = 0
        with fresh.open("wb", buffering=0) as file:
            for index, event in enumerate(self._frames()):
                if event.stream not in model.streams or index < created[event.stream]:
                    continue
                if isinstance(event, PutEvent):
                    event = event.held(model.streams[event.stream])
                    if not event.records and index != last[event.stream]:  # the last one carries the count
                        continue
                frame = _frame(event)
                _write_all(file, frame)
                size += len(frame)
        self._file.close()
        os.replace(fresh, self._path)
        self._file = self._path.open("ab", buffering=0)
        self._end = size


def _frame(event: Event) -> bytes:
    body = cbor2.dumps(event.plain())
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _event(plain: list[Any]) -> Event:
    return PutEvent(*plain[1:]) if plain[0] == "put" else CallEvent(*plain[1:])


def _write_all(file: BinaryIO | Any, frame: bytes) -> None:
    view = memoryview(frame)
    while view:
        view = view[file.write(view) :]
