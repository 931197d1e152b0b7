"""Part: the rows of one producer on disk, in a SQLite database in WAL mode.

A row holds a batch of records of one stream. It is deleted when all its records are answered. The write-ahead log gives
what a journal needs: a transaction is either whole or not there, and a torn tail is cut.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from kplpy.core.record import PendingRecord
from kplpy.errors import SpoolError
from kplpy.private_files import open_private
from kplpy.spool import lock
from kplpy.spool.rows import DamagedRowError, StoredRecord, decode, encode

SUFFIX = ".spool"
PAGE_SIZE = 4096
CHECKPOINT_BYTES = 16 << 20
"""Bytes in the log from which they are copied into the database."""
SHRINK_BYTES = 64 << 20
"""Free bytes in the database from which it is rewritten without them, if they are most of it."""

_APPLICATION_ID = 0x6B70_6C70  # "kplp"
_SCHEMA_VERSION = 1
_STREAM_SHIFT = 40
_SEQUENCE_MASK = (1 << _STREAM_SHIFT) - 1
_CHECKED = struct.Struct("<qdq")

_SCHEMA = """
CREATE TABLE rows (id INTEGER PRIMARY KEY, stream TEXT, accepted REAL, records INTEGER, crc32 INTEGER, data BLOB);
CREATE TABLE answered (id INTEGER PRIMARY KEY, crc32 INTEGER, flags BLOB);
CREATE TABLE damaged (id INTEGER PRIMARY KEY, reason TEXT, stream TEXT, accepted REAL, records INTEGER, crc32 INTEGER,
    data BLOB);
