"""Parts and processes: a killed process loses nothing, and exactly one other takes its part over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.spool.directory import adopt_dead, list_parts
from kplpy.spool.part import Part

PRELUDE = """
import sys, os, time
from pathlib import Path
from kplpy.core.record import NO_HASH_KEY, PendingRecord
from kplpy.spool.directory import adopt_dead
from kplpy.spool.part import Part

def record(data):
    made = PendingRecord()
    made.data, made.partition_key, made.explicit_hash_key, made.hash_key = data, "key", None, NO_HASH_KEY
    return made

directory = Path(sys.argv[1])
"""


def record(data: bytes) -> PendingRecord:
    made = PendingRecord()
    made.data, made.partition_key, made.explicit_hash_key, made.hash_key = data, "key", None, NO_HASH_KEY
    return made


def start(program: str, directory: Path) -> subprocess.Popen[str]:
    """Start a Python process that runs the program with the spool's directory."""
    code = PRELUDE + textwrap.dedent(program)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> str:
    """Let the process go on, and return the rest of its output."""
    output, _ = process.communicate("\n", timeout=30)
    assert process.returncode == 0
    return output.strip()


WRITER = """
    part = Part.create(directory)
    number = 0
    while True:
        (row,) = part.write([("a", time.time(), [record(b"%d" % number)])])
        print(number, flush=True)
        if number % 3 == 0:
            part.answered({row: None})
            print("answered", number, flush=True)
        number += 1
"""


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    for after in (1, 7, 40):
        writer = start(WRITER, tmp_path)
        lines = [line_of(writer) for _ in range(after)]
        assert Part.adopt(next(tmp_path.glob("*.spool"))) is None  # it lives
        writer.kill()
        assert writer.stdout is not None
        lines += writer.stdout.read().splitlines()  # communicate() would miss what was read ahead
        writer.communicate(timeout=30)
        stored = {int(each) for each in lines if each.isdigit()}
        answered = {int(each.split()[1]) for each in lines if each.startswith("answered ")}
        (part,) = adopt_dead(tmp_path)
        rows = part.read("a", 0, 1 << 20)
        found = {int(row.records[0][0]) for row in rows}
        assert stored - answered - found <= {max(stored)}  # the last may be answered already
        assert max(stored) not in stored - answered - found or max(stored) % 3 == 0
        assert not answered & found
        assert found - stored <= {max(stored) + 1}
        part.answered(dict.fromkeys(row.id for row in rows))
        part.close()
        assert list(tmp_path.iterdir()) == []


def test_exactly_one_of_several_takes_a_part_over(tmp_path: Path) -> None:
    writers = [start(WRITER, tmp_path) for _ in range(3)]
    for each in writers:
        assert line_of(each) == "0"
    for each in writers:
        each.send_signal(signal.SIGKILL)
        each.communicate(timeout=30)
    paths = sorted(str(each.path) for each in list_parts(tmp_path))
    assert len(paths) == 3
    takers = [
        start(
            """
            print("ready", flush=True)
            sys.stdin.readline()
            parts = adopt_dead(directory)
            print(*[part.path for part in parts], flush=True)
            sys.stdin.readline()
            """,
            tmp_path,
        )
        for _ in range(4)
    ]
    for each in takers:
        assert line_of(each) == "ready"
    for each in takers:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    taken = [line_of(each).split() for each in takers]  # all of them still hold theirs
    assert sorted(path for paths in taken for path in paths) == paths
    assert {each.holder for each in list_parts(tmp_path)} <= {each.pid for each in takers}
    for each in takers:
        finish(each)
    parts = adopt_dead(tmp_path)
    assert sorted(str(part.path) for part in parts) == paths
    for part in parts:
        part.close()


def test_a_forked_child_leaves_its_parents_part_alone(tmp_path: Path) -> None:
    program = start(
        """
        part = Part.create(directory)
        part.write([("a", 1.0, [record(b"1")])])
        child = os.fork()
        if not child:
            assert adopt_dead(directory) == []
            part.abandon()
            assert adopt_dead(directory) == []
            own = Part.create(directory)
            own.write([("a", 2.0, [record(b"2")])])
            own.close()
            raise SystemExit(0)  # the interpreter's end must not touch the parent's files
        _, status = os.waitpid(child, 0)
        part.write([("a", 3.0, [record(b"3")])])
        rows = part.read("a", 0, 1000)
        print(os.waitstatus_to_exitcode(status), [row.records[0][0] for row in rows], flush=True)
        os.kill(os.getpid(), 9)
        """,
        tmp_path,
    )
    assert line_of(program) == "0 [b'1', b'3']"
    program.communicate(timeout=30)
    parts = adopt_dead(tmp_path)
    rows = [[row.records[0][0] for row in part.read("a", 0, 1000)] for part in parts]
    assert rows == [[b"1", b"3"], [b"2"]]
    for part in parts:
        part.close()


def test_a_child_that_outlives_its_parent_does_not_hold_the_part(tmp_path: Path) -> None:
    program = start(
        """
        part = Part.create(directory)
        part.write([("a", 1.0, [record(b"1")])])
        if not os.fork():
            part.abandon()
            sys.stdin.readline()  # while the parent dies, and another process takes the part over
            raise SystemExit(0)
        print("written", flush=True)
        os.kill(os.getpid(), 9)
        """,
        tmp_path,
    )
    assert line_of(program) == "written"
    program.wait(timeout=30)
    (part,) = adopt_dead(tmp_path)
    (second,) = part.write([("a", 2.0, [record(b"2")])])
    program.communicate("\n", timeout=30)  # the child ends: its end closes what it inherited
    (third,) = part.write([("a", 3.0, [record(b"3")])])
    part.answered({second: None})
    assert [row.records[0][0] for row in part.read("a", 0, 1000)] == [b"1", b"3"]
    part.close()
    (again,) = adopt_dead(tmp_path)
    assert [row.id for row in again.read("a", 0, 1000)][-1] == third
    again.close()


def test_a_lock_without_a_part_is_no_part(tmp_path: Path) -> None:
    (tmp_path / "1-2.lock").write_bytes(b"")
    assert adopt_dead(tmp_path) == []
    assert list_parts(tmp_path) == []


def test_the_holder_is_named(tmp_path: Path) -> None:
    part = Part.create(tmp_path)
    part.write([("a", 1.0, [record(b"1")])])
    assert [each.holder for each in list_parts(tmp_path)] == [os.getpid()]
    other = start("from kplpy.spool.directory import list_parts; print(list_parts(directory)[0].holder)", tmp_path)
    assert finish(other) == str(os.getpid())
    assert Part.adopt(part.path) is None  # the look at it has not released the lock
    part.close()
