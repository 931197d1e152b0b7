"""What put is given: the lines of files, or the records of a file that --failed wrote."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import IO

from kplpy.cli.keys import KeyOf
from kplpy.dead_letters.entry import parse_entry

# No service takes a record of more than 10 MiB. A line far beyond is not held, let alone an endless one.
LONGEST_LINE = 16 << 20
_SHOWN = 1024


@dataclass(slots=True)
class Given:
    """One record to put, and where it comes from. `problem`: why it cannot be put; `skip`: it is not meant to be."""

    data: bytes
    source: str
    line: int
    partition_key: str | None = None
    explicit_hash_key: str | None = None
    stream: str | None = None
    problem: str | None = None
    truncated: int = 0
    """The length of a line of which `data` is only the beginning."""
    skip: bool = False


@dataclass(slots=True)
class Position:
    """How far the reading of the input is.

    skip: lines at the beginning that are read past. lines: read so far, those included. read_bytes: what they took.
    size_bytes: of the whole input, None where that is not known (a pipe).
    """

    skip: int = 0
    lines: int = 0
    read_bytes: int = 0
    skipped_bytes: int = 0
    size_bytes: int | None = None

    def past(self, size: int) -> bool:
        """Count a line of so many bytes; returns True if it is one to read past."""
        self.lines += 1
        self.read_bytes += size
        if self.lines <= self.skip:
            self.skipped_bytes += size
            return True
        return False


class SkippedTooMuchError(Exception):
    """The input has fewer lines than are to be read past."""


def size_of(names: Iterable[str]) -> int | None:
    """Bytes that the files have together; None when one of them is no file on a disk."""
    total = 0
    for name in names:
        try:
            state = os.fstat(sys.stdin.fileno()) if name == "-" else os.stat(name)
            if not stat.S_ISREG(state.st_mode):
                return None
            total += state.st_size - (os.lseek(sys.stdin.fileno(), 0, os.SEEK_CUR) if name == "-" else 0)
        except (OSError, ValueError, AttributeError):  # a standard input that is none
            return None
    return total


def open_source(name: str) -> AbstractContextManager[IO[bytes]]:
    """A file, or standard input for "-"."""
    return nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb")


def read_lines(
    names: Iterable[str],
    key_of: KeyOf | None,
    missing_key: str,
    fixed_key: str | None,
    keep_newline: bool,
    position: Position | None = None,
) -> Iterator[Given]:
    """The lines of the files, one after the other, without their newline (\\n) unless `keep_newline`.

    `missing_key` says what becomes of a line of which `key_of` makes no key: "fail", "random" or "skip". `position` is
    kept up to date, and its first lines are read past; SkippedTooMuchError when there are not so many.
    """
    position = position or Position()
    for name in names:
        with open_source(name) as file:
            for number, line, length, size in _lines(file, keep_newline):
                if position.past(size):
                    continue
                given = Given(line, name, number, fixed_key)
                if length > len(line):
                    given.truncated = length
                    given.problem = f"the line has {length} bytes; no stream takes a record of more than 10 MiB"
                elif key_of is not None:
                    given.partition_key = key_of(line)
                    if given.partition_key is None:
                        given.skip = missing_key == "skip"
                        if missing_key == "fail":
                            given.problem = "the line has no partition key (see --missing-key)"
                yield given
    _check_skipped(position)


def _check_skipped(position: Position) -> None:
    if position.lines < position.skip:
        raise SkippedTooMuchError(
            f"--skip {position.skip}: the input has only {position.lines:,} line{'' if position.lines == 1 else 's'}"
        )


def _lines(file: IO[bytes], keep_newline: bool) -> Iterator[tuple[int, bytes, int, int]]:
    """(line number, line, its whole length, its bytes): of a line past LONGEST_LINE only the beginning is kept."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        size = len(line)
        if line[-1:] == b"\n":
            if not keep_newline:
                line = line[:-1]
        elif len(line) == LONGEST_LINE:
            length = len(line)
            while rest := file.readline(1 << 20):
                ended = rest.endswith(b"\n")
                size += len(rest)
                length += len(rest) - (ended and not keep_newline)
                if ended:
                    break
            if length > len(line):
                yield number, line[:_SHOWN], length, size
                continue
        yield number, line, len(line), size


def read_failed(name: str, position: Position | None = None) -> Iterator[Given]:
    """The records of a file that --failed, or `kplpy tail --json`, wrote. `position`: as read_lines() has it."""
    position = position or Position()
    with open_source(name) as file:
        for number, line in enumerate(file, 1):
            if not position.past(len(line)) and line.strip():
                yield _parse(line, name, number)
    _check_skipped(position)


def _parse(line: bytes, name: str, number: int) -> Given:
    try:
        entry = parse_entry(line)
    except (ValueError, TypeError) as error:
        problem = f"not a record as --failed writes it: {error}"
        return Given(line.rstrip(b"\n"), name, number, problem=problem)
    given = Given(entry.data, name, number, entry.partition_key, entry.explicit_hash_key, entry.stream)
    if entry.truncated:
        given.truncated = entry.truncated
        given.problem = f"only the beginning of its {entry.truncated} bytes is here"
    return given
