"""What is read where: first starts, restarts, last lines, many files, and users' set-ups."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kplpy import ConfigError
from kplpy.agent.settings import LONGEST
from tests.agent_tailing import Tail


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


# --- where reading begins ---


def test_end_of_file_holds_for_files_of_the_first_start_alone(logs: Path) -> None:
    append(logs / "a.log", b"old\nbegun")
    tail = Tail(logs, "*.log", initial_position="END_OF_FILE")
    append(logs / "b.log", b"new file\n")
    append(logs / "a.log", b" and ended\n")
    tail.step()
    assert sorted(tail.records) == [b"begun and ended\n", b"new file\n"]
    tail.restart()
    append(logs / "c.log", b"another\n")
    assert tail.wait(1) == [b"another\n"]
    tail.stop()


def test_a_first_start_without_acceptance_is_remembered(logs: Path) -> None:
    append(logs / "a.log", b"old\n")
    tail = Tail(logs, "*.log", initial_position="END_OF_FILE")
    tail.stop()
    append(logs / "a.log", b"written while it was down\n")
    tail.start()
    assert tail.records == [b"written while it was down\n"]
    tail.stop()


def test_what_was_not_accepted_is_read_again(logs: Path) -> None:
    append(logs / "app.log", b"one\n")
    tail = Tail(logs)
    append(logs / "app.log", b"two\n")
    assert tail.step(accept=False) == [b"two\n"]
    tail.stop()
    tail.records.clear()
    tail.start()
    assert tail.records == [b"two\n"]
    tail.stop()


def test_acceptance_out_of_order_moves_nothing_past_what_is_missing(logs: Path) -> None:
    """The caller reports the offset below which everything was accepted, so a part of a chunk keeps its beginning."""
    append(logs / "app.log", b"one\ntwo\n")
    tail = Tail(logs)
    append(logs / "app.log", b"three\nfour\n")
    tail.now += 1
    tail.tailer.poll(tail.now)
    (chunk,) = tail.read_some(1)
    tail.tailer.accepted(chunk.file, chunk.ends[0])
    assert [status.offset for status in tail.tailer.files()] == [8]
    tail.tailer.accepted(chunk.file, chunk.end)
    assert [(status.offset, status.bytes_behind) for status in tail.tailer.files()] == [(19, 0)]
    tail.stop()


def test_two_flows_have_their_own_positions(logs: Path) -> None:
    """Sample 09: two flows over one file."""
    append(logs / "fw.log", b"one\n")
    first = Tail(logs, "fw.log")
    second = Tail(logs, "fw.*", state=logs.parent / "second.db")
    assert first.records == second.records == [b"one\n"]
    first.stop()
    second.stop()


def test_a_kinesis_agents_position_is_gone_on_from(logs: Path) -> None:
    """The Agent followed the newest file. Older ones count as read, newer ones are new."""
    append(logs / "app.log.1", b"sent long ago\n")
    append(logs / "app.log", b"sent\nnot sent\n")
    os.utime(logs / "app.log.1", (1e9, 1e9))
    state = (logs / "app.log").stat()
    flow = f"kinesis:s:{logs}/app.log*"
    with sqlite3.connect(logs.parent / "agent") as agent:
        agent.execute("CREATE TABLE FILE_CHECKPOINTS (flow, path, fileId, lastModifiedTime, size, offset, lastUpdated)")
        file_id = f"(dev={state.st_dev:x},ino={state.st_ino})"
        row = (flow, str(logs / "app.log"), file_id, 0, 14, 5, "2020-01-01 00:00:00.000")
        agent.execute("INSERT INTO FILE_CHECKPOINTS VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    agent.close()
    append(logs / "app.log.new", b"new\n")
    tail = Tail(logs, imported=str(logs.parent / "agent"), initial_position="END_OF_FILE")
    assert sorted(tail.records) == [b"new\n", b"not sent\n"]
    tail.stop()


# --- records ---


def test_an_unterminated_last_line_waits(logs: Path) -> None:
    append(logs / "app.log", b"one\ntw")
    tail = Tail(logs)
    tail.wait(30)
    assert tail.records == [b"one\n"]
    append(logs / "app.log", b"o\n")
    assert tail.step() == [b"two\n"]
    append(logs / "app.log", b"three")
    os.rename(logs / "app.log", logs / "gone")
    assert tail.wait(4) == []
    assert tail.wait(3) == [b"three"]
    tail.stop()


def test_the_last_record_of_several_lines_is_sent_after_a_wait(logs: Path) -> None:
    """Sample 15, and 12 with a stack trace and blank lines."""
    append(logs / "app.log", b'{\n  "a": 1\n}\n{\n')
    tail = Tail(logs, multi_line_start_pattern=r"^\{")
    assert tail.records == [b'{\n  "a": 1\n}\n']
    append(logs / "app.log", b'  "b": 2\n')
    assert tail.wait(0.5) == []
    append(logs / "app.log", b"}\n")
    assert tail.wait(2) == [b'{\n  "b": 2\n}\n']
    tail.stop()


def test_header_lines_are_skipped_at_offset_0_alone(logs: Path) -> None:
    """Sample 08."""
    append(logs / "words.txt", b"word\n")
    tail = Tail(logs, "*.txt", skip_header_lines=2)
    append(logs / "words.txt", b"sub")
    tail.step()
    tail.restart()
    append(logs / "words.txt", b"title\nfirst\n")
    assert tail.wait(1) == [b"first\n"]
    tail.restart()
    append(logs / "words.txt", b"second\n")
    assert tail.wait(1) == [b"second\n"]
    os.rename(logs / "words.txt", logs / "old")
    append(logs / "words.txt", b"word\nsubtitle\nthird\n")
    assert tail.wait(1) == [b"third\n"]
    tail.stop()


def test_a_footer_ends_the_file_after_a_restart_too(logs: Path) -> None:
    append(logs / "app.log", b"one\n-- end --\nafter\n")
    tail = Tail(logs, file_footer_pattern="^-- end --$")
    append(logs / "app.log", b"later\n")
    tail.step()
    tail.restart()
    append(logs / "app.log", b"much later\n")
    tail.wait(1)
    assert tail.records == [b"one\n"]
    (logs / "app.log").write_bytes(b"new\n")
    tail.wait(1)
    assert tail.records == [b"one\n", b"new\n"]
    tail.stop()


def test_a_footer_behind_lines_that_are_not_accepted_yet_is_passed(logs: Path) -> None:
    """Else the file would never count as read to its end, and would stay open after it was removed."""
    tail = Tail(logs, file_footer_pattern="END")
    append(logs / "app.log", b"one\n")
    assert tail.step(accept=False) == [b"one\n"]
    append(logs / "app.log", b"END\n")
    tail.step(accept=False)
    for chunk in tail.chunks:
        tail.accept(chunk)
    (status,) = tail.tailer.files()
    assert status.offset == status.size == 8
    os.unlink(logs / "app.log")
    tail.wait(90)
    assert len(tail.descriptors) == 0
    tail.stop()


@pytest.mark.parametrize("destination", ["kinesis", "firehose"])
def test_a_line_that_is_too_long_is_cut(logs: Path, destination: str) -> None:
    limit = LONGEST[destination]
    append(logs / "app.log", b"z" * (3 * limit) + b"\nshort\n")
    tail = Tail(logs, destination=destination)
    while len(tail.records) < 2:
        tail.step()
    assert tail.records == [b"z" * (limit + 1), b"short\n"]
    assert tail.tailer.counters.cut == 1
    assert tail.chunks[-1].end == 3 * limit + 7
    tail.stop()


@pytest.mark.parametrize("key", ["multi_line_start_pattern", "file_footer_pattern"])
def test_a_wrong_pattern_is_refused_at_the_start(logs: Path, key: str) -> None:
    with pytest.raises(ConfigError, match="Pattern"):
        Tail(logs, **{key: "(unclosed"})


# --- once ---


def test_once_reads_all_and_leaves_an_unterminated_line(logs: Path) -> None:
    append(logs / "app.log", b"A 1\n x\nA 2\n y\n")
    append(logs / "app.log.1", b"A 3\nA 4")
    tail = Tail(logs, multi_line_start_pattern="^A")
    tail.once()
    assert tail.records == [b"A 1\n x\n", b"A 2\n y\n"]
    tail.restart()
    append(logs / "app.log.1", b"\n")
    tail.once()
    assert tail.records[2:] == [b"A 3\n", b"A 4\n"]
    tail.stop()


# --- files ---


def test_all_files_of_a_pattern_are_followed_at_once(logs: Path) -> None:
    """Sample 01: the rarely written one is not starved."""
    names = ["authpriv", "cron", "kern", "local0"]
    for name in names:
        append(logs / f"{name}.log", b"0\n")
    tail = Tail(logs, "*.log*")
    append(logs / "local0.log", b"busy %06d\n" % 1 * 100_000)
    append(logs / "kern.log", b"rare\n")
    tail.now += 1
    tail.tailer.poll(tail.now)
    assert b"rare\n" in [record for chunk in tail.read_some(2) for record in chunk.records]
    tail.stop()


def test_new_directories_are_found_and_vanished_ones_read_to_their_end(logs: Path) -> None:
    """Sample 02: containers come and go."""
    tail = Tail(logs, "**/*log")
    (logs / "2026/03").mkdir(parents=True)
    append(logs / "2026/03/day.log", b"one\n")
    append(logs / "errorlog", b"two\n")
    tail.wait(1)
    append(logs / "2026/03/day.log", b"last")
    shutil.rmtree(logs / "2026")
    tail.wait(7)
    assert tail.records == [b"one\n", b"two\n", b"last"] or tail.records == [b"two\n", b"one\n", b"last"]
    tail.stop()


def test_no_file_for_some_seconds_is_no_new_beginning(logs: Path) -> None:
    """Sample 07: the file is moved, and its writer goes on writing to it until it is signalled."""
    append(logs / "json_log-site", b"one\n")
    tail = Tail(logs, "json_log-site*")
    (logs / "archive").mkdir()
    os.rename(logs / "json_log-site", logs / "archive/json_log-site.1")
    tail.wait(30)
    append(logs / "archive/json_log-site.1", b"two\n")
    tail.wait(5)
    append(logs / "json_log-site", b"three\n")
    tail.wait(5)
    assert tail.records == [b"one\n", b"two\n", b"three\n"]
    tail.stop()


def test_a_file_moved_into_another_flows_pattern_is_that_flows_own(logs: Path) -> None:
    """Sample 04: each flow has its own positions, and compressed files are nobody's."""
    append(logs / "web", b"one\n")
    (logs / "rotated").mkdir()
    active = Tail(logs, "web*")
    rotated = Tail(logs, "rotated/web*", state=logs.parent / "rotated.db")
    os.rename(logs / "web", logs / "rotated/web1772618400")
    append(logs / "rotated/web1772618400", b"two\n")
    append(logs / "rotated/web1.gz", b"\x1f\x8b")
    for tail in (active, rotated):
        tail.wait(2)
        assert tail.records == [b"one\n", b"two\n"]
        tail.stop()


