"""TailedFile: one file's content, how far it was read, and how far that was accepted."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable

from kplpy.agent.tailing.checkpoints import Position, State
from kplpy.agent.tailing.descriptors import Descriptors
from kplpy.agent.tailing.identity import HEAD_BYTES, TAIL_BYTES, Head, Key, Mark, bytes_before, digest, head_of
from kplpy.agent.tailing.splitting import NEWLINE, RecordBuffer, Records

ACCEPTED_MARKS = 16
"""Marks below the accepted offset that are kept. A copy that is shorter than its original is recognized by one."""


class ReplacedError(Exception):
    """The file at the path has other content than what was read."""


class MovedError(Exception):
    """Another file is at the path."""


class TailedFile:
    """One content that is read, wherever it is: a file, through renames, until it is overwritten or gone.

    Used from the tailer's thread.

    flow, id: the flow's id, and the number of the position among the checkpoints.
    path: where the file is, or was last.
    paths: paths at which the pattern matches it now.
    key: device and inode, where the content is or was last.
    descriptor: of the open file, or None.
    size: bytes when they were last looked at.
    read_to: offset up to which bytes were read.
    taken: offset up to which records were handed out.
    accepted: offset up to which records were accepted.
    grown_at: when it last grew.
    moved_at: when it was last renamed, or left the pattern, else None.
    has_left: the file left the pattern.
    is_lost: the content is no longer in the file of `key`.
    """

    __slots__ = (
        *(
            "_descriptors",
            "_head",
            "_head_data",
            "_marks",
            "_on_close",
            "_tail",
            "accepted",
            "buffer",
            "descriptor",
            "flow",
        ),
        *(
            "flush_due",
            "grown_at",
            "has_left",
            "id",
            "is_lost",
            "is_ready",
            "key",
            "moved_at",
            "path",
            "paths",
            "read_to",
        ),
        *("retry_at", "size", "state", "taken"),
    )

    def __init__(
        self,
        flow: str,
        id: int,
        path: str,
        key: Key,
        buffer: RecordBuffer,
        descriptors: Descriptors,
        on_close: Callable[[TailedFile], None],
        now: float,
    ) -> None:
        self.flow = flow
        self.id = id
        self.path = path
        self.paths: list[str] = []
        self.key = key
        self.buffer = buffer
        self.descriptor: int | None = None
        self.size = 0
        self.read_to = self.taken = self.accepted = 0
        self.grown_at = now
        self.moved_at: float | None = None
        self.has_left = False
        self.retry_at = 0.0
        self.state = State.READING
        self.is_lost = False
        self.is_ready = False
        self.flush_due = False
        self._descriptors = descriptors
        self._on_close = on_close
        self._head: Head | None = None
        self._head_data = b""
        self._tail: bytes | None = b""  # before read_to; None: only its hash is known
        self._marks: deque[tuple[int, bytes | Mark | None]] = deque([(0, b"")])

    def restore(self, position: Position) -> None:
        """Go to a position among the checkpoints. The content is compared when the file is opened."""
        self.read_to = self.taken = self.accepted = position.offset
        self.size = position.size
        self.state = State.READING if position.state == State.ROTATED else position.state
        if position.state == State.ROTATED:
            self.moved_at = self.grown_at
        self._head = position.head
        self._tail = None
        self._marks = deque([(position.offset, position.mark)])

    @property
    def is_intact(self) -> bool:
        """True if the content can still be read."""
        return not self.is_lost and (bool(self.paths) or self.descriptor is not None)

    @property
    def head(self) -> Head:
        """The beginning of what was read."""
        if self._head is None:
            self._head = head_of(self._head_data)
        return self._head

    @property
    def has_full_head(self) -> bool:
        return self.head.length == HEAD_BYTES

    def open(self) -> None:
        """Open the file at its path.

        Raises MovedError if another file is there, ReplacedError if the file has another content, and OSError.
        """
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            state = os.fstat(descriptor)
            if (state.st_dev, state.st_ino) != self.key:
                raise MovedError
            self.use(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def use(self, descriptor: int) -> None:
        """Read from the descriptor, after its content was compared. Raises ReplacedError if it is another one."""
        if not self.is_content(descriptor, self.read_to):
            raise ReplacedError
        if self._tail is None:
            self._tail = bytes_before(descriptor, self.read_to)
            if self._marks[0][1] is None:
                self._marks[0] = (self.read_to, self._tail)
        self._head_data = os.pread(descriptor, HEAD_BYTES, 0)
        self._head = None
        self.size = os.lseek(descriptor, 0, os.SEEK_END)
        self.descriptor = descriptor
        self._descriptors.opened(self)

    def is_content(self, descriptor: int, offset: int) -> bool:
        """Return True if the open file has what was read up to the offset, which is a mark or read_to."""
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if size < offset:
            return False
        if offset and not self.head.length:  # a Kinesis Agent read it, which kept no hashes
            return os.pread(descriptor, 1, offset - 1) == NEWLINE
        return self._has_head(descriptor, size) and self._has_bytes_before(descriptor, offset)

    def _has_head(self, descriptor: int, size: int) -> bool:
        if self._head_data and size < len(self._head_data):
            return os.pread(descriptor, size, 0) == self._head_data[:size]
        if size < self.head.length:
            return self.head.matches_first(descriptor)
        return self.head.matches(descriptor)

    def _head_to(self, offset: int) -> Head:
        """Return the head of what is before the offset, if that is shorter and known."""
        return head_of(self._head_data[:offset]) if 0 < offset < len(self._head_data) else self.head

    def _has_bytes_before(self, descriptor: int, offset: int) -> bool:
        if offset == self.read_to and self._tail is not None:
            return bytes_before(descriptor, offset) == self._tail
        for at, before in self._marks:
            if at == offset:
                if isinstance(before, Mark):
                    return before.matches(descriptor)
                return before is None or bytes_before(descriptor, offset) == before
        return False

    def is_unchanged(self) -> bool:
        """Return True if the open file still has the bytes before those that are read next."""
        assert self.descriptor is not None
        if bytes_before(self.descriptor, self.read_to) != self._tail:
            return False
        return self.read_to >= TAIL_BYTES or self.head.matches(self.descriptor)

    def look_at_head(self) -> None:
        """Note the file's beginning before it is read, so that the content is known if it moves.

        Raises ReplacedError if the beginning has changed.
        """
        if len(self._head_data) < HEAD_BYTES and self.descriptor is not None:
            data = os.pread(self.descriptor, HEAD_BYTES, 0)
            if not data.startswith(self._head_data):
                raise ReplacedError
            self._head_data = data
            self._head = None

    def begins_with(self, descriptor: int, size: int) -> bool:
        """Return True if the open file of `size` bytes has the content up to its end, as far as marks can say."""
        if not self._has_head(descriptor, size):
            return False
        known = [at for at, _ in self._marks if at <= size]
        return not known or self._has_bytes_before(descriptor, known[-1])

    def read(self, size: int) -> bytes:
        """Return the next bytes of the open file, at most `size`. Raises ReplacedError if those before have changed."""
        tail = self._tail
        assert self.descriptor is not None
        assert tail is not None
        length = len(tail)
        # One call reads the bytes before, too, so that a file cannot be replaced between a comparison and the read.
        data = os.pread(self.descriptor, length + size, self.read_to - length)
        if length:
            if not data.startswith(tail):
                raise ReplacedError
            data = data[length:]
        if self.read_to < len(self._head_data):
            known = self._head_data[self.read_to :]
            if data[: len(known)] != known[: len(data)]:
                raise ReplacedError
        return data

    def feed(self, data: bytes) -> Records:
        """Split what was read, and take the whole records."""
        records = self.buffer.feed(data)
        before = self._tail or b""
        tail = data[-TAIL_BYTES:] if len(data) >= TAIL_BYTES else (before + data)[-TAIL_BYTES:]
        read_from = self.read_to
        self.read_to += len(data)
        self._tail = tail
        if self.read_to > self.size:
            self.size = self.read_to
        if records.consumed:
            self._take(records.consumed, self._before(self.taken + records.consumed, read_from, before, data))
        return records

    def flush(self) -> Records:
        """Take what has begun as a record."""
        records = self.buffer.flush()
        if records.consumed:
            self._take(records.consumed, self._tail or b"")
        return records

    def rewind(self) -> None:
        """Read what has begun as a record again."""
        self.buffer.clear()
        if self.read_to != self.taken:
            self.read_to = self.taken
            before = self._marks[-1][1]
            self._tail = before if isinstance(before, bytes) else None

    def skip_to(self, descriptor: int, offset: int) -> None:
        """Go to the offset of the open file, without reading what is before."""
        self.buffer.clear()
        self._head_data = os.pread(descriptor, HEAD_BYTES, 0)
        self._head = None
        self._tail = bytes_before(descriptor, offset)
        self.read_to = self.taken = self.accepted = offset
        self._marks = deque([(offset, self._tail)])

    def accept(self, offset: int) -> bool:
        """Note what was accepted. Return True if the position moved: to the end of a part that was handed out."""
        before = self.accepted
        marks = self._marks
        for at, _ in marks:
            if before < at <= offset:
                self.accepted = at
        while len(marks) > ACCEPTED_MARKS and marks[1][0] <= self.accepted:
            marks.popleft()
        return self.accepted > before

    def position(self) -> Position | None:
        """Return the position for the checkpoints."""
        if not self.accepted and not self.head.length:
            return None  # nothing that is known of it would make it known again
        for at, before in self._marks:
            if at == self.accepted:
                mark = Mark(at, digest(before)) if isinstance(before, bytes) else before
                is_rotated = self.state == State.READING and self.moved_at is not None
                state = State.ROTATED if is_rotated else self.state
                return Position(
                    self.path, self.key, self._head_to(at), mark, at, max(self.size, at), state, time.time()
                )
        return None

    def may_close(self) -> bool:
        """Return True if the file can be opened again at its path."""
        return bool(self.paths)

    def close_descriptor(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
            self._head = self._head_to(self.read_to)
            self._head_data = b""
            self._descriptors.forget(self)
            self._on_close(self)

    def give_descriptor(self, other: TailedFile) -> None:
        """Let another content be read from the open file."""
        descriptor, self.descriptor = self.descriptor, None
        self._descriptors.forget(self)
        if descriptor is not None:
            other.use(descriptor)

    def written(self) -> None:
        self._descriptors.written(self)

    def _take(self, length: int, before: bytes) -> None:
        self.taken += length
        self._marks.append((self.taken, before))
        if self.buffer.is_ended:
            self.state = State.ENDED

    def _before(self, offset: int, read_from: int, before: bytes, data: bytes) -> bytes:
        """Return the bytes before an offset in `data`, which was read from `read_from`; `before` was read earlier."""
        place = offset - read_from
        if place >= TAIL_BYTES:
            return data[place - TAIL_BYTES : place]
        known = (before + data)[: max(0, len(before) + place)]
        if len(known) >= min(TAIL_BYTES, offset):
            return known[-TAIL_BYTES:]
        assert self.descriptor is not None
        return bytes_before(self.descriptor, offset)
