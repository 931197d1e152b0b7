"""What put is given: the lines of files, or the records of a file that --failed wrote."""

from __future__ import annotations

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


def open_source(name: str) -> AbstractContextManager[IO[bytes]]:
    """A file, or standard input for "-"."""
    return nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb")


def read_lines(
    names: Iterable[str], key_of: KeyOf | None, missing_key: str, fixed_key: str | None, keep_newline: bool
) -> Iterator[Given]:
    """The lines of the files, one after the other, without their newline (\\n) unless `keep_newline`.

    `missing_key` says what becomes of a line of which `key_of` makes no key: "fail", "random" or "skip".
    """
    for name in names:
        with open_source(name) as file:
            for number, line, length in _lines(file, keep_newline):
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


def _lines(file: IO[bytes], keep_newline: bool) -> Iterator[tuple[int, bytes, int]]:
    """(line number, line, its whole length): of a line past LONGEST_LINE only the beginning is kept."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if line[-1:] == b"\n":
            if not keep_newline:
                line = line[:-1]
        elif len(line) == LONGEST_LINE:
            length = len(line)
            while rest := file.readline(1 << 20):
                ended = rest.endswith(b"\n")
                length += len(rest) - (ended and not keep_newline)
                if ended:
                    break
            if length > len(line):
                yield number, line[:_SHOWN], length
                continue
        yield number, line, len(line)


def read_failed(name: str) -> Iterator[Given]:
    """The records of a file that --failed, or `kplpy tail --json`, wrote."""
    with open_source(name) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parse(line, name, number)


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
