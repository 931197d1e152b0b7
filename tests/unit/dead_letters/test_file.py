"""DeadLetterFile writes whole lines, with several writers and on a full disk, and its records come back unchanged."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from kplpy import Attempt, RecordExpiredError, RecordFailedError, UserRecord
from kplpy.dead_letters import DeadLetterFile
from kplpy.dead_letters.entry import parse_entry
from tests.small_disk import fill, small_disk


def failed(data: bytes, key: str = "k", explicit_hash_key: str | None = None) -> RecordFailedError:
    record = UserRecord(data, key, explicit_hash_key)
    attempts = (Attempt(1.0, 0.1, False, "InternalFailure", "so", 0.0),)
    return RecordExpiredError("a record of stream 'orders' expired", "orders", record, attempts, True)


@pytest.mark.parametrize("data", [b"", b"text", "zwölf\n\u2028".encode(), b"\xff\x00", bytes(range(256)) * 4096])
def test_a_record_comes_back_as_it_was(tmp_path: Path, data: bytes) -> None:
    keep = DeadLetterFile(tmp_path / "failed")
    keep(failed(data, "kéy", "7"))
    (line,) = (tmp_path / "failed").read_bytes().splitlines()
    entry = parse_entry(line)
    assert (entry.data, entry.partition_key, entry.explicit_hash_key, entry.stream) == (data, "kéy", "7", "orders")
    parsed = json.loads(line)
    assert parsed["error"] == "RecordExpiredError: a record of stream 'orders' expired"
    assert (parsed["attempts"], parsed["possible_duplicate"]) == (1, True)


@pytest.mark.parametrize("headers", [None, {"é": "🙂\n", "flag": None, "empty": ""}])
def test_headers_come_back(tmp_path: Path, headers: dict[str, str | None] | None) -> None:
    record = UserRecord(b"x", "k", headers=headers)
    DeadLetterFile(tmp_path / "failed")(RecordFailedError("a record failed", "orders", record))
    (line,) = (tmp_path / "failed").read_bytes().splitlines()
    assert parse_entry(line).headers == headers
    assert ("headers" in json.loads(line)) is (headers is not None)


@pytest.mark.parametrize("headers", [[], "a=b", 7, {"a": 7}, {"a": ["b"]}])
def test_headers_of_another_kind_are_no_record(headers: object) -> None:
    line = json.dumps({"data": "x", "headers": headers}).encode()
    with pytest.raises(ValueError, match=r"^'headers' must be an object of strings and nulls, or null, got "):
        parse_entry(line)


def test_threads_and_forked_children_write_whole_lines(tmp_path: Path) -> None:
    """The lines have several KiB: several writes per line would mix them."""
    keep = DeadLetterFile(tmp_path / "failed")
    names = [*"abcdefgh"]

    def write(name: str) -> None:
        for number in range(25):
            keep(failed(name.encode() * 5000, f"{name} {number}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in names[:4]]
    for thread in threads:
        thread.start()
    children = []
    if hasattr(os, "fork") and sys.version_info < (3, 12):  # Python 3.12 warns about a fork beside threads
        for name in names[4:]:
            child = os.fork()
            if not child:
                try:
                    write(name)
                finally:
                    os._exit(0)
            children.append(child)
    else:
        write(names[4])
    for thread in threads:
        thread.join()
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    keys = []
    for line in filter(None, (tmp_path / "failed").read_bytes().splitlines()):
        entry = parse_entry(line)
        assert entry.partition_key is not None
        assert entry.data == entry.partition_key[0].encode() * 5000
        keys.append(entry.partition_key)
    writers = names[: 4 + len(children)] if children else names[:5]
    assert sorted(keys) == sorted(f"{name} {number}" for name in writers for number in range(25))


def test_a_line_after_a_broken_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "failed"
    file.write_bytes(b'{"stream": "orders", "da')  # the disk was full here
    DeadLetterFile(file)(failed(b"next"))
    broken, whole = file.read_bytes().splitlines()
    with pytest.raises(ValueError, match="Unterminated string"):
        parse_entry(broken)
    assert parse_entry(whole).data == b"next"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device")
def test_the_error_on_a_full_disk_names_the_stream_and_the_file() -> None:
    with pytest.raises(OSError, match=r"a failed record of stream 'orders' is lost: No space left on device: '/dev/f"):
        DeadLetterFile("/dev/full")(failed(b"x"))


def test_the_file_may_be_moved_away_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keep = DeadLetterFile("failed")
    keep(failed(b"1"))
    monkeypatch.chdir("/")
    (tmp_path / "failed").rename(tmp_path / "sent")
    keep(failed(b"2"))
    assert [parse_entry(line).data for line in (tmp_path / "sent").read_bytes().splitlines()] == [b"1"]
    assert [parse_entry(line).data for line in (tmp_path / "failed").read_bytes().splitlines()] == [b"2"]


def test_no_file_without_failures_and_no_descriptor_kept(tmp_path: Path) -> None:
    keep = DeadLetterFile(tmp_path / "failed")
    assert not (tmp_path / "failed").exists()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(10):
        keep(failed(b"x"))
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before
    assert repr(keep) == f"DeadLetterFile({str(tmp_path / 'failed')!r})"


def test_an_impossible_path_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="directory of the dead letter file does not exist"):
        DeadLetterFile(tmp_path / "none" / "failed")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="must be in a directory"):
        DeadLetterFile(tmp_path / "file" / "failed")
    with pytest.raises(IsADirectoryError, match="must not be a directory"):
        DeadLetterFile(tmp_path)


def entries(file: Path) -> list[bytes]:
    """Return the data of all whole lines, without those that are broken or empty."""
    found = []
    for line in file.read_bytes().splitlines():
        with suppress(ValueError):
            found.append(parse_entry(line).data)
    return found


class Disk:
    """Replaces os.write: takes at most `free` bytes, in pieces of at most `piece` bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int, piece: int = 1 << 30) -> None:
        self.free, self.piece = free, piece
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, file: int, data: bytes) -> int:
        taken = data[: min(self.free, self.piece)]
        if data and not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.free -= len(taken)
        return self._write(file, taken)


