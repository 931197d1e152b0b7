"""Disk trouble: a write that fails says why and writes nothing, and the part works again when the disk does."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.errors import KplpyError, SpoolError
from kplpy.spool.part import Part
from tests.small_disk import fill, small_disk


def record(data: bytes) -> PendingRecord:
    made = PendingRecord()
    made.data, made.partition_key, made.explicit_hash_key, made.hash_key = data, "key", None, NO_HASH_KEY
    return made


class Failing(sqlite3.Connection):
    """Fails like a broken disk when a statement begins with `failing`."""

    failing: str | None = None
    statements: list[str]

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        type(self).statements.append(sql)
        if self.failing is not None and sql.startswith(self.failing):
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *values)


def failing_part(directory: Path) -> tuple[Part, type[Failing]]:
    class Disk(Failing):
        statements: list[str] = []  # noqa: RUF012

    return Part.create(directory, lambda path, **options: sqlite3.connect(path, factory=Disk, **options)), Disk


@pytest.mark.parametrize("statement", ["PRAGMA synchronous", "BEGIN", "INSERT", "COMMIT"])
def test_an_io_error_writes_nothing(statement: str, tmp_path: Path) -> None:
    part, disk = failing_part(tmp_path)
    (first,) = part.write([("a", 1.0, [record(b"1")])])
    disk.failing = statement
    with pytest.raises(SpoolError, match=f"{part.path}: disk I/O error") as raised:
        part.write([("a", 2.0, [record(b"2")]), ("b", 2.0, [record(b"3")])])
    assert isinstance(raised.value, KplpyError)
    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    disk.failing = None
    assert [row.id for row in part.read("a", 0, 1000)] == [first]
    assert (part.records, part.syncs, part.damaged) == (1, 1, [])
    (fourth,) = part.write([("a", 3.0, [record(b"4")])])
    assert [row.id for row in part.read("a", 0, 1000)] == [first, fourth]
    part.close()


def test_after_a_failed_sync_the_log_begins_again(tmp_path: Path) -> None:
    part, disk = failing_part(tmp_path)
    disk.failing = "COMMIT"
    with pytest.raises(SpoolError):
        part.write([("a", 1.0, [record(b"1")])])
    # The kernel may have dropped what it could not write, so everything goes to the database first.
    disk.failing = "PRAGMA wal_checkpoint"
    with pytest.raises(SpoolError, match="disk I/O error"):
        part.write([("a", 1.0, [record(b"1")])])
    disk.failing = None
    disk.statements.clear()
    part.write([("a", 1.0, [record(b"1")])])
    assert disk.statements[0] == "PRAGMA wal_checkpoint(TRUNCATE)"
    part.write([("a", 1.0, [record(b"1")])])
    assert disk.statements.count("PRAGMA wal_checkpoint(TRUNCATE)") == 1
    part.close()


def test_answers_are_refused_and_accepted_again(tmp_path: Path) -> None:
    part, disk = failing_part(tmp_path)
    (row,) = part.write([("a", 1.0, [record(b"1")])])
    disk.failing = "COMMIT"
    with pytest.raises(SpoolError):
        part.answered({row: None})
    assert part.records == 1
    disk.failing = None
    part.answered({row: None})
    assert part.records == 0
    part.close()


def test_a_checkpoint_that_fails_does_not_fail_the_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kplpy.spool.database.CHECKPOINT_BYTES", 1)
    part, disk = failing_part(tmp_path)
    disk.failing = "PRAGMA wal_checkpoint(PASSIVE)"
    (row,) = part.write([("a", 1.0, [record(b"1")])])
    assert [each.id for each in part.read("a", 0, 1000)] == [row]
    disk.failing = None
    part.close()


def test_a_sector_that_cannot_be_read_costs_only_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, disk = failing_part(tmp_path)
    ids = part.write([("a", 1.0, [record(bytes([each]) * 9000)]) for each in range(3)])
    part.close()  # all is in the database now
    bad = part.path.read_bytes().index(b"\1" * 3000)
    adopted = Part.adopt(part.path, lambda path, **options: sqlite3.connect(path, factory=disk, **options))
    assert adopted is not None

    def pread(file: int, size: int, place: int, read: Any = os.pread) -> bytes:
        if place <= bad < place + size:
            raise OSError(5, "Input/output error")
        return bytes(read(file, size, place))

    monkeypatch.setattr(os, "pread", pread)
    disk.failing = "SELECT id, stream"
    with pytest.raises(SpoolError):  # the test's connection fails for the copy, too
        adopted.read("a", 0, 1 << 20)
    disk.failing = None
    assert [row.id for row in adopted.read("a", 0, 1 << 20)] == [ids[0], ids[2]]
    assert "disk I/O error" in adopted.damaged[0]
    assert f"row {ids[1]}" in adopted.damaged[1]
    adopted.close()


def test_a_full_disk(tmp_path: Path) -> None:
    directory = tmp_path / "disk"
    directory.mkdir()
    with small_disk(directory, 1024):
        part = Part.create(directory)
        (first,) = part.write([("a", 1.0, [record(b"1" * 1000)])])
        fill(directory / "filler")
        with pytest.raises(SpoolError, match=r"\.spool: (database or disk is full|disk I/O error)"):
            part.write([("a", 2.0, [record(b"2" * 100_000)])])
        assert part.read("a", 0, 1 << 20)[0].id == first
        (directory / "filler").unlink()
        (third,) = part.write([("a", 3.0, [record(b"3" * 100_000)])])
        assert [row.id for row in part.read("a", 0, 1 << 20)] == [first, third]
        part.answered({first: None, third: None})
        part.close()
        assert list(directory.iterdir()) == []
        fill(directory / "filler")
        with pytest.raises(SpoolError, match=f"^{directory}"):
            Part.create(directory).write([("a", 1.0, [record(bytes(10_000))])])


def test_a_directory_that_cannot_be_made_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpoolError, match="Not a directory") as raised:
        Part.create(tmp_path / "file" / "spool")
    assert isinstance(raised.value.__cause__, OSError)
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(SpoolError, match="Permission denied"):
            Part.create(tmp_path)
        tmp_path.chmod(0o700)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    part = Part.create(tmp_path / "spool")
    part.write([("a", 1.0, [record(b"1")])])
    part.close()
    link = tmp_path / "1-2.spool"
    link.symlink_to(part.path)
    with pytest.raises(SpoolError, match="symbolic link"):
        Part.adopt(link)


def test_a_closed_part_refuses(tmp_path: Path) -> None:
    part = Part.create(tmp_path)
    part.close()
    part.close()
    with pytest.raises(SpoolError, match="closed"):
        part.read("a", 0, 1)
