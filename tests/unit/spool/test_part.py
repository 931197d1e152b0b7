"""Part: rows come back as they were written, in order, until they are answered."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.spool.directory import adopt_dead, list_parts
from kplpy.spool.part import Part, StreamTotals
from tests.inside import lock_guard_held

# Python 3.12 and later warn of a fork in a process with threads, which is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def record(data: bytes, key: str = "k", hash_key: str | None = None) -> PendingRecord:
    made = PendingRecord()
    made.data, made.partition_key, made.explicit_hash_key, made.hash_key = data, key, hash_key, NO_HASH_KEY
    return made


def test_rows_come_back_in_order_and_by_stream(tmp_path: Path) -> None:
    part = Part.create(tmp_path / "spool")
    a1, b1 = part.write([("a", 1.5, [record(b"1"), record(b"2", "x", "17")]), ("b", 2.5, [record(b"3")])])
    (a2,) = part.write([("a", 3.5, [record(b"4")])])
    rows = part.read("a", 0, 1000)
    assert [row.id for row in rows] == [a1, a2]
    assert rows[0].records == [(b"1", "k", None, b""), (b"2", "x", "17", b"")]
    assert rows[0].accepted == 1.5
    assert rows[0].answered is None
    assert rows[0].stream == "a"
    assert [row.id for row in part.read("a", a1, 1000)] == [a2]
    assert [row.id for row in part.read("b", 0, 1)] == [b1]
    assert part.read("c", 0, 1) == []
    assert part.syncs == 2
    part.close()


def test_a_read_ends_at_max_bytes(tmp_path: Path) -> None:
    part = Part.create(tmp_path)
    ids = [part.write([("a", 0.0, [record(bytes(100))])])[0] for _ in range(5)]
    assert [row.id for row in part.read("a", 0, 1)] == ids[:1]
    assert [row.id for row in part.read("a", ids[0], 250)] == ids[1:3]
    part.close()


def test_answered_rows_are_deleted_and_counts_are_exact(tmp_path: Path) -> None:
    part = Part.create(tmp_path)
    first, second = part.write([("a", 1.0, [record(b"1"), record(b"2")]), ("a", 2.0, [record(b"3")])])
    size = part.bytes
    part.answered({first: b"\1\0"})
    assert part.records == 2
    assert part.bytes == size
    assert part.read("a", 0, 1)[0].answered == b"\1\0"
    assert part.streams() == {"a": StreamTotals(2, size, 1.0)}
    part.answered({first: None, 12345: None})
    assert part.records == 1
    assert 0 < part.bytes < size
    assert part.streams()["a"].oldest == 2.0
    part.answered({second: None})
    assert part.records == part.bytes == 0
    assert part.streams() == {}
    part.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_is_taken_over(tmp_path: Path) -> None:
    part = Part.create(tmp_path)
    first, _ = part.write([("a", 1.0, [record(b"1"), record(b"2")]), ("b", 2.0, [record(b"3")])])
    part.answered({first: b"\0\1"})
    totals = part.streams()
    assert Part.adopt(part.path) is None
    assert adopt_dead(tmp_path) == []
    part.close()
    assert [each.holder for each in list_parts(tmp_path)] == [None]
    (adopted,) = adopt_dead(tmp_path)
    assert adopted.path == part.path
    assert adopted.streams() == totals
    assert adopted.read("a", 0, 1)[0].answered == b"\0\1"
    (third,) = adopted.write([("a", 3.0, [record(b"4")])])
    assert [row.id for row in adopted.read("a", 0, 1000)] == [first, third]
    adopted.close()


def test_files_are_for_their_user_alone(tmp_path: Path) -> None:
    part = Part.create(tmp_path / "a" / "b")
    part.write([("a", 1.0, [record(b"1")])])
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    files = list((tmp_path / "a" / "b").iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    part.close()


def test_a_gone_part_is_not_adopted(tmp_path: Path) -> None:
    assert Part.adopt(tmp_path / "1-2.spool") is None
    assert list(tmp_path.iterdir()) == []


def test_a_child_can_lock_a_part_while_the_parent_does(tmp_path: Path) -> None:
    with lock_guard_held():
        child = os.fork()
        if not child:
            signal.alarm(10)
            Part.create(tmp_path).close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_waits_until_no_thread_is_in_sqlite(tmp_path: Path) -> None:
    began, ended = threading.Event(), threading.Event()

    def slow(*args: Any, **fields: Any) -> Any:
        began.set()
        time.sleep(0.2)
        ended.set()
        return sqlite3.connect(*args, **fields)

    opening = threading.Thread(target=lambda: Part.create(tmp_path, slow).close())
    opening.start()
    assert began.wait(10)
    child = os.fork()
    if not child:
        os._exit(0 if ended.is_set() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    opening.join()
