"""Rotations in each style, while the tailer runs and while it is down: each line is read once."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter, deque
from collections.abc import Collection
from pathlib import Path

import pytest

from kplpy.agent.tailing import Chunk
from tests.agent_tailing import Tail
from tests.agent_writers import STYLES, Writer

LOSES_WHAT_IS_UNREAD = {"delete", "rename_compress"}
LEAVES_THE_PATTERN = {"into_archive", "into_subdirectory", "copytruncate_outside"}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def check(tail: Tail, writer: Writer, repeated: Collection[bytes] = ()) -> None:
    """Each line is there, and only those that were in flight at a kill are there twice."""
    read = Counter(tail.records)
    written = Counter(writer.written)
    assert not [line for line in written if line not in read and line not in writer.excused]
    assert not [line for line, count in read.items() if count > 1 and line not in repeated]
    assert not [line for line in read if line not in written]


@pytest.mark.parametrize(("lines", "is_unread"), [(3, False), (300, True)], ids=["few", "unread"])
@pytest.mark.parametrize("style", STYLES)
def test_a_rotation_while_the_tailer_runs(logs: Path, style: str, lines: int, is_unread: bool) -> None:
    writer = Writer(logs)
    tail = Tail(logs)
    for _ in range(3):
        writer.write(lines)
        tail.step()
        if is_unread:
            writer.write(lines)
        writer.rotate(style)
        for _ in range(4):
            tail.step()
            writer.go_on()
        writer.write(2)
        tail.step()
    writer.close()
    tail.wait(12)
    check(tail, writer)
    tail.restart()
    tail.wait(1)
    check(tail, writer)
    tail.stop()


@pytest.mark.parametrize("lines", [3, 300])
@pytest.mark.parametrize("style", STYLES)
def test_a_rotation_while_the_tailer_is_down(logs: Path, style: str, lines: int) -> None:
    writer = Writer(logs)
    tail = Tail(logs)
    for _ in range(2):
        writer.write(lines)
        tail.step()
        tail.stop()
        if style not in LOSES_WHAT_IS_UNREAD:
            writer.write(lines)
        writer.rotate(style)
        for _ in range(3):
            writer.go_on()
        writer.write(2)
        tail.start()
        tail.wait(12)
    writer.close()
    tail.wait(12)
    check(tail, writer)
    tail.stop()


def test_unread_lines_of_a_file_deleted_while_closed_are_counted(logs: Path) -> None:
    """With one descriptor, the file that was written least recently is closed."""
    tail = Tail(logs, "*.log", limit=1)
    for name in ("a.log", "b.log"):
        (logs / name).write_bytes(b"1\n")
        tail.step()
    assert len(tail.descriptors) == 1
    with (logs / "a.log").open("ab") as file:
        file.write(b"2\n")
    os.unlink(logs / "a.log")
    tail.wait(3)
    assert tail.records == [b"1\n", b"1\n"]
    assert tail.tailer.counters.vanished == 1
    tail.stop()


@pytest.mark.parametrize("archive", ["log/old/a.log.1", "archive/a.log.1", "log/a.old"])
def test_a_file_rotated_away_while_closed_is_found(logs: Path, archive: str) -> None:
    tail = Tail(logs, "*.log", limit=1)
    for name in ("a.log", "b.log"):
        (logs / name).write_bytes(b"1 in %s\n" % name.encode())
        tail.step()
    with (logs / "a.log").open("ab") as file:
        file.write(b"2\n")
    target = logs.parent / archive
    target.parent.mkdir(exist_ok=True)
    os.rename(logs / "a.log", target)
    tail.wait(3)
    assert tail.records[-1] == b"2\n"
    assert tail.tailer.counters.vanished == 0
    tail.stop()


def test_a_reused_inode_is_a_new_file(logs: Path) -> None:
    """The test makes files until one gets the inode of the deleted one."""
    tail = Tail(logs, "*.log")
    (logs / "a.log").write_bytes(b"old\n")
    inode = (logs / "a.log").stat().st_ino
    tail.step()
    tail.stop()
    os.unlink(logs / "a.log")
    for number in range(1000):
        path = logs / f"new{number}"
        path.write_bytes(b"new and longer\n")
        if path.stat().st_ino == inode:
            os.rename(path, logs / "b.log")
            break
    else:
        pytest.skip("this file system does not use inodes again soon")
    tail.start()
    tail.wait(1)
    assert tail.records == [b"old\n", b"new and longer\n"]
    tail.stop()


def test_a_truncation_is_noticed_when_the_file_is_longer_again(logs: Path) -> None:
    tail = Tail(logs)
    path = logs / "app.log"
    path.write_bytes(b"one line\n" * 10)
    tail.step()
    path.write_bytes(b"another line\n" * 20)
    tail.step()
    assert tail.records[10:] == [b"another line\n"] * 20
    assert tail.tailer.counters.truncated == 1
    tail.stop()


def test_a_truncation_to_the_same_size_is_noticed_at_the_next_look(logs: Path) -> None:
    tail = Tail(logs)
    path = logs / "app.log"
    path.write_bytes(b"one\n")
    tail.step()
    path.write_bytes(b"two\n")
    tail.wait(11)
    assert tail.records == [b"one\n", b"two\n"]
    tail.stop()


def test_what_a_truncation_swallowed_is_counted(logs: Path) -> None:
    tail = Tail(logs)
    path = logs / "app.log"
    path.write_bytes(b"one\n" * 100)
    tail.now += 0.1
    tail.tailer.poll(tail.now)  # it is seen, but not read
    path.write_bytes(b"new\n")
    tail.wait(20)
    assert tail.records == [b"new\n"]
    assert tail.tailer.counters.lost_bytes == 400
    tail.stop()


def test_a_copy_over_another_file_system_is_not_read_again(logs: Path) -> None:
    """As mv does it: a copy, and the original is removed."""
    tail = Tail(logs)
    path = logs / "app.log"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(500)))
    tail.step()
    shutil.copyfile(path, logs / "app.log.1")
    os.unlink(path)
    tail.wait(80)
    assert len(tail.records) == 500
    with (logs / "app.log.1").open("ab") as file:
        file.write(b"more\n")
    tail.step()
    assert tail.records[500:] == [b"more\n"]
    tail.stop()


@pytest.mark.parametrize("quiet_s", [0.5, 90])
@pytest.mark.parametrize(
    ("first", "away", "second"),
    [
        ("app.log", "app.log.1", "app.log"),
        ("app.log-0001", None, "app.log-0002"),
        ("app.log-0001", "../gone", "app.log-0002"),
        ("app.log-0001", "", "app.log-0002"),
    ],
    ids=["renamed", "dated", "moved away", "removed"],
)
def test_logs_that_begin_alike_are_no_copies(
    logs: Path, first: str, away: str | None, second: str, quiet_s: float
) -> None:
    """A program may write the same KiB, and more, at each start, or a file its header."""
    alike = [b"banner %03d %s\n" % (number, b"." * 50) for number in range(40)]
    tail = Tail(logs)
    (logs / first).write_bytes(b"".join(alike) + b"one\n")
    tail.step()
    if away:
        os.rename(logs / first, logs / away)
    elif away is not None:
        os.unlink(logs / first)
    tail.step()
    (logs / second).write_bytes(b"".join(alike))
    tail.wait(quiet_s)
    with (logs / second).open("ab") as file:
        file.write(b"two\n")
    tail.wait(12)
    assert tail.records == [*alike, b"one\n", *alike, b"two\n"]
    tail.stop()


def test_logs_that_begin_alike_and_were_rotated_twice_while_down(logs: Path) -> None:
    alike = [b"banner %03d %s\n" % (number, b"." * 50) for number in range(40)]
    tail = Tail(logs)
    (logs / "app.log").write_bytes(b"".join(alike) + b"one\n")
    tail.step()
    tail.stop()
    os.rename(logs / "app.log", logs / "app.log.2")
    (logs / "app.log.1").write_bytes(b"".join(alike) + b"two\n")
    (logs / "app.log").write_bytes(b"".join(alike) + b"three\n")
    tail.start()
    tail.wait(12)
    assert Counter(tail.records) == Counter([*alike * 3, b"one\n", b"two\n", b"three\n"])
    tail.stop()


def test_a_new_dated_log_that_began_while_down_is_read_whole_when_it_goes_on(logs: Path) -> None:
    alike = [b"banner %03d %s\n" % (number, b"." * 50) for number in range(40)]
    tail = Tail(logs)
    (logs / "app.log-0001").write_bytes(b"".join(alike) + b"one\n")
    tail.step()
    tail.stop()
    (logs / "app.log-0002").write_bytes(b"".join(alike))
    tail.start()
    tail.wait(30)
    with (logs / "app.log-0002").open("ab") as file:
        file.write(b"two\n")
    tail.wait(12)
    assert tail.records == [*alike, b"one\n", *alike, b"two\n"]
    tail.stop()


def test_small_equal_files_are_all_read(logs: Path) -> None:
    """Files that programs drop, and not copies of one log."""
    tail = Tail(logs, "*")
    for number in range(5):
        (logs / f"{number:06d}.aws").write_bytes(b"x\n")
        tail.step()
    (logs / "status").write_bytes(b"ok\n")
    tail.step()
    (logs / "new").write_bytes(b"ok\n")
    os.rename(logs / "new", logs / "status")
    tail.step()
    assert tail.records == [b"x\n"] * 5 + [b"ok\n"] * 2
    tail.stop()


def test_a_clock_that_is_wrong_changes_nothing(logs: Path) -> None:
    """As on NFS: the times of files are another machine's."""
    writer = Writer(logs)
    tail = Tail(logs)
    for number in range(5):
        writer.write(5)
        os.utime(logs / "app.log", (10.0 * number, 1e9 - number))
        tail.step()
        writer.rotate("rename")
        for path in logs.iterdir():
            os.utime(path, (5.0, 5.0))
        tail.step(2)
    writer.close()
    tail.wait(2)
    check(tail, writer)
    tail.stop()


