"""Damage: whichever byte changes, sound rows come back, and each row that does not is reported."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.errors import SpoolError
from kplpy.spool.directory import adopt_dead, list_parts
from kplpy.spool.part import Part, Row

PAGE = 512


class SmallPages(sqlite3.Connection):
    """Makes databases of small pages, so that few bytes have all kinds of pages. Syncs nothing, which is faster."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        sql = sql.replace("page_size = 4096", f"page_size = {PAGE}")
        return super().execute("PRAGMA synchronous = OFF" if "synchronous" in sql else sql, *values)


def connect(path: str, **options: Any) -> sqlite3.Connection:
    return sqlite3.connect(path, factory=SmallPages, **options)


def record(data: bytes) -> PendingRecord:
    made = PendingRecord()
    made.data, made.partition_key, made.explicit_hash_key, made.hash_key = data, "key", None, NO_HASH_KEY
    return made


def adopt(directory: Path) -> list[Part]:
    parts = [Part.adopt(found.path, connect) for found in list_parts(directory)]
    return [part for part in parts if part is not None]


def make(directory: Path) -> tuple[Path, dict[int, Row]]:
    """Make a part with a row that is partly answered, and free pages. Return its path and its rows."""
    part = Part.create(directory, connect)
    ids = part.write([("a", 1.0 + each, [record(bytes([each + 1]) * 60), record(b"-")]) for each in range(4)])
    ids += part.write([("b", 7.0, [record(b"long" * 160)]), ("b", 8.0, [record(b"end")])])
    deleted = part.write([("a", 9.0, [record(b"deleted" * 80)])])
    part.answered({ids[1]: b"\0\1", ids[0]: None, deleted[0]: None})
    rows = {row.id: row for name in "ab" for row in part.read(name, 0, 1 << 20)}
    part.close()
    return part.path, rows


def drain(directory: Path) -> tuple[dict[int, Row], list[str]]:
    """Take over what is there until nothing comes. Return the rows and the reported damage."""
    rows: dict[int, Row] = {}
    reported: list[str] = []
    for _ in range(4):
        news = len(rows), len(reported)
        for part in adopt(directory):
            found = [row for name in part.streams() for row in part.read(name, 0, 1 << 20)]
            rows |= {row.id: row for row in found}
            part.answered(dict.fromkeys(row.id for row in found))
            part.close()
            reported += part.damaged
        if news == (len(rows), len(reported)):
            return rows, reported
    raise AssertionError("more rows each time")


@pytest.mark.parametrize(("checked_bytes", "step"), [(1 << 20, 1), (0, 10)], ids=["small part", "large part"])
def test_any_changed_byte(checked_bytes: int, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kplpy.spool.part.PAGE_SIZE", PAGE)
    path, rows = make(tmp_path / "made")
    monkeypatch.setattr("kplpy.spool.part.CHECKED_BYTES", checked_bytes)
    sound = path.read_bytes()
    # Each byte that is not zero, and some of the zeros, most of which are unused.
    places = [place for place in range(len(sound)) if sound[place] or place % 16 == 0][::step]
    directory = tmp_path / "spool"
    directory.mkdir()
    lost = without_answers = 0
    for place in places:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        (directory / path.name).write_bytes(damaged)
        found, reported = drain(directory)
        where = f"byte {place % PAGE} of page {place // PAGE + 1}: {reported}"
        assert found.keys() <= rows.keys(), where
        missing = rows.keys() - found.keys()
        assert len(missing) <= min(1, len(reported)), where
        for row_id, row in found.items():
            if row != rows[row_id]:
                assert row == Row(*rows[row_id][:-1], None), where
                without_answers += 1
        lost += len(missing)
        for file in directory.iterdir():
            file.unlink()
    assert lost > len(places) // 5  # the changes did reach the rows
    assert without_answers < 40


def test_a_part_that_is_no_database_is_kept_and_named(tmp_path: Path) -> None:
    path = tmp_path / "1-2.spool"
    path.write_bytes(b"something else" * 1000)
    (part,) = adopt(tmp_path)
    assert part.streams() == {}
    assert part.damaged[0].startswith(f"{tmp_path}/1-2.spool.damaged: file is not a database")
    part.close()
    assert [each.name for each in tmp_path.iterdir()] == ["1-2.spool.damaged"]


def test_a_damaged_header_loses_nothing_of_the_log(tmp_path: Path) -> None:
    part = Part.create(tmp_path)
    ids = part.write([("a", 1.0, [record(b"1" * 5000)])])
    with sqlite3.connect(part.path) as other:  # the rows so far go to the database
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    other.close()
    ids += part.write([("a", 2.0, [record(b"2" * 5000)])])
    files = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert len(files[f"{part.path.name}-wal"]) > 5000
    damaged = tmp_path / "copy"
    damaged.mkdir()
    for name, content in files.items():
        if name.endswith((".spool", "-wal")):
            (damaged / name).write_bytes(b"\0" * 100 + content[100:] if name.endswith(".spool") else content)
    part.close()
    (found,) = adopt(damaged)
    assert [row.id for row in found.read("a", 0, 1 << 20)] == ids
    assert found.damaged or found.records == 2
    found.close()


def test_a_newer_part_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "1-2.spool"
    with sqlite3.connect(path) as newer:
        newer.execute("CREATE TABLE something (id)")
        newer.execute("PRAGMA user_version = 2")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(SpoolError, match="written by a newer kplpy"):
        adopt(tmp_path)
    assert path.read_bytes() == before
    unreadable: list[SpoolError] = []
    assert adopt_dead(tmp_path, unreadable) == []
    assert [str(path) in str(each) for each in unreadable] == [True]
