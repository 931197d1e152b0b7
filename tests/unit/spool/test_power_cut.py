"""Power cuts: a model of the file system drops or tears whatever was not synced.

A shim below SQLite records each write, truncation and sync of the database and its log. After each of them the power
may be cut. Then each file has what was synced, and any part of what was not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import apsw
import pytest

from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.spool.part import Part, Row
from kplpy.spool.rows import StoredRecord


class Change(NamedTuple):
    """A change of a file. data: the bytes written at `at`; None: the file was cut to the size `at`."""

    file: str
    at: int
    data: bytes | None


class Sync(NamedTuple):
    file: str


class Returned(NamedTuple):
    """A call of the part returned. call: its index in the history."""

    call: int


class Began(NamedTuple):
    call: int


Event = Change | Sync | Began | Returned
Files = dict[str, bytes]


class Disk(apsw.VFS):
    """Passes everything to the operating system, and records it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        super().__init__("recording disk", "")

    def xOpen(self, name: Any, flags: list[int]) -> RecordedFile:
        return RecordedFile(self, name, flags)


class RecordedFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self.events = disk.events
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self.name = path[path.rindex(".spool") :]  # ".spool" or ".spool-wal"
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.events.append(Change(self.name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        self.events.append(Change(self.name, size, None))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        self.events.append(Sync(self.name))
        super().xSync(flags)


class Connection:
    """As much of sqlite3.Connection as a part uses, with pages of 512 bytes."""

    def __init__(self, path: str) -> None:
        self.text_factory: type = bytes
        self._apsw = apsw.Connection(path, vfs="recording disk")
        self._apsw.row_trace = lambda _, row: tuple(v.encode() if isinstance(v, str) else v for v in row)
        self._apsw.execute("PRAGMA locking_mode = EXCLUSIVE")  # the shim has no shared memory

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> apsw.Cursor:
        return self._apsw.execute(sql.replace("page_size = 4096", "page_size = 512"), values)

    def close(self) -> None:
        self._apsw.close()


def record(data: bytes) -> PendingRecord:
    made = PendingRecord()
    made.data, made.partition_key, made.explicit_hash_key, made.hash_key = data, "key", None, NO_HASH_KEY
    return made


class History:
    """What happened to a part: the events on its disk, and what each call wrote or answered.

    before: the files after the part was made.
    written: by call, the rows and their records.
    answers: by call, the rows and their answers.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        disk = Disk()
        self.written: dict[int, dict[int, list[StoredRecord]]] = {}
        self.answers: dict[int, dict[int, bytes | None]] = {}
        self._calls = 0
        self.part = Part.create(directory, lambda path, **_: Connection(path))  # type: ignore[arg-type]
        self.before = {
            file.name[file.name.rindex(".spool") :]: file.read_bytes() for file in directory.glob("*.spool*")
        }
        self.events = disk.events
        self.events.clear()
        first, second = self.write(("a", b"1", b"2")), self.write(("a", b"long" * 120), ("b", b"3"))
        self.answer({first[0]: b"\0\1"})
        self.answer({second[0]: None})
        third = self.write(("a", b"4"))
        monkeypatch.setattr("kplpy.spool.database.CHECKPOINT_BYTES", 1)
        self.answer({first[0]: None})  # and the log goes to the database
        monkeypatch.undo()
        self.write(("b", b"5" * 300))  # at the beginning of the log
        self.answer({third[0]: None, second[1]: None})
        self.write(("c", b"6"))

    def write(self, *batches: Any) -> list[int]:
        self.events.append(Began(self._calls))
        ids = self.part.write([(stream, 1.0, [record(each) for each in data]) for stream, *data in batches])
        self.written[self._calls] = {
            row_id: [(each, "key", None, b"") for each in data] for row_id, (_, *data) in zip(ids, batches, strict=True)
        }
        self._return()
        return ids

    def answer(self, done: dict[int, bytes | None]) -> None:
        self.events.append(Began(self._calls))
        self.part.answered(done)
        self.answers[self._calls] = done
        self._return()

    def _return(self) -> None:
        self.events.append(Returned(self._calls))
        self._calls += 1

    def check(self, end: int, rows: dict[int, Row]) -> None:
        """Fail if the rows are not what may be left when the power is cut after `end` events."""
        began = [each.call for each in self.events[:end] if isinstance(each, Began)]
        returned = [each.call for each in self.events[:end] if isinstance(each, Returned)]
        synced = max([call for call in returned if call in self.written], default=-1)
        content = {row_id: data for call in began for row_id, data in self.written.get(call, {}).items()}
        assert {row_id: row.records for row_id, row in rows.items()}.items() <= content.items()
        for call in began:
            asked = [row_id for later in began for row_id in self.answers.get(later, {})]
            untouched = [row_id in rows for row_id in self.written.get(call, {}) if row_id not in asked]
            assert all(untouched) if call in returned else len(set(untouched)) <= 1
        for row_id, data in content.items():
            given = [(call, self.answers[call][row_id]) for call in began if row_id in self.answers.get(call, {})]
            is_stored = any(row_id in self.written.get(call, {}) for call in returned)
            may_be = [flags for call, flags in given if call > synced]  # answers that may be lost
            must_be = [flags for call, flags in given if call <= synced][-1:]
            if row_id in rows:
                assert rows[row_id].answered in [*(must_be or [None]), *(each for each in may_be if each)]
                assert must_be != [None]
                assert len(rows[row_id].records) == len(data)
            elif is_stored:
                assert None in must_be + may_be


def apply(files: Files, changes: Sequence[Change]) -> Files:
    after = dict(files)
    for file, at, data in changes:
        old = after.get(file, b"")
        if data is None:
            after[file] = old[:at].ljust(at, b"\0")
        else:
            after[file] = old[:at].ljust(at, b"\0") + data + old[at + len(data) :]
    return after


def crashes(history: History) -> Iterator[tuple[int, Files]]:
    """Yield what may be on the disk after each event: all combinations for few unsynced changes, else some."""
    random = Random(16)
    durable = history.before
    pending: list[Change] = []
    for end, event in enumerate(history.events, 1):
        if isinstance(event, Sync):
            durable = apply(durable, [each for each in pending if each.file == event.file])
            pending = [each for each in pending if each.file != event.file]
        elif isinstance(event, Change):
            for kept in torn(event):  # each byte of each write, behind all the writes before
                yield end, apply(durable, [*pending, kept])
            pending.append(event)
        for bits in (
            range(1 << len(pending)) if len(pending) <= 5 else [random.getrandbits(len(pending)) for _ in range(40)]
        ):
            kept_changes = [each for index, each in enumerate(pending) if bits >> index & 1]
            yield end, apply(durable, kept_changes)
            if kept_changes:  # and one of them in part
                index = random.randrange(len(kept_changes))
                kept_changes[index] = random.choice(list(torn(kept_changes[index])) or [kept_changes[index]])
                yield end, apply(durable, kept_changes)


def torn(change: Change) -> Iterator[Change]:
    """Yield what may be written of a change: each byte of a header, and every 32nd of a page."""
    data = change.data or b""
    for size in range(0, len(data), 32 if len(data) > 32 else 1):
        yield Change(change.file, change.at, data[:size])


class Unsynced(sqlite3.Connection):
    """Syncs nothing, which is faster."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return super().execute("PRAGMA synchronous = OFF" if "synchronous" in sql else sql, *values)


def rows_of(files: Files, directory: Path) -> dict[int, Row]:
    """Take over a part with these files, and return its rows."""
    for name, content in files.items():
        (directory / f"1-2{name}").write_bytes(content)
    part = Part.adopt(
        directory / "1-2.spool", lambda path, **options: sqlite3.connect(path, factory=Unsynced, **options)
    )
    assert part is not None
    rows = {row.id: row for name in part.streams() for row in part.read(name, 0, 1 << 20)}
    assert part.records == sum(len(row.records) - (row.answered or b"").count(1) for row in rows.values())
    assert part.damaged == []
    part.close()
    for file in directory.iterdir():
        file.unlink()
    return rows


def test_power_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(tmp_path / "made", monkeypatch)
    directory = tmp_path / "spool"
    directory.mkdir()
    seen: dict[tuple[tuple[str, bytes], ...], dict[int, Row]] = {}
    for end, files in crashes(history):
        state = tuple(sorted(files.items()))
        if state not in seen:
            seen[state] = rows_of(files, directory)
        history.check(end, seen[state])
    assert len(seen) > 500
    assert {len(rows) for rows in seen.values()} == {0, 1, 2, 3}