@pytest.mark.parametrize("free", [0, 1, 100, 400, 500])
def test_half_a_line_on_a_full_disk_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    keep = DeadLetterFile(tmp_path / "failed")
    keep(failed(b"before"))
    disk = Disk(monkeypatch, free)
    lost = 0
    for _ in range(3):
        try:
            keep(failed(b"meanwhile"))
        except OSError:
            lost += 1
    disk.free = 1 << 20
    keep(failed(b"after"))
    assert lost
    assert entries(tmp_path / "failed") == [b"before", *[b"meanwhile"] * (3 - lost), b"after"]


def test_a_line_that_was_written_in_part_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal can cause that. The rest of the line would follow lines that other writers wrote since."""
    disk = Disk(monkeypatch, 1 << 20, piece=50)
    write = disk.__call__

    def once(file: int, data: bytes) -> int:
        written = write(file, data)
        disk.piece = 1 << 30
        return written

    monkeypatch.setattr(os, "write", once)
    keep = DeadLetterFile(tmp_path / "failed")
    keep(failed(b"one"))
    keep(failed(b"two"))
    assert entries(tmp_path / "failed") == [b"one", b"two"]


@pytest.mark.parametrize("before", [b"", b'{"data": "whole"}\n'])
def test_a_line_right_behind_another_writers_half_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    """The other writer's half is written after this writer has looked at the end of the file."""
    file = tmp_path / "failed"
    file.write_bytes(before)
    write = os.write

    def after_another(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        with file.open("ab") as other:
            other.write(b'{"stream": "orders", "da')
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", after_another)
    DeadLetterFile(file)(failed(b"mine"))
    assert entries(file) == ([b"whole"] if before else []) + [b"mine"]


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    with small_disk(tmp_path, 128):
        keep = DeadLetterFile(tmp_path / "failed")
        keep(failed(b"before"))
        fill(tmp_path / "other")
        lost = 0
        for _ in range(5):
            try:
                keep(failed(b"x" * 5000))  # a part of the line fits into the page that holds "before"
            except OSError:
                lost += 1
        assert lost == 5
        (tmp_path / "other").unlink()
        keep(failed(b"after"))
        assert entries(tmp_path / "failed") == [b"before", b"after"]
        assert b"xxx" in (tmp_path / "failed").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
def test_the_file_is_its_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        DeadLetterFile(tmp_path / "failed")(failed(b"x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "failed").stat().st_mode) == 0o600
    (tmp_path / "failed").chmod(0o640)
    DeadLetterFile(tmp_path / "failed")(failed(b"y"))
    assert stat.S_IMODE((tmp_path / "failed").stat().st_mode) == 0o640


def test_a_symbolic_link_is_followed_only_when_asked_for(tmp_path: Path) -> None:
    link, target = tmp_path / "failed", tmp_path / "target"
    keep = DeadLetterFile(link)
    link.symlink_to(target)  # as another user could who may write to the directory
    with pytest.raises(OSError, match=r"record of stream 'orders' is lost: it is a symbolic link") as raised:
        keep(failed(b"x"))
    assert (raised.value.errno, raised.value.filename) == (errno.ELOOP, str(link))
    with pytest.raises(OSError, match="symbolic link; follow_symlinks=True follows it"):
        DeadLetterFile(link)
    assert not target.exists()
    DeadLetterFile(link, follow_symlinks=True)(failed(b"x"))
    assert entries(target) == [b"x"]
    assert link.is_symlink()