def play(logs: Path, seed: int, *, kills: bool, steps: int = 150) -> None:
    """Write, rotate in random styles, read, accept, kill and start again, in a random order."""
    chance = random.Random(seed)
    writer = Writer(logs, seed=seed)
    tail = Tail(logs, limit=chance.choice([4, 100]))
    in_flight: deque[Chunk] = deque()
    repeated: set[bytes] = set()
    down, rotations = 0, 0
    is_written = is_seen = was_seen = False  # of the file that is written now
    for _ in range(steps):
        draw = chance.random()
        if draw < 0.35:
            writer.write(chance.randrange(1, 30))
            is_written = not writer.is_rotating
        elif draw < 0.42 and (is_seen or down):
            style = chance.choice([each for each in STYLES if not (kills and each in LOSES_WHAT_IS_UNREAD)])
            is_unknown = rotations != writer.rotations or not was_seen
            if down and style in LEAVES_THE_PATTERN and is_unknown:
                style = "rename"  # nobody could know of what was gone before it was ever seen
            writer.rotate(style)
            is_written = is_seen = False
        elif draw < 0.55 and writer.is_rotating:
            writer.go_on()
            is_written = is_seen = False
        elif down:
            down -= 1
            if not down:
                tail.start()
        else:
            tail.now += chance.choice([0.1, 0.1, 0.1, 0.5, 3])
            tail.tailer.poll(tail.now)
            tail.checkpoints.commit()
            is_seen = is_written
            for chunk in tail.read_some(chance.choice([0, 1, 2, 50])):
                in_flight.append(chunk)
            while in_flight and chance.random() < 0.7:
                tail.accept(in_flight.popleft())
            if kills and chance.random() < 0.02 and not writer.is_rotating:
                repeated.update(*(chunk.records for chunk in in_flight))
                in_flight.clear()
                tail.stop()
                down, rotations, was_seen = chance.randrange(1, 8), writer.rotations, is_seen
    if down:
        tail.start()
    writer.close()
    for chunk in in_flight:
        tail.accept(chunk)
    tail.wait(20)
    check(tail, writer, repeated)
    tail.stop()


@pytest.mark.parametrize("kills", [False, True], ids=["running", "killed"])
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 245])
def test_random_rotations(logs: Path, seed: int, kills: bool) -> None:
    play(logs, seed, kills=kills)
