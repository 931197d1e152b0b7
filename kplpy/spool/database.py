"""Database: the SQLite database of one part, in WAL mode."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kplpy.errors import SpoolError
from kplpy.private_files import open_private

PAGE_SIZE = 4096
"""Bytes of a page.

A commit of a 7 KB row writes 5.9 times its bytes, of a 58 KB row 2.4 times. With 16 KiB it is 11.8 and 4.0 times, with
32 KiB 14.2 and 5.7 times. CPU time does not depend on it: 0.26 ms and 0.54 ms a commit (2 cores, SQLite 3.40).
"""
CHECKPOINT_BYTES = 16 << 20
"""Bytes in the log from which they are copied into the database."""
SHRINK_BYTES = 64 << 20
"""Free bytes in the database from which it is rewritten without them, if they are nearly all of it."""
SHRINK_USED = 4 << 20
"""Bytes of the rows at which the database may be rewritten."""

TABLES = {
    "rows": "CREATE TABLE rows (id INTEGER PRIMARY KEY, stream TEXT, accepted REAL, records INTEGER, crc32 INTEGER, "
    "data BLOB)",
    "answered": "CREATE TABLE answered (id INTEGER PRIMARY KEY, crc32 INTEGER, flags BLOB)",
    "damaged": "CREATE TABLE damaged (id INTEGER PRIMARY KEY, stream TEXT, accepted REAL, records INTEGER, "
    "crc32 INTEGER, data BLOB, reason TEXT)",
}
_SCHEMA = [(name.encode(), page, sql.encode()) for page, (name, sql) in enumerate(TABLES.items(), 2)]
_APPLICATION_ID = 0x6B70_6C70  # "kplp"
_VERSION = 1
# Python before 3.11 does not tell SQLite's codes. Other texts of OperationalError mean that the contents are not those
# that kplpy wrote: tables without their names, or a header that makes a file read-only that could be opened to write.
_DISK_TROUBLE = {
    *("disk I/O error", "database or disk is full", "unable to open database file", "database is locked"),
    *("locking protocol", "access permission denied", "interrupted"),
}

Connect = Callable[..., sqlite3.Connection]

_abandoned: list[sqlite3.Connection] = []


class DamagedDatabaseError(Exception):
    """The file is not a part's database as SQLite and kplpy write it."""


