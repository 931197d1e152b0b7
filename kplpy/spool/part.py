"""Part: the rows of one producer on disk, in a SQLite database in WAL mode.

A row holds a batch of records of one stream. It is deleted when all its records are answered. The write-ahead log gives
what a journal needs: a transaction is either whole or not there, and a torn tail is cut.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kplpy.concurrency import new_rlock
from kplpy.core.record import PendingRecord
from kplpy.errors import SpoolError
from kplpy.process import file_lock, fork
from kplpy.spool import salvage
from kplpy.spool.database import PAGE_SIZE, Connect, DamagedDatabaseError, Database
from kplpy.spool.rows import DamagedRowError, StoredRecord, decode, encode

SUFFIX = ".spool"
CHECKED_BYTES = 128 << 20
"""The largest database whose pages are checked before its rows are read. A larger one would delay the first record."""

_STREAM_SHIFT = 40
_SEQUENCE_MASK = (1 << _STREAM_SHIFT) - 1
_LOWEST_ID = -(1 << 63)
_CHECKED = struct.Struct("<qdq")

Flags = bytes
"""The answers of a row: one byte a record, 1 if it is answered."""
_Result = TypeVar("_Result")


class Row(NamedTuple):
    """One batch of records of one stream.

    id: grows with the order of acceptance within a stream.
    accepted: when the first of the records was accepted, in Unix time.
    answered: one byte a record, 1 if it is answered. None: none is.
    """

    id: int
    stream: str
    accepted: float
    records: list[StoredRecord]
    answered: Flags | None


class StreamTotals(NamedTuple):
    """The rows of one stream.

    records: without an answer.
    bytes: of the rows, also of those that are answered in part.
    oldest: when the first record of the oldest row was accepted, in Unix time.
    """

    records: int
    bytes: int
    oldest: float


class _Counts:
    """The running counts of one stream. Its rows have the ids from `number` << 40."""

    __slots__ = ("bytes", "number", "records")

    def __init__(self, number: int) -> None:
        self.number = number
        self.records = self.bytes = 0


class Part:
    """The rows of one producer: a database NAME.spool, which a lock NAME.lock gives to one process at a time.

    Make one with create() or adopt(). All methods may be called from any thread. All raise SpoolError, which names the
    file and has the cause chained. Damage raises nothing: damaged rows are set aside and described in `damaged`.

    An id is the number of the row's stream, and 40 bits that count up. So the rows of a stream are neighbours in the
    table, and reading them in order needs no index.

    path: the database. Its name changes if the sound rows of a damaged database are copied to another one.
    records: without an answer.
    bytes: of all rows.
    damaged: one description for each damaged row that was found, and for each damaged database.
    """

    def __init__(self, path: Path, held: file_lock.FileLock, connect: Connect) -> None:
        """Open the database, or make it. The lock is released if that fails."""
        self.path = path
        self.damaged: list[str] = []
        self._held = held
        self._connect = connect
        self._lock = new_rlock()
        self._in_sqlite = fork.NoForkSection()  # a child could find SQLite's own locks held for ever
        self._is_closed = False
        self._streams: dict[str, _Counts] = {}
        self._next = 1
        self._is_checked = False
        self._syncs_before = 0
        self._opened: Database | None = None
        try:
            self._run(lambda _: None)
        except BaseException:
            self._in_sqlite.discard()
            held.release()
            raise

    @classmethod
    def create(cls, directory: Path, connect: Connect = sqlite3.connect) -> Part:
        """Make an empty part. `directory` is made with mode 0700 if it is missing."""
        try:
            if not directory.is_dir():
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync_directory(directory.parent)
            path, held = _new_name(directory)
        except OSError as error:
            raise SpoolError(f"{directory}: {error.strerror or error}") from error
        part = cls(path, held, connect)
        try:
            _sync_directory(directory)
        except OSError as error:
            part.close()
            raise SpoolError(f"{directory}: {error.strerror or error}") from error
        return part

    @classmethod
    def adopt(cls, path: Path, connect: Connect = sqlite3.connect) -> Part | None:
        """Take over the part. None: it is in use, or gone."""
        held = _take_lock(lock_of(path), create=path.exists())
        if held is None:
            return None
        if not path.exists():
            held.release(remove=True)
            return None
        return cls(path, held, connect)

    @property
    def records(self) -> int:
        with self._lock:
            return sum([each.records for each in self._streams.values()])

    @property
    def bytes(self) -> int:
        with self._lock:
            return sum([each.bytes for each in self._streams.values()])

    @property
    def syncs(self) -> int:
        """Transactions that were synced."""
        with self._lock:
            return self._syncs_before + (self._opened.syncs if self._opened is not None else 0)

    def write(self, batches: Sequence[tuple[str, float, Sequence[PendingRecord]]]) -> list[int]:
        """Write each batch (stream, Unix time of acceptance, records) as a row, and sync. Return their ids.

        All batches are one transaction: if this raises SpoolError, none of them is written.
        """
        encoded = [(stream, accepted, len(items), encode(items)) for stream, accepted, items in batches]
        return self._run(lambda database: self._write(database, encoded))

    def answered(self, done: Mapping[int, Flags | None]) -> None:
        """Write answers, in one transaction that is not synced: it survives SIGKILL, but not every power cut.

        done: by row id, None if all records are answered, which deletes the row. Else one byte a record, as in Row.
        A row that is not there any more is left out.
        """
        self._run(lambda database: self._answered(database, done))

    def read(self, stream: str, after: int, max_bytes: int) -> list[Row]:
        """Return rows of the stream with an id above `after`, in order.

        At least one row is returned if there is any, then more until their bytes exceed `max_bytes`. Damaged rows are
        set aside.
        """
        return self._run(lambda database: self._read(database, stream, after, max_bytes), is_reading=True)

    def streams(self) -> dict[str, StreamTotals]:
        """Return the totals of each stream that has rows."""
        return self._run(self._totals, is_reading=True)

    def close(self) -> None:
        """Close the database and release the lock. The files are removed if no row is left, sound or damaged.

        Before that, the pages are checked, so that no row is removed that damage hides.
        """
        with self._lock:
            if self._is_closed:
                return
            is_empty = False
            try:
                is_empty = self._run(self._is_empty)
                with self._in_sqlite, self._errors():
                    self._close_database()
                    if is_empty:
                        for suffix in ("", "-wal", "-shm"):
                            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            finally:
                self._is_closed = True
                with suppress(SpoolError), self._in_sqlite, self._errors():
                    self._close_database()
                self._in_sqlite.discard()
                self._held.release(remove=is_empty)

    def abandon(self) -> None:
        """Leave the part to the parent, in a forked child. No other method may be called after that."""
        self._is_closed = True
        self._in_sqlite.discard()
        if self._opened is not None:
            self._opened.abandon()
        self._held.abandon()

    def __repr__(self) -> str:
        return f"Part({str(self.path)!r})"

    # --- with the lock ---

    def _run(self, work: Callable[[Database], _Result], *, is_reading: bool = False) -> _Result:
        """Return the result of the work, which is done again on a copy of the sound rows if the database is damaged."""
        with self._lock, self._in_sqlite, self._errors():
            if self._is_closed:
                raise SpoolError(f"{self.path}: the part is closed")
            try:
                return work(self._database())
            except DamagedDatabaseError as error:
                self._salvage(str(error))
            except sqlite3.OperationalError as error:
                if not is_reading or str(error) != "disk I/O error":
                    raise
                self._salvage(str(error))  # a sector that cannot be read
            return work(self._database())

    def _database(self) -> Database:
        if self._opened is None:
            self._opened = Database(self.path, self._connect)
            self._is_checked = self.path.stat().st_size <= CHECKED_BYTES
            if self._is_checked:
                self._opened.check()
            self._count(self._opened)
        return self._opened

    def _close_database(self) -> None:
        if self._opened is not None:
            self._syncs_before += self._opened.syncs
            self._opened.close()
            self._opened = None

    def _write(self, database: Database, encoded: list[tuple[str, float, int, Flags]]) -> list[int]:
        rows = []
        with database.transaction(sync=True):
            for stream, accepted, count, data in encoded:
                row_id = self._counts_of(stream).number << _STREAM_SHIFT | self._next
                self._next += 1
                row = (row_id, stream, accepted, count, _crc(row_id, stream, accepted, count, data), data)
                database.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", row)
                rows.append(row_id)
        for stream, _, count, data in encoded:
            counts = self._streams[stream]
            counts.records += count
            counts.bytes += len(data)
        database.note_logged(sum([len(data) + 2 * PAGE_SIZE for *_, data in encoded]))
        return rows

    def _answered(self, database: Database, done: Mapping[int, Flags | None]) -> None:
        changes: list[tuple[int, int, int]] = []
        with database.transaction(sync=False):
            for row_id, flags in done.items():
                found = database.execute("SELECT records, length(data) FROM rows WHERE id = ?", (row_id,))
                if not found:
                    continue
                ((records, size),) = found
                if type(records) is not int or size is None:
                    raise DamagedDatabaseError(f"row {row_id} has changed")
                before = answers_of(database, row_id, records)
                left = records - (before.count(1) if before else 0)
                if flags is None:
                    _delete(database, row_id)
                    changes.append((row_id, left, size))
                else:
                    database.execute(
                        "INSERT OR REPLACE INTO answered VALUES (?, ?, ?)",
                        (row_id, _crc_of_flags(row_id, flags), flags),
                    )
                    changes.append((row_id, left - records + flags.count(1), 0))
        by_number = {each.number: each for each in self._streams.values()}
        for row_id, records, size in changes:
            counts = by_number[row_id >> _STREAM_SHIFT]
            counts.records -= records
            counts.bytes -= size
        database.note_logged(2 * PAGE_SIZE * len(done))
        database.shrink(self.bytes)

    def _read(self, database: Database, stream: str, after: int, max_bytes: int) -> list[Row]:
        counts = self._streams.get(stream)
        if counts is None:
            return []
        if after >> _STREAM_SHIFT != counts.number:
            after = counts.number << _STREAM_SHIFT
        rows: list[Row] = []
        broken: list[int] = []
        size = 0
        with closing(_select_rows(database, after, counts.number)) as selected:
            for found in selected:
                try:
                    row = row_of(found)
                except DamagedRowError:
                    broken.append(found[0])
                    continue
                size += len(found[5])
                if rows and size > max_bytes:
                    break
                rows.append(row)
        self._set_aside(database, broken)
        if not rows and not self._is_checked:  # the last row has been read; damage may hide more
            database.check()
            self._is_checked = True
        return [row._replace(answered=answers_of(database, row.id, len(row.records))) for row in rows]

    def _totals(self, database: Database) -> dict[str, StreamTotals]:
        totals = {}
        for name, counts in self._streams.items():
            first = counts.number << _STREAM_SHIFT
            oldest = database.execute(
                "SELECT accepted FROM rows WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
                (first, first | _SEQUENCE_MASK),
            )
            if oldest:
                totals[name] = StreamTotals(counts.records, counts.bytes, oldest[0][0])
        return totals

    def _is_empty(self, database: Database) -> bool:
        """Return True if there is no row, and no page that could have one."""
        if database.execute("SELECT 1 FROM rows LIMIT 1"):
            return False
        database.check()
        return not database.execute("SELECT 1 FROM damaged LIMIT 1")

    # --- counts ---

    def _count(self, database: Database) -> None:
        """Find the streams, and count their rows. Rows before the first sound one of a stream are set aside."""
        for each in self._streams.values():
            each.records = each.bytes = 0
        after = _LOWEST_ID
        while found := database.execute("SELECT id FROM rows WHERE id > ? ORDER BY id LIMIT 1", (after,)):
            if found[0][0] <= after:
                raise DamagedDatabaseError(f"row {found[0][0]} is out of order")
            number = found[0][0] >> _STREAM_SHIFT
            first = number << _STREAM_SHIFT
            after = first | _SEQUENCE_MASK
            name, broken = _name_of(database, number)
            if broken:
                self._set_aside(database, broken)
                return
            counts = self._streams[name] = _Counts(number)
            records, size, last = database.execute(
                "SELECT TOTAL(records), TOTAL(length(data)), MAX(id) FROM rows WHERE id BETWEEN ? AND ?", (first, after)
            )[0]
            counts.records, counts.bytes = int(records), int(size)
            self._next = max(self._next, (last & _SEQUENCE_MASK) + 1)
        by_number = {each.number: each for each in self._streams.values()}
        for row_id, records in database.execute("SELECT answered.id, records FROM answered JOIN rows USING (id)"):
            flags = answers_of(database, row_id, records)
            if flags is not None:
                by_number[row_id >> _STREAM_SHIFT].records -= flags.count(1)

    def _counts_of(self, stream: str) -> _Counts:
        counts = self._streams.get(stream)
        if counts is None:
            number = max([each.number for each in self._streams.values()], default=-1) + 1
            counts = self._streams[stream] = _Counts(number)
        return counts

    # --- damage ---

    def _set_aside(self, database: Database, row_ids: Sequence[int]) -> None:
        """Move damaged rows to their own table, and count again."""
        if not row_ids:
            return
        reason = "its checksum does not match"
        with database.transaction(sync=True):
            for row_id in row_ids:
                database.execute("INSERT OR REPLACE INTO damaged SELECT *, ? FROM rows WHERE id = ?", (reason, row_id))
                if database.execute("SELECT changes()") != [(1,)]:
                    raise DamagedDatabaseError(f"row {row_id} is out of order")
                _delete(database, row_id)
        self.damaged += [f"{self.path}: row {row_id}: {reason}" for row_id in row_ids]
        self._count(database)

    def _salvage(self, reason: str) -> None:
        """Copy the sound rows to another database. Keep the damaged one under the name NAME.spool.damaged."""
        with suppress(sqlite3.Error, DamagedDatabaseError):
            self._close_database()
        self._opened = None
        path, held = _new_name(self.path.parent)
        copy = path.with_suffix(".new")
        try:
            found = self._copy_sound_rows(copy)
            os.replace(copy, path)
            # A power cut at this point leaves both: the rows are then sent twice, but none is lost.
            kept = self.path.with_suffix(f"{SUFFIX}.damaged")
            os.replace(self.path, kept)
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}-wal", f"{kept}-wal")
            Path(f"{self.path}-shm").unlink(missing_ok=True)
            _sync_directory(path.parent)
        except BaseException:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{copy}{suffix}").unlink(missing_ok=True)
            held.release(remove=True)
            raise
        self._held.release(remove=True)
        self._held, self.path = held, path
        self.damaged += [f"{kept}: {reason}; its sound rows are in {path}", *[f"{kept}: {each}" for each in found]]

    def _copy_sound_rows(self, path: Path) -> list[str]:
        """Make a database of the sound rows. Return what is wrong with the others."""
        faults: dict[str, None] = {}
        with (
            closing(salvage.Pages(self.path, PAGE_SIZE)) as pages,
            closing(Database(path, self._connect)) as copy,
            copy.transaction(sync=True),
        ):
            for cell in salvage.cells(pages):
                if isinstance(cell, salvage.BrokenCellError):
                    faults[str(cell)] = None
                    continue
                found = (cell.row_id, *cell.values[1:])
                if len(found) == 6:
                    try:
                        row_of(found)
                    except DamagedRowError as error:
                        if cell.is_listed:
                            faults[f"row {cell.row_id}: {error}"] = None
                    else:
                        copy.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?, ?)", found)
                elif len(found) == 3 and cell.is_listed and isinstance(found[2], Flags):
                    copy.execute("INSERT OR REPLACE INTO answered VALUES (?, ?, ?)", found)
        return list(faults)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise SpoolError, with the file's name, for an error of SQLite or of the system."""
        try:
            yield
        except (sqlite3.Error, DamagedDatabaseError) as error:
            raise SpoolError(f"{self.path}: {error}") from error
        except OSError as error:
            raise SpoolError(f"{error.filename or self.path}: {error.strerror or error}") from error