def test_more_files_than_descriptors_are_all_read(logs: Path) -> None:
    """Sample 20, smaller."""
    for number in range(300):
        append(logs / f"{number:06d}.aws", b"%d\n" % number)
        os.utime(logs / f"{number:06d}.aws", (1e9 - number, 1e9 - number))
    tail = Tail(logs, "*.aws", limit=10)
    assert tail.records == [b"%d\n" % number for number in reversed(range(300))]  # the oldest first
    assert len(tail.descriptors) == 10
    for number in range(300):
        append(logs / f"{number:06d}.aws", b"more\n")
    tail.wait(1)
    assert tail.records[300:] == [b"more\n"] * 300
    tail.restart()
    assert len(tail.records) == 600
    tail.stop()


def test_a_process_without_descriptors_closes_files_and_reads_all(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """maxOpenFiles may be more than what the process may open."""
    tail = Tail(logs, limit=100)
    real = os.open

    def few(path: str, *arguments: Any, **keys: Any) -> int:
        if str(path).startswith(str(logs)) and len(tail.descriptors) >= 5:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, *arguments, **keys)

    for number in range(20):
        append(logs / f"app.log-of-{number}", b"one %d\n" % number)
    monkeypatch.setattr(os, "open", few)
    tail.wait(2)
    assert len(tail.records) == 20
    monkeypatch.setattr(os, "open", real)
    for number in range(20):
        append(logs / f"app.log-of-{number}", b"two %d\n" % number)
    monkeypatch.setattr(os, "open", few)
    tail.wait(2)
    assert sorted(tail.records[20:]) == sorted(b"two %d\n" % number for number in range(20))
    tail.stop()