class Database:
    """The database of one part. Its Part calls it from one thread at a time.

    Methods raise sqlite3.Error, and DamagedDatabaseError where the contents, and not the disk, prevent the work.

    syncs: transactions that were synced.
    """

    def __init__(self, path: Path, connect: Connect, *, read_only: bool = False) -> None:
        """Open the file, or make it for its user alone (mode 0600).

        read_only: nothing is made or changed, and only execute(), select(), check() and close() may be called.
        """
        self.path = path
        self.syncs = 0
        self._logged = 0  # bytes in the log, about
        self._must_restart_log = False
        self._shrink_from = SHRINK_BYTES
        name = f"{path.absolute().as_uri()}?mode=ro" if read_only else str(path)
        if not read_only:
            os.close(open_private(name, os.O_RDWR | os.O_CREAT))  # SQLite would use the umask's mode
        self._connection = connect(name, timeout=5, isolation_level=None, check_same_thread=False, uri=read_only)
        self._connection.text_factory = bytes
        try:
            with damage():
                is_new = self._check_tables()
                if not read_only:
                    self._prepare(is_new)
        except BaseException:
            self._connection.close()
            raise

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run the statement and return all its rows. Text is bytes."""
        with damage():
            return self._connection.execute(sql, values).fetchall()

    def select(self, sql: str, values: tuple[Any, ...]) -> Generator[tuple[Any, ...], None, None]:
        """Yield the rows of the statement. Close the iterator before the next transaction."""
        with damage():
            cursor = self._connection.execute(sql, values)
            try:
                yield from cursor
            finally:
                cursor.close()

    @contextmanager
    def transaction(self, *, sync: bool) -> Iterator[None]:
        """Make the block's changes together, or none of them.

        sync: they survive a power cut once the block has ended. Else they survive the end of the process.
        """
        self._restart_log_after_error()
        with damage():
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._must_restart_log = True
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
        self.syncs += sync

    def note_logged(self, size: int) -> None:
        """Count the bytes that a transaction wrote to the log. Copy them into the database when they are many."""
        self._logged += size
        if self._logged >= CHECKPOINT_BYTES:
            try:
                self._checkpoint("PASSIVE")
            except (sqlite3.Error, DamagedDatabaseError):  # what was written is in the log
                self._must_restart_log = True

    def check(self) -> None:
        """Raise DamagedDatabaseError if a page is damaged, or belongs to nothing.

        Free pages are not read, so the check of a large database without rows takes milliseconds.
        """
        faults = self.execute("PRAGMA quick_check(1)")
        if faults != [(b"ok",)]:
            raise DamagedDatabaseError(faults[0][0].decode(errors="replace"))

    def shrink(self, used: int) -> None:
        """Rewrite the database without its free pages if they are nearly all of it. `used`: bytes of the rows.

        SQLite holds the copy of the rows in memory.
        """
        if used > SHRINK_USED:
            return
        free = self.execute("PRAGMA freelist_count")[0][0] * PAGE_SIZE
        if free < self._shrink_from:
            return
        self.check()
        try:
            self.execute("VACUUM")
            self._checkpoint("TRUNCATE")
        except sqlite3.Error:  # the disk is full, for example; the free pages can be used again
            self._shrink_from = 2 * free

    def close(self) -> None:
        self._connection.close()

    def abandon(self) -> None:
        """Keep the connection for as long as the process lives, in a forked child.

        SQLite must not see an inherited connection again, not even to close it: that could break the parent's log.
        """
        _abandoned.append(self._connection)
        with suppress(ImportError):
            import ctypes

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))  # the interpreter's end empties the list

    def _check_tables(self) -> bool:
        """Return True if there are no tables yet."""
        ((version,),) = self.execute("PRAGMA user_version")
        tables = self.execute("SELECT name, rootpage, sql FROM sqlite_master ORDER BY rootpage")
        if not tables and not version:
            return True
        if tables != _SCHEMA:
            if version > _VERSION:
                raise SpoolError(f"{self.path}: written by a newer kplpy (version {version} of its tables)")
            raise DamagedDatabaseError("its tables are not those of a spool")
        return False

    def _prepare(self, is_new: bool) -> None:
        database = self._connection
        if is_new:
            database.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        database.execute("PRAGMA journal_mode = WAL")
        # kplpy copies the log into the database itself, and so sees errors that SQLite would hide.
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute(f"PRAGMA journal_size_limit = {2 * CHECKPOINT_BYTES}")
        database.execute("PRAGMA temp_store = MEMORY")
        if is_new:
            with self.transaction(sync=True):
                for sql in TABLES.values():
                    database.execute(sql)
                database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {_VERSION}")
            self.syncs = 0

    def _restart_log_after_error(self) -> None:
        """Copy the log into the database and begin a new log, if a transaction failed.

        A kernel whose fsync fails may forget what was not written, and succeed the next time. The log would then have
        a hole, behind which everything is cut.
        """
        if self._must_restart_log:
            self._checkpoint("TRUNCATE")
            self._must_restart_log = False

    def _checkpoint(self, mode: str) -> None:
        ((is_busy, _, _),) = self.execute(f"PRAGMA wal_checkpoint({mode})")
        if is_busy and mode == "TRUNCATE":
            raise sqlite3.OperationalError("another process reads the database")
        self._logged = 0


@contextmanager
def damage() -> Iterator[None]:
    """Raise DamagedDatabaseError for the errors by which SQLite reports it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if str(error) not in _DISK_TROUBLE:
            raise DamagedDatabaseError(str(error)) from error
        raise
    except UnicodeDecodeError as error:  # a message that quotes damaged text
        raise DamagedDatabaseError(str(error)) from error
    except sqlite3.DatabaseError as error:
        # The class itself stands for SQLITE_CORRUPT and SQLITE_NOTADB. IntegrityError: an id that should be free.
        if type(error) is sqlite3.DatabaseError or isinstance(error, sqlite3.IntegrityError):
            raise DamagedDatabaseError(str(error)) from error
        raise
