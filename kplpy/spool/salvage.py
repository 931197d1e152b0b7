"""Reads the pages of a damaged part without SQLite, and finds the rows in them.

SQLite refuses a file of which one page is damaged. The format of its files is documented
(https://www.sqlite.org/fileformat2.html), and each row of a part has a checksum of its own. So all pages are searched
for rows, and a row is sound if its checksum matches.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

_LEAF, _INTERIOR = b"\x0d", b"\x05"
_WAL_MAGIC = 0x377F0682  # the last bit is set if the checksums are of big-endian words
_WAL_HEADER, _FRAME_HEADER = 32, 24
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

Value = int | float | bytes | None


class BrokenCellError(ValueError):
    """The bytes are not a cell of a table."""


class Pages:
    """The pages of a database, with those of its write-ahead log up to the last whole transaction.

    count: pages of the database.
    """

    def __init__(self, path: Path, page_size: int) -> None:
        """Open the files. `page_size` counts if the header of the database is damaged."""
        self._database = os.open(path, os.O_RDONLY)
        self._log: int | None = None
        self._in_log: dict[int, int] = {}  # page → place in the log
        try:
            header = self._read(self._database, 0, 100)
            size = struct.unpack_from(">H", header.ljust(18, b"\0"), 16)[0]
            self.size = page_size if size < 512 or size & (size - 1) else size
            self.count = os.fstat(self._database).st_size // self.size
            log = Path(f"{path}-wal")
            if log.exists():
                self._log = os.open(log, os.O_RDONLY)
                self._read_log()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._database)
        if self._log is not None:
            os.close(self._log)

    def page(self, number: int) -> bytes:
        """Return the page, empty if it is missing or cannot be read. The first page has the number 1."""
        if not 1 <= number <= self.count:
            return b""
        place = self._in_log.get(number)
        if place is not None and self._log is not None:
            page = self._read(self._log, place, self.size)
        else:
            page = self._read(self._database, (number - 1) * self.size, self.size)
        return page if len(page) == self.size else b""

    def free(self) -> set[int]:
        """Return the free pages, whose rows were deleted. Empty if their list is damaged."""
        free: set[int] = set()
        first, expected = struct.unpack_from(">II", self.page(1).ljust(40, b"\0"), 32)
        trunk = first
        while trunk:
            page = self.page(trunk)
            if not page or trunk in free:
                return set()
            next_trunk, leaves = struct.unpack_from(">II", page)
            if leaves > self.size // 4 - 2:
                return set()
            free.add(trunk)
            free.update(struct.unpack_from(f">{leaves}I", page, 8))
            trunk = next_trunk
        return free if len(free) == expected else set()

    def _read_log(self) -> None:
        assert self._log is not None
        header = self._read(self._log, 0, _WAL_HEADER)
        if len(header) < _WAL_HEADER:
            return
        magic, _, size, _, *salts, first, second = struct.unpack(">8I", header)
        order = ">" if magic & 1 else "<"
        checksum = _checksum(order, header[:24], (0, 0))
        if magic & ~1 != _WAL_MAGIC or size != self.size or checksum != (first, second):
            return
        place = _WAL_HEADER
        waiting: dict[int, int] = {}
        while True:
            frame = self._read(self._log, place, _FRAME_HEADER + size)
            if len(frame) < _FRAME_HEADER + size:
                return
            number, pages, *frame_salts, first, second = struct.unpack_from(">6I", frame)
            checksum = _checksum(order, frame[:8] + frame[_FRAME_HEADER:], checksum)
            if frame_salts != salts or checksum != (first, second):
                return
            waiting[number] = place + _FRAME_HEADER
            if pages:  # the transaction is whole
                self._in_log.update(waiting)
                waiting.clear()
                self.count = pages
            place += _FRAME_HEADER + size

    @staticmethod
    def _read(file: int, place: int, size: int) -> bytes:
        try:
            return os.pread(file, size, place)
        except OSError:  # a bad sector: the other pages are worth more than the error
            return b""


class Cell:
    """One row of a table.

    page: the page with its beginning.
    is_listed: the page says that it has this row. A row that is not listed may be an old one.
    values: the columns; text is bytes.
    overflow: the pages with the rest of the row.
    """

    __slots__ = ("is_listed", "overflow", "page", "row_id", "values")

    def __init__(self, page: int, is_listed: bool, row_id: int, values: list[Value], overflow: list[int]) -> None:
        self.page = page
        self.is_listed = is_listed
        self.row_id = row_id
        self.values = values
        self.overflow = overflow


def cells(pages: Pages) -> Iterator[Cell | BrokenCellError]:
    """Yield all rows of all tables; BrokenCellError for each that is listed and cannot be read.

    Listed rows come first. The others are not in order. The same row may come several times.
    """
    free = pages.free()
    numbers = [number for number in range(1, pages.count + 1) if number not in free]
    is_overflow = bytearray(pages.count + 1)
    others: list[int] = []
    for number in numbers:
        kind = pages.page(number)[100 if number == 1 else 0 :][:1]
        if kind == _INTERIOR:
            continue
        others.append(number)
        if kind == _LEAF:
            for cell in _cells_of(pages, number):
                if isinstance(cell, BrokenCellError):
                    yield cell
                elif cell.is_listed:
                    for each in cell.overflow:
                        is_overflow[each] = 1
                    yield cell
    for number in others:
        if not is_overflow[number]:
            for cell in _cells_of(pages, number):
                if isinstance(cell, Cell):
                    cell.is_listed = False
                    yield cell


def _cells_of(pages: Pages, number: int) -> Iterator[Cell | BrokenCellError]:
    """Yield the rows that begin on a page: those that it lists, then those in places that its list may have had."""
    page = pages.page(number)
    start = 100 if number == 1 else 0
    if len(page) < start + 8:
        return
    listed, content = struct.unpack_from(">HH", page, start + 3)
    # A damaged count must hide no row. Places behind the list are zero, or those of rows that were deleted.
    places = (min(content or 65536, pages.size) - start - 8) // 2
    if listed * 2 > pages.size - start - 8:
        listed = 0
    for index in range(max(places, listed)):
        place = struct.unpack_from(">H", page, start + 8 + 2 * index)[0]
        if place < start + 8 and index >= listed:
            continue
        try:
            yield _cell(pages, number, page, place, index < listed)
        except BrokenCellError as error:
            if index < listed:
                yield error


def _cell(pages: Pages, number: int, page: bytes, place: int, is_listed: bool) -> Cell:
    size, at = _varint(page, place)
    row_id, at = _varint(page, at)
    if size > pages.count * pages.size:
        raise BrokenCellError(f"page {number}: a row of {size} bytes")
    local = _local_size(size, pages.size)
    payload = page[at : at + local]
    overflow: list[int] = []
    if local < size:
        chunks = [payload]
        if at + local + 4 > pages.size:
            raise BrokenCellError(f"page {number}: a row ends outside of it")
        left = size - local
        following = struct.unpack_from(">I", page, at + local)[0]
        while left > 0:
            rest = pages.page(following)
            if not rest:
                raise BrokenCellError(f"page {number}: page {following} of row {row_id} is missing")
            overflow.append(following)
            following = struct.unpack_from(">I", rest)[0]
            chunks.append(rest[4 : 4 + left])
            left -= pages.size - 4
        payload = b"".join(chunks)
    if len(payload) != size:
        raise BrokenCellError(f"page {number}: row {row_id} ends outside of it")
    return Cell(number, is_listed, row_id - (row_id >> 63 << 64), _values(payload, number), overflow)


def _values(payload: bytes, number: int) -> list[Value]:
    header_size, at = _varint(payload, 0)
    kinds = []
    while at < header_size:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        size = _INTEGERS.get(kind, 8 if kind == 7 else (kind - 12) // 2 if kind >= 12 else 0)
        piece = payload[at : at + size]
        if len(piece) < size or kind in (10, 11):
            raise BrokenCellError(f"page {number}: a column ends outside of its row")
        at += size
        if kind >= 12:
            values.append(piece)
        elif kind == 7:
            values.append(struct.unpack(">d", piece)[0])
        elif kind in (8, 9):
            values.append(kind - 8)
        else:
            values.append(int.from_bytes(piece, "big", signed=True) if kind else None)
    return values


def _local_size(size: int, usable: int) -> int:
    """Return how many bytes of a row of `size` are on the page where it begins."""
    most = usable - 35
    if size <= most:
        return size
    least = (usable - 12) * 32 // 255 - 23
    local = least + (size - least) % (usable - 4)
    return local if local <= most else least


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(9):
        if at >= len(data):
            raise BrokenCellError("a number ends outside of its page")
        byte = data[at]
        at += 1
        if index == 8:
            return value << 8 | byte, at
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, at


def _checksum(order: str, data: bytes, before: tuple[int, int]) -> tuple[int, int]:
    first, second = before
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even, odd in zip(words, words):  # noqa: B905
        first = (first + even + second) & 0xFFFF_FFFF
        second = (second + odd + first) & 0xFFFF_FFFF
    return first, second