def lock_of(path: Path) -> Path:
    """Return the lock file of a part."""
    return path.with_suffix(".lock")


def _take_lock(path: Path, *, create: bool) -> file_lock.FileLock | None:
    try:
        return file_lock.take(path, create=create)
    except OSError as error:
        raise SpoolError(f"{path}: {error.strerror}") from error


def _new_name(directory: Path) -> tuple[Path, file_lock.FileLock]:
    """Return a name that no part has, and its lock."""
    while True:
        path = directory / f"{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"
        held = _take_lock(lock_of(path), create=True)
        if held is not None:
            return path, held


def _select_rows(database: Database, after: int, number: int) -> Generator[tuple[Any, ...], None, None]:
    """Yield the rows of the stream with the number, with an id above `after`, in order."""
    last = number << _STREAM_SHIFT | _SEQUENCE_MASK
    with closing(
        database.select(
            "SELECT id, stream, accepted, records, crc32, data FROM rows WHERE id > ? AND id <= ? ORDER BY id",
            (after, last),
        )
    ) as selected:
        for found in selected:
            if not after < found[0] <= last:
                raise DamagedDatabaseError(f"row {found[0]} is out of order")
            after = found[0]
            yield found


def _name_of(database: Database, number: int) -> tuple[str, list[int]]:
    """Return the name of the stream with the number, from its first sound row, and the damaged rows before that."""
    broken: list[int] = []
    with closing(_select_rows(database, max(_LOWEST_ID, (number << _STREAM_SHIFT) - 1), number)) as selected:
        for found in selected:
            try:
                return row_of(found).stream, broken
            except DamagedRowError:
                broken.append(found[0])
    return "", broken


