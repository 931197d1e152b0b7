"""Looks at parts without changing them, also at those that a process uses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from kplpy.errors import SpoolError
from kplpy.spool.database import DamagedDatabaseError, Database
from kplpy.spool.part import Row, StreamTotals, answers_of, row_of
from kplpy.spool.rows import DamagedRowError


def totals_of(path: Path) -> dict[str, StreamTotals]:
    """Return the totals of each stream of the part. Reads no record.

    Raises SpoolError if the part cannot be read.
    """
    totals: dict[str, StreamTotals] = {}
    with (
        _reading(path) as database,
        closing(
            database.select("SELECT id, stream, accepted, records, length(data) FROM rows ORDER BY id", ())
        ) as selected,
    ):
        for row_id, name, accepted, records, size in selected:
            answered = (answers_of(database, row_id, records) or b"").count(1)
            stream = name.decode(errors="replace")
            before = totals.get(stream, StreamTotals(0, 0, accepted))
            totals[stream] = StreamTotals(before.records + records - answered, before.bytes + size, before.oldest)
    return totals


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the sound rows of the part: one stream after the other, each in the order of acceptance.

    Raises SpoolError if the part cannot be read. Rows before the damage have come by then.
    """
    with (
        _reading(path) as database,
        closing(
            database.select("SELECT id, stream, accepted, records, crc32, data FROM rows ORDER BY id", ())
        ) as selected,
    ):
        for found in selected:
            with suppress(DamagedRowError):
                row = row_of(found)
                yield row._replace(answered=answers_of(database, row.id, len(row.records)))


def faults_of(path: Path) -> list[str]:
    """Return what is damaged: each row that was set aside or is not as it was written, and the first bad page."""
    faults = []
    try:
        with _reading(path) as database:
            for row_id, reason in database.execute("SELECT id, reason FROM damaged ORDER BY id"):
                faults.append(f"row {row_id} was set aside: {reason.decode(errors='replace')}")
            database.check()
            with closing(
                database.select("SELECT id, stream, accepted, records, crc32, data FROM rows ORDER BY id", ())
            ) as selected:
                for found in selected:
                    try:
                        row_of(found)
                    except DamagedRowError as error:
                        faults.append(f"row {found[0]}: {error}")
    except SpoolError as error:
        faults.append(str(error).removeprefix(f"{path}: "))
    return faults


@contextmanager
def _reading(path: Path) -> Iterator[Database]:
    try:
        with closing(Database(path, sqlite3.connect, read_only=True)) as database:
            yield database
    except (sqlite3.Error, DamagedDatabaseError) as error:
        raise SpoolError(f"{path}: {error}") from error
    except OSError as error:
        raise SpoolError(f"{path}: {error.strerror or error}") from error