"""

Flags = bytes
"""The answers of a row: one byte a record, 1 if it is answered."""
Connect = Callable[..., sqlite3.Connection]

_abandoned: list[sqlite3.Connection] = []


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
    answered: bytes | None


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
    file and has the cause chained; damage raises nothing but is set aside and described in `damaged`.

    An id is the number of the row's stream, and 40 bits that count up. So the rows of a stream are neighbours in the
    table, and reading them in order needs no index.

    path: the database.
    records: without an answer.
    bytes: of all rows.
    syncs: transactions that were synced.
    damaged: one description for each damaged row that was found.
    """

    def __init__(self, path: Path, held: lock.PartLock, connect: Connect) -> None:
        """Open the database; the lock is released if that fails."""
        self.path = path
        self.syncs = 0
        self.damaged: list[str] = []
        self._held = held
        self._connect = connect
        self._lock = threading.RLock()
        self._is_closed = False
        self._logged = 0  # bytes in the log, about
        self._must_restart_log = False
        self._streams: dict[str, _Counts] = {}
        self._next = 1
        try:
            with self._errors():
                self._database = self._open()
                self._count()
        except BaseException:
            held.release()
            raise

    @classmethod
    def create(cls, directory: Path, connect: Connect = sqlite3.connect) -> Part:
        """Make an empty part. `directory` is made with mode 0700 if it is missing."""
        try:
            if not directory.is_dir():
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync_directory(directory.parent)
            while True:
                path = directory / f"{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"
                held = lock.take(lock_of(path), create=True)
                if held is not None:
                    break
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
        held = lock.take(lock_of(path), create=path.exists())
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

    def write(self, batches: Sequence[tuple[str, float, Sequence[PendingRecord]]]) -> list[int]:
        """Write each batch (stream, Unix time of acceptance, records) as a row, and sync. Return their ids.

        All batches are one transaction: if this raises SpoolError, none of them is written.
        """
        encoded = [(stream, accepted, len(items), encode(items)) for stream, accepted, items in batches]
        with self._lock, self._errors():
            self._restart_log_after_error()
            rows = []
            for stream, accepted, count, data in encoded:
                row_id = self._numbered(stream).number << _STREAM_SHIFT | self._next
                self._next += 1
                rows.append((row_id, stream, accepted, count, _crc(row_id, stream, accepted, count, data), data))
            with self._transaction("FULL"):
                self._database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", rows)
            self.syncs += 1
            for stream, _, count, data in encoded:
                counts = self._streams[stream]
                counts.records += count
                counts.bytes += len(data)
            self._note_logged(sum([len(data) + 2 * PAGE_SIZE for *_, data in encoded]))
            return [row[0] for row in rows]

    def answered(self, done: Mapping[int, Flags | None]) -> None:
        """Write answers, in one transaction that is not synced: it survives SIGKILL, but not every power cut.

        done: by row id, None if all records are answered, which deletes the row. Else one byte a record, as in Row.
        A row that is not there any more is left out.
        """
        with self._lock, self._errors():
            self._restart_log_after_error()
            changes: list[tuple[int, int, int]] = []
            with self._transaction("NORMAL"):
                for row_id, flags in done.items():
                    found = self._database.execute(
                        "SELECT records, length(data) FROM rows WHERE id = ?", (row_id,)
                    ).fetchone()
                    if found is None:
                        continue
                    records, size = found
                    before = self._flags(row_id, records)
                    left = records - (before.count(1) if before else 0)
                    if flags is None:
                        self._delete(row_id)
                        changes.append((row_id, left, size))
                    else:
                        checked = (row_id, _crc_of_flags(row_id, flags), flags)
                        self._database.execute("INSERT OR REPLACE INTO answered VALUES (?, ?, ?)", checked)
                        changes.append((row_id, left - (records - flags.count(1)), 0))
            by_number = {each.number: each for each in self._streams.values()}
            for row_id, records, size in changes:
                counts = by_number[row_id >> _STREAM_SHIFT]
                counts.records -= records
                counts.bytes -= size
            self._note_logged(2 * PAGE_SIZE * len(done))
            self._shrink()

    def read(self, stream: str, after: int, max_bytes: int) -> list[Row]:
        """Return rows of the stream with an id above `after`, in order.

        At least one row is returned if there is any, then more until their bytes exceed `max_bytes`. Damaged rows are
        set aside.
        """
        with self._lock, self._errors():
            counts = self._streams.get(stream)
            if counts is None:
                return []
            rows: list[Row] = []
            first = counts.number << _STREAM_SHIFT
            after = max(after, first)
            size = 0
            for found in self._scan(after, first | _SEQUENCE_MASK):
                row = self._checked(found)
                if row is not None:
                    size += len(found[5])
                    if rows and size > max_bytes:
                        break
                    rows.append(row)
            return rows

    def streams(self) -> dict[str, StreamTotals]:
        """Return the totals of each stream that has rows."""
        with self._lock, self._errors():
            totals = {}
            for name, counts in self._streams.items():
                first = counts.number << _STREAM_SHIFT
                oldest = self._database.execute(
                    "SELECT accepted FROM rows WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1",
                    (first, first | _SEQUENCE_MASK),
                ).fetchone()
                if oldest is not None:
                    totals[name] = StreamTotals(counts.records, counts.bytes, oldest[0])
            return totals

    def close(self) -> None:
        """Close the database and release the lock. The files are removed if no row is left, sound or damaged."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            is_empty = False
            try:
                with self._errors():
                    try:
                        is_empty = not self._database.execute(
                            "SELECT EXISTS (SELECT 1 FROM rows) OR EXISTS (SELECT 1 FROM damaged)"
                        ).fetchone()[0]
                    finally:
                        self._database.close()
                    if is_empty:
                        for suffix in ("", "-wal", "-shm"):
                            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            finally:
                self._held.release(remove=is_empty)

    def abandon(self) -> None:
        """Leave the part to the parent, in a forked child.

        SQLite must not see an inherited connection again, not even to close it: that could break the parent's log.
        So the connection is kept for as long as the process lives.
        """
        self._is_closed = True
        _keep_for_ever(self._database)
        self._held.abandon()

    def __repr__(self) -> str:
        return f"Part({str(self.path)!r})"

    def _open(self) -> sqlite3.Connection:
        # SQLite would make the file with the umask's mode.
        os.close(open_private(str(self.path), os.O_RDWR | os.O_CREAT))
        database = self._connect(str(self.path), timeout=5, isolation_level=None, check_same_thread=False)
        try:
            database.text_factory = bytes
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > _SCHEMA_VERSION:
                raise SpoolError(f"{self.path}: written by a newer kplpy (version {version} of its tables)")
            if not version:
                database.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            database.execute("PRAGMA journal_mode = WAL")
            # The thread that writes copies the log into the database, and sees errors that SQLite would hide.
            database.execute("PRAGMA wal_autocheckpoint = 0")
            database.execute(f"PRAGMA journal_size_limit = {2 * CHECKPOINT_BYTES}")
            database.execute("PRAGMA temp_store = MEMORY")
            if not version:
                database.executescript(
                    f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
                    f"PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
                )
        except BaseException:
            database.close()
            raise
        return database

    def _count(self) -> None:
        """Find the streams, and count their rows."""
        self._streams = {}
        found = self._database.execute(
            "SELECT id >> 40, SUM(records), SUM(length(data)), MAX(id & 0xFFFFFFFFFF) FROM rows GROUP BY id >> 40"
        ).fetchall()
        for number, records, size, last in found:
            counts = _Counts(number)
            counts.records, counts.bytes = records, size
            self._streams[self._name(number)] = counts
            self._next = max(self._next, last + 1)
        by_number = {each.number: each for each in self._streams.values()}
        for row_id, count in self._database.execute(
            "SELECT answered.id, records FROM answered JOIN rows USING (id)"
        ).fetchall():
            flags = self._flags(row_id, count)
            if flags is not None:
                by_number[row_id >> _STREAM_SHIFT].records -= flags.count(1)

    def _name(self, number: int) -> str:
        """Return the name of the stream with the number: that of its first sound row."""
        first = number << _STREAM_SHIFT
        name = ""
        for found in self._database.execute(
            "SELECT id, stream, accepted, records, crc32, data FROM rows WHERE id BETWEEN ? AND ? ORDER BY id",
            (first, first | _SEQUENCE_MASK),
        ):
            try:
                return _row_of(found, None).stream
            except DamagedRowError:
                name = name or f"damaged {number}"
        return name

    def _numbered(self, stream: str) -> _Counts:
        counts = self._streams.get(stream)
        if counts is None:
            number = max([each.number for each in self._streams.values()], default=-1) + 1
            counts = self._streams[stream] = _Counts(number)
        return counts

    def _scan(self, after: int, last: int) -> Iterator[Any]:
        yield from self._database.execute(
            "SELECT id, stream, accepted, records, crc32, data FROM rows WHERE id > ? AND id <= ? ORDER BY id",
            (after, last),
        )

    def _checked(self, found: tuple[Any, ...]) -> Row | None:
        """Return the row if it is sound; else set it aside."""
        try:
            return _row_of(found, self._flags(found[0], found[3]))
        except DamagedRowError as error:
            self._set_aside(found[0], str(error))
            return None

    def _flags(self, row_id: int, records: int) -> Flags | None:
        """Return the row's answers. None if there are none, or if they are damaged: then the records are sent again."""
        found = self._database.execute("SELECT crc32, flags FROM answered WHERE id = ?", (row_id,)).fetchone()
        if found is None:
            return None
        crc, flags = found
        if not isinstance(flags, bytes) or len(flags) != records or crc != _crc_of_flags(row_id, flags):
            return None
        return flags

    def _set_aside(self, row_id: int, reason: str) -> None:
        with self._transaction("FULL"):
            self._database.execute(
                "INSERT OR REPLACE INTO damaged SELECT id, ?, stream, accepted, records, crc32, data FROM rows "
                "WHERE id = ?",
                (reason, row_id),
            )
            self._delete(row_id)
        self.damaged.append(f"{self.path}: row {row_id}: {reason}")

    def _delete(self, row_id: int) -> None:
        self._database.execute("DELETE FROM rows WHERE id = ?", (row_id,))
        self._database.execute("DELETE FROM answered WHERE id = ?", (row_id,))

    @contextmanager
    def _transaction(self, synchronous: str) -> Iterator[None]:
        self._database.execute(f"PRAGMA synchronous = {synchronous}")
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            self._must_restart_log = True
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise

    def _restart_log_after_error(self) -> None:
        """Copy the log into the database and begin a new log, if a transaction failed.

        A kernel whose fsync fails may forget what was not written, and succeed the next time. The log would then have
        a hole, behind which everything is cut.
        """
        if self._must_restart_log:
            self._checkpoint("TRUNCATE")
            self._must_restart_log = False

    def _note_logged(self, size: int) -> None:
        self._logged += size
        if self._logged >= CHECKPOINT_BYTES:
            try:
                self._checkpoint("PASSIVE")
            except sqlite3.Error:  # what was written is in the log
                self._must_restart_log = True

    def _checkpoint(self, mode: str) -> None:
        self._database.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self._logged = 0

    def _shrink(self) -> None:
        """Rewrite the database without its free pages, if they are most of it."""
        free = self._database.execute("PRAGMA freelist_count").fetchone()[0] * PAGE_SIZE
        if free >= SHRINK_BYTES and free > 3 * self.bytes:
            self._database.execute("VACUUM")
            self._checkpoint("TRUNCATE")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise SpoolError, with the file's name, for an error of SQLite or of the system."""
        try:
            yield
        except sqlite3.Error as error:
            raise SpoolError(f"{self.path}: {error}") from error
        except OSError as error:
            raise SpoolError(f"{error.filename or self.path}: {error.strerror or error}") from error


def lock_of(path: Path) -> Path:
    """Return the lock file of a part."""
    return path.with_suffix(".lock")


def _crc(row_id: int, stream: str, accepted: float, records: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(_CHECKED.pack(row_id, accepted, records) + stream.encode()))


def _crc_of_flags(row_id: int, flags: bytes) -> int:
    return zlib.crc32(flags, row_id & 0xFFFF_FFFF)


def _row_of(found: tuple[Any, ...], answered: bytes | None) -> Row:
    row_id, name, accepted, count, crc, data = found
    stream = ""
    try:
        stream = name.decode()
        is_sound = crc == _crc(row_id, stream, accepted, count, data)
    except (AttributeError, TypeError, UnicodeDecodeError, struct.error):  # damage can change a value's type, too
        is_sound = False
    if not is_sound:
        raise DamagedRowError("its checksum does not match")
    return Row(row_id, stream, accepted, decode(data), answered)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_for_ever(connection: sqlite3.Connection) -> None:
    """Keep the object until the process is gone, also when the interpreter ends."""
    _abandoned.append(connection)
    with suppress(ImportError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