def answers_of(database: Database, row_id: int, records: int) -> Flags | None:
    """Return the row's answers. None if there are none, or if they are damaged: then the records are sent again."""
    for crc, flags in database.execute("SELECT crc32, flags FROM answered WHERE id = ?", (row_id,)):
        if isinstance(flags, Flags) and len(flags) == records and crc == _crc_of_flags(row_id, flags):
            return flags
    return None


def _delete(database: Database, row_id: int) -> None:
    database.execute("DELETE FROM rows WHERE id = ?", (row_id,))
    database.execute("DELETE FROM answered WHERE id = ?", (row_id,))


def _crc(row_id: int, stream: str, accepted: float, records: int, data: Flags) -> int:
    return zlib.crc32(data, zlib.crc32(_CHECKED.pack(row_id, accepted, records) + stream.encode()))


def _crc_of_flags(row_id: int, flags: Flags) -> int:
    return zlib.crc32(flags, row_id & 0xFFFF_FFFF)


def row_of(found: tuple[Any, ...]) -> Row:
    """Return the row, without its answers. Raises DamagedRowError if it is not as it was written."""
    row_id, name, accepted, count, crc, data = found
    stream = ""
    try:
        stream = name.decode()
        is_sound = crc == _crc(row_id, stream, accepted, count, data)
    except (AttributeError, TypeError, UnicodeDecodeError, struct.error):  # damage can change a value's type, too
        is_sound = False
    if not is_sound:
        raise DamagedRowError("its checksum does not match")
    records = decode(data)
    if len(records) != count:
        raise DamagedRowError(f"it has {len(records)} records instead of {count}")
    return Row(row_id, stream, float(accepted), records, None)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
