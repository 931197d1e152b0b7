"""Splits the bytes of a file into records: lines, or several lines that a start pattern separates."""

from __future__ import annotations

import io
from itertools import accumulate
from typing import Protocol

NEWLINE = b"\n"
_NEWLINE = NEWLINE[0]
MATCHED_BYTES = 65_536
"""Bytes of a line that a start pattern sees, so that a line without an end needs no memory."""
_TRIMMED = "".join(map(chr, range(0x21)))
"""What Java's String.trim() removes."""


class Pattern(Protocol):
    """A regular expression, Python's or one translated from Java."""

    def match(self, text: str, /) -> object | None: ...  # pragma: no cover

    def fullmatch(self, text: str, /) -> object | None: ...  # pragma: no cover


class Splitter(Protocol):
    """Splits bytes into whole records. One object serves all files of a flow.

    line_start: bytes that stand for the earlier lines of a record, if `data` begins with a later line of it.
    """

    line_start: bytes

    def split(self, data: bytes, looked_at: int) -> tuple[list[bytes], int, int]:
        """Return the whole records at the beginning of `data`, their length, and what was looked at behind them.

        data: begins where a record begins.
        looked_at: bytes of `data` that an earlier call looked at and found no end of a record in.
        The third value is `looked_at` for a call with the rest of `data` and what follows it.
        """
        ...  # pragma: no cover


class Lines:
    """Records are lines. Each keeps its newline; a carriage return is part of the line."""

    line_start = b""

    def split(self, data: bytes, looked_at: int) -> tuple[list[bytes], int, int]:
        end = data.rfind(NEWLINE, looked_at) + 1
        if not end:
            return [], 0, len(data)
        # 0.03 µs a line of 104 bytes, 0.1 with split(b"\n"). bytes.splitlines() would end lines at \r too.
        return io.BytesIO(data[:end] if end < len(data) else data).readlines(), end, len(data) - end


class MultiLines:
    """A record ends where the next line matches the start pattern. Lines before the first start are a record too.

    matched_bytes: bytes of a line that the pattern sees.
    """

    line_start = NEWLINE

    def __init__(self, start: Pattern, matched_bytes: int = MATCHED_BYTES) -> None:
        self._match = start.match
        self._matched_bytes = matched_bytes

    def split(self, data: bytes, looked_at: int) -> tuple[list[bytes], int, int]:
        records = []
        begin, place = 0, looked_at
        while (end := data.find(NEWLINE, place) + 1) > 0:
            if self._is_start(data, begin, place, end):
                records.append(data[begin:place])
                begin = place
            place = end
        if place == begin:  # the record's first line
            place = len(data)
        elif len(data) - place >= self._matched_bytes:
            if self._is_start(data, begin, place, len(data)):
                records.append(data[begin:place])
                begin = place
            place = len(data)
        return records, begin, place - begin

    def _is_start(self, data: bytes, begin: int, place: int, end: int) -> bool:
        if place == begin or data[place - 1] != _NEWLINE:  # the record's first line, or the rest of a line
            return False
        return self._match(data[place : min(end, place + self._matched_bytes)].decode("utf-8", "replace")) is not None


class Records:
    """Records that were split off, and the bytes of the file that they stand for.

    records: each at most as long as the limit.
    lengths: bytes in the file of each record, or None if they are the records' own lengths.
    skipped: bytes before the first record: header lines.
    consumed: bytes of the file, header and footer included.
    """

    __slots__ = ("consumed", "lengths", "records", "skipped")

    def __init__(self, records: list[bytes], lengths: list[int] | None, skipped: int, consumed: int) -> None:
        self.records = records
        self.lengths = lengths
        self.skipped = skipped
        self.consumed = consumed

    def ends(self, start: int) -> list[int]:
        """Return the offset behind each record, where `start` is the offset of what was consumed."""
        lengths = self.lengths if self.lengths is not None else map(len, self.records)
        return list(accumulate(lengths, initial=start + self.skipped))[1:]


