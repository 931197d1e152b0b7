"""The files that a pattern matches, and what changes between two looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kplpy import ConfigError
from kplpy.agent.tailing import FilePattern


def make(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x\n")


def matched(directory: Path, pattern: str) -> list[str]:
    changes = FilePattern(str(directory / pattern)).refresh(0.0)
    return sorted(os.path.relpath(entry.path, directory) for entry in changes.found)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.log*", ["a.log", "a.log.1"]),
        ("a.l?g", ["a.log"]),
        ("[ab].log", ["a.log"]),
        ("[!b].log", ["a.log"]),
        ("{a,x}.log", ["a.log"]),
        (r"\a.log", ["a.log"]),
        ("*", [".hidden", "a.log", "a.log.1", "b.txt"]),
        ("*/*.log", ["api/b.log"]),
        ("**/*log", ["a.log", "api/b.log", "api/v2/errorlog"]),
        ("**/v2/*", ["api/v2/errorlog"]),
        ("**", [".hidden", "a.log", "a.log.1", "api/b.log", "api/v2/errorlog", "b.txt"]),
        ("api/*/*", ["api/v2/errorlog"]),
        ("none/*.log", []),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    make(
        tmp_path,
        "a.log",
        "a.log.1",
        "b.txt",
        ".hidden",
        "a.log.gz",
        "b.log.BZ2",
        "c.log.zip",
        "api/b.log",
        "api/v2/errorlog",
    )
    assert matched(tmp_path, pattern) == expected
    found = FilePattern(str(tmp_path / pattern))
    assert all(found.matches(str(tmp_path / name)) for name in expected)
    assert not found.matches(str(tmp_path / "a.log.gz"))


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        ("logs/*.log", "absolute"),
        ("/a/", "slash"),
        ("/a/[b", r"\["),
        ("/a/{b", r"\{"),
        ("/a/{b{c,d}}", "nested"),
        ("/a\\", "backslash"),
    ],
)
def test_a_wrong_pattern_is_refused(pattern: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        FilePattern(pattern)


def test_changes_between_two_looks(tmp_path: Path) -> None:
    make(tmp_path, "a.log")
    pattern = FilePattern(str(tmp_path / "**" / "*.log"))
    pattern.refresh(0.0)
    assert not pattern.refresh(1.0).found
    make(tmp_path, "new/b.log")
    os.rename(tmp_path / "a.log", tmp_path / "c.log")
    changes = pattern.refresh(10.0)
    assert sorted(entry.path for entry in changes.found) == [str(tmp_path / "c.log"), str(tmp_path / "new/b.log")]
    assert changes.gone == [str(tmp_path / "a.log")]
    (tmp_path / "new/b.log").unlink()
    (tmp_path / "new").rmdir()
    assert pattern.refresh(20.0).gone == [str(tmp_path / "new/b.log")]


def test_a_change_within_a_coarse_clock_tick_is_seen_later(tmp_path: Path) -> None:
    make(tmp_path, "a.log")
    pattern = FilePattern(str(tmp_path / "*.log"))
    pattern.refresh(0.0)
    before = tmp_path.stat()
    make(tmp_path, "b.log")
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a file system whose clock ticks once a second
    assert not pattern.refresh(0.1).found
    assert [entry.path for entry in pattern.refresh(1.2).found] == [str(tmp_path / "b.log")]


def test_links_to_files_are_followed_and_dangling_ones_ignored(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/a")
    (tmp_path / "a.log").symlink_to(tmp_path / "elsewhere/a")
    (tmp_path / "b.log").symlink_to(tmp_path / "missing")
    (tmp_path / "up").symlink_to(tmp_path)
    assert matched(tmp_path, "**/*.log") == ["a.log"]
