"""The input of `kplpy put`: lines of files, or records of a file that --failed wrote."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kplpy.cli.keys import KeyOf
from kplpy.dead_letters.entry import parse_entry

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Kinesis accepts records of at most 10 MiB. A much longer line is not kept in memory, because it may be endless.
LONGEST_LINE = 16 << 20
_SHOWN = 1024
# A read of a pipe or terminal begins only when there is something to read, and this wait ends that often: Python runs
# the handler of a signal that comes just before a blocking system call only after it.
_WAIT_S = 0.5


@dataclass(slots=True)
class Given:
    """One record to put, and its source.

    source: the file's name, "-" for standard input.
    line: number of the line in its file, from 1.
    problem: why the record cannot be put, or None.
    truncated: length of a line of which `data` holds only the beginning, else 0.
    skip: the line has no key and is left out (--missing-key skip).
    """

    data: bytes
    source: str
    line: int
    partition_key: str | None = None
    explicit_hash_key: str | None = None
    stream: str | None = None
    headers: dict[str, str | None] | None = None
    problem: str | None = None
    truncated: int = 0
    skip: bool = False


@dataclass(slots=True)
class Position:
    """How much of the input was read.

    skip: number of lines to leave out at the beginning.
    lines: lines read so far, including skipped lines.
    read_bytes: bytes of the lines read so far.
    skipped_bytes: bytes of the skipped lines.
    size_bytes: bytes of the whole input, None if unknown (a pipe).
    """

    skip: int = 0
    lines: int = 0
    read_bytes: int = 0
    skipped_bytes: int = 0
    size_bytes: int | None = None

    def count_line(self, size: int) -> bool:
        """Count a line of `size` bytes. Return True if the line is to be skipped."""
        self.lines += 1
        self.read_bytes += size
        if self.lines <= self.skip:
            self.skipped_bytes += size
            return True
        return False


class SkippedTooMuchError(Exception):
    """The input has fewer lines than --skip leaves out."""


def size_of(names: Iterable[str]) -> int | None:
    """Return the bytes of all files together, or None if one of them is not a regular file."""
    total = 0
    for name in names:
        try:
            state = os.fstat(sys.stdin.fileno()) if name == "-" else os.stat(name)
            if not stat.S_ISREG(state.st_mode):
                return None
            total += state.st_size - (os.lseek(sys.stdin.fileno(), 0, os.SEEK_CUR) if name == "-" else 0)
        except (OSError, ValueError, AttributeError):  # standard input is closed or replaced
            return None
    return total


class _Waiting(io.RawIOBase):
    """A file of which each read waits in steps of _WAIT_S for something to read."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        while not select.select([self._raw], [], [], _WAIT_S)[0]:
            pass
        return self._raw.readinto(buffer)


@contextmanager
def open_source(name: str) -> Iterator[IO[bytes]]:
    """Open a file, or standard input for "-". The wait for more of a pipe or terminal ends at a signal."""
    with nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
        raw = getattr(file, "raw", None)
        yield file if raw is None or size_of([name]) is not None else io.BufferedReader(_Waiting(raw))


def read_lines(
    names: Iterable[str],
    key_of: KeyOf | None,
    missing_key: str,
    fixed_key: str | None,
    keep_newline: bool,
    position: Position | None = None,
    headers: dict[str, str | None] | None = None,
) -> Iterator[Given]:
    """Yield the lines of the files in order, without their newline (\\n) unless `keep_newline`.

    missing_key: what to do with a line in which `key_of` finds no key: "fail", "random" or "skip".
    position: updated with each line. The first `position.skip` lines are left out.
    headers: of all records.

    Raises SkippedTooMuchError at the end if the input has fewer lines.
    """
    position = position or Position()
    for name in names:
        with open_source(name) as file:
            for number, line, length, size in _lines(file, keep_newline):
                if position.count_line(size):
                    continue
                given = Given(line, name, number, fixed_key, headers=headers)
                if length > len(line):
                    given.truncated = length
                    given.problem = f"the line has {length} bytes; a record has at most 10 MiB"
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
    """Yield for each line its number, its data, its length, and its bytes in the file.

    Of a line longer than LONGEST_LINE the data is only the first _SHOWN bytes.
    """
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
    """Yield the records of a file that --failed or `kplpy tail --json` wrote. `position` is as in read_lines()."""
    position = position or Position()
    with open_source(name) as file:
        for number, line in enumerate(file, 1):
            if not position.count_line(len(line)) and line.strip():
                yield _parse(line, name, number)
    _check_skipped(position)


def _parse(line: bytes, name: str, number: int) -> Given:
    try:
        entry = parse_entry(line)
    except (ValueError, TypeError) as error:
        problem = f"not a record as --failed writes them: {error}"
        return Given(line.rstrip(b"\n"), name, number, problem=problem)
    given = Given(entry.data, name, number, entry.partition_key, entry.explicit_hash_key, entry.stream, entry.headers)
    if entry.truncated:
        given.truncated = entry.truncated
        given.problem = f"the entry holds only the beginning of its {entry.truncated} bytes"
    return given