class RecordBuffer:
    """The bytes of one file that are not a whole record yet.

    Its memory is bounded: of a record longer than the limit only the beginning is kept.

    limit: bytes of a record that are kept.
    cut: records that were longer.
    is_ended: a footer was found. What follows is not split.
    """

    __slots__ = (
        *("_footer", "_header_bytes", "_header_lines", "_kept", "_looked_at", "_passed", "_pending", "_splitter"),
        *("cut", "is_ended", "limit"),
    )

    def __init__(self, splitter: Splitter, limit: int, header_lines: int = 0, footer: Pattern | None = None) -> None:
        self.limit = limit
        self.cut = 0
        self.is_ended = False
        self._splitter = splitter
        self._footer = footer
        self._header_lines = header_lines
        self._header_bytes = 0
        self._pending = b""
        self._looked_at = 0
        # Of a record that is too long: its beginning, and its bytes before those that are pending.
        self._kept: bytes | None = None
        self._passed = 0

    @property
    def is_empty(self) -> bool:
        """True if no record has begun."""
        return not self._pending and self._kept is None

    @property
    def ends_line(self) -> bool:
        """True if a record has begun and its last line so far has a newline."""
        return self._pending.endswith(NEWLINE)

    def feed(self, data: bytes) -> Records:
        """Add the next bytes of the file and return the records that are whole now."""
        work = self._pending + data if self._pending else data
        skipped = 0
        if self._header_lines:
            work, skipped = self._skip_header(work)
            if self._header_lines:
                self._pending = work
                return Records([], None, 0, 0)
        if self._kept is not None:
            found = self._feed_long(work)
            if found is None:
                return Records([], None, skipped, skipped)
            records, lengths, length, looked_at = found
        else:
            records, length, looked_at = self._splitter.split(work, self._looked_at)
            lengths = None
            if length > self.limit and max(map(len, records)) > self.limit:
                lengths = [len(record) for record in records]
                records = [record[: self.limit] for record in records]
        self._keep(work[length:] if length < len(work) else b"", looked_at)
        consumed = sum(lengths) if lengths is not None else length
        return self._checked(Records(records, lengths, skipped, skipped + consumed))

    def flush(self) -> Records:
        """Return what has begun as a record, because nothing follows it."""
        pending, kept = self._pending, self._kept
        header = self._header_bytes
        if self._header_lines or not (pending or kept):
            self.clear()
            return Records([], None, header + len(pending), header + len(pending))
        if kept is not None:
            length = self._passed + len(pending) - self._started(pending)
            result = Records([kept[:length]], [length], 0, length)
        else:
            result = Records([pending], None, 0, len(pending))
        self.clear()
        return self._checked(result)

    def clear(self) -> None:
        """Forget what has begun."""
        self._pending, self._looked_at = b"", 0
        self._kept, self._passed = None, 0
        self._header_lines = self._header_bytes = 0

    def _skip_header(self, work: bytes) -> tuple[bytes, int]:
        """Return the bytes behind the header lines, and their length if that was all of them."""
        place = 0
        while self._header_lines and (end := work.find(NEWLINE, place) + 1) > 0:
            self._header_lines -= 1
            place = end
        if self._header_lines and len(work) - place > self.limit:
            place = len(work)
        self._header_bytes += place
        if self._header_lines:
            return work[place:], 0
        skipped, self._header_bytes = self._header_bytes, 0
        return work[place:], skipped

    def _started(self, work: bytes) -> int:
        """Return how many bytes of `work` stand for earlier lines of a record that is too long."""
        return min(self._looked_at, len(self._splitter.line_start), len(work))

    def _feed_long(self, work: bytes) -> tuple[list[bytes], list[int], int, int] | None:
        """Look for the end of a record that is too long."""
        assert self._kept is not None
        started = self._started(work)
        records, length, looked_at = self._splitter.split(work, self._looked_at)
        if not records:
            self._passed -= started
            self._pass(work, looked_at)
            return None
        lengths = [len(record) for record in records]
        lengths[0] += self._passed - started
        records = [self._kept[: lengths[0]], *(record[: self.limit] for record in records[1:])]
        self._kept, self._passed = None, 0
        return records, lengths, length, looked_at

    def _pass(self, work: bytes, looked_at: int) -> None:
        """Drop what was looked at of a record that is too long, and keep the last line's beginning."""
        start = self._splitter.line_start if work[looked_at - 1 : looked_at] == NEWLINE else b""
        self._passed += looked_at
        self._pending, self._looked_at = start + work[looked_at:], len(start)

    def _keep(self, rest: bytes, looked_at: int) -> None:
        if len(rest) > self.limit:
            self._kept = rest[: self.limit]
            self._pass(rest, looked_at)
        else:
            self._pending, self._looked_at = rest, looked_at

    def _checked(self, found: Records) -> Records:
        """Return the records before the footer, if there is one, and count those that were cut."""
        if self._footer is not None:
            for place, record in enumerate(found.records):
                if self._footer.fullmatch(record.decode("utf-8", "replace").strip(_TRIMMED)):
                    end = found.ends(0)[place]
                    lengths = found.lengths[:place] if found.lengths is not None else None
                    found = Records(found.records[:place], lengths, found.skipped, end)
                    self.clear()
                    self.is_ended = True
                    break
        if found.lengths is not None:
            self.cut += sum(map(int.__gt__, found.lengths, map(len, found.records)))
        return found