def test_an_unreadable_file_is_counted_and_read_later(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(logs / "a.log", b"one\n")
    real = os.open

    def refuse(path: str, *arguments: int) -> int:
        if str(path).endswith("a.log"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr("kplpy.agent.tailing.file.os.open", refuse)
        tail = Tail(logs, "*.log")
        tail.wait(2)
        assert tail.tailer.counters.unreadable
    assert tail.records == []
    tail.wait(2)
    assert tail.records == [b"one\n"]
    tail.stop()


def test_a_file_that_could_not_be_looked_at_is_found_later(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that may be listed, and not searched: what it has is known by name alone."""
    real = os.stat

    def forbidden(path: Any, *arguments: Any, **keys: Any) -> os.stat_result:
        if str(path).startswith(f"{logs}/app.log"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **keys)

    tail = Tail(logs)
    append(logs / "app.log", b"one\n")
    monkeypatch.setattr(os, "stat", forbidden)
    assert tail.wait(2) == []
    monkeypatch.setattr(os, "stat", real)
    assert tail.wait(12) == [b"one\n"]
    tail.stop()


def test_a_new_file_that_cannot_be_read_stops_no_other_file(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pread

    def failing(descriptor: int, size: int, offset: int) -> bytes:
        if _is_open_at(descriptor, logs / "app.log.bad"):
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, size, offset)

    tail = Tail(logs)
    monkeypatch.setattr(os, "pread", failing)
    append(logs / "app.log.bad", b"bad\n")
    append(logs / "app.log.good", b"good\n")
    assert tail.wait(1) == [b"good\n"]
    monkeypatch.setattr(os, "pread", real)
    assert tail.wait(12) == [b"bad\n"]
    assert tail.tailer.counters.unreadable
    tail.stop()


def test_a_copy_that_cannot_be_read_stops_no_other_file(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handle of a copy that is being compared gets stale, as after a file server's restart."""
    lines = [b"line %d\n" % number for number in range(500)]
    append(logs / "app.log", b"".join(lines))
    tail = Tail(logs)
    shutil.copyfile(logs / "app.log", logs / "app.log.1")
    tail.step()
    stale = next(each for each in range(3, 1024) if _is_open_at(each, logs / "app.log.1"))
    real = os.lseek

    def failing(descriptor: int, *place: int) -> int:
        if descriptor == stale:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(descriptor, *place)

    monkeypatch.setattr(os, "lseek", failing)
    append(logs / "app.log", b"more\n")
    assert tail.wait(1) == [b"more\n"]
    monkeypatch.setattr(os, "lseek", real)
    append(logs / "app.log.1", b"of the copy\n")
    assert tail.wait(30) == [*lines, b"of the copy\n"]  # it goes on in another way, so it is a log of its own
    tail.stop()


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def test_a_directory_that_cannot_be_listed_is_reported_and_the_others_followed(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(logs / "a.log", b"one\n")
    (logs / "closed").mkdir()
    real = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("kplpy.agent.tailing.patterns.os.scandir", refuse)
    tail = Tail(logs, "**/*.log", initial_position="END_OF_FILE")
    append(logs / "b.log", b"two\n")
    tail.step()
    assert tail.records == [b"two\n"]
    assert list(tail.tailer.errors) == [str(logs / "closed")]
    tail.stop()


def test_a_link_follows_its_target(logs: Path) -> None:
    """As Kubernetes links the logs of containers."""
    append(logs / "pod-0", b"one\n")
    (logs / "a.log").symlink_to(logs / "pod-0")
    tail = Tail(logs, "*.log")
    append(logs / "pod-1", b"two\n")
    (logs / "a.log").unlink()
    (logs / "a.log").symlink_to(logs / "pod-1")
    tail.wait(1)
    assert tail.records == [b"one\n", b"two\n"]
    tail.stop()
