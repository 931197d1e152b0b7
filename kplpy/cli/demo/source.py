"""The demo's input: given files, or Python's standard library, which has some hundred thousand lines."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from sysconfig import get_path

import click

ENOUGH_LINES = 300_000
_MAX_RECORD = 1 << 20
_NOT_STDLIB = ("site-packages", "dist-packages", "__pycache__")


class Source:
    """One file and the offsets of its lines. Each line is a record that begins with its place: `name:line:text`."""

    __slots__ = ("_content", "_starts", "key", "name")

    def __init__(self, name: str, content: bytes) -> None:
        self.name = os.fsencode(name).decode("utf-8", "backslashreplace")
        self.key = self.name[-256:]
        self._content = content
        self._starts = array("Q", [0])
        at = content.find(b"\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = content.find(b"\n", at + 1)
        if self._starts[-1] != len(content):
            self._starts.append(len(content) + 1)  # as if the last line had a newline

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def size(self) -> int:
        return len(self._content)

    def record(self, line: int) -> bytes:
        """Return the record of a line. Lines count from 1."""
        text = self._content[self._starts[line - 1] : self._starts[line] - 1]
        return b"%s:%d:%s" % (self.name.encode(), line, text)

    def records(self, first: int, last: int) -> list[tuple[bytes, str]]:
        """Return the records of the lines from `first` to `last` inclusive, as put_records takes them."""
        return [(self.record(line), self.key) for line in range(first, last + 1)]


def given_files(paths: Iterable[str]) -> list[Source]:
    """Read the files of the command line, each once."""
    unique: dict[str, str] = {}
    for path in paths:
        unique.setdefault(os.path.realpath(path), path)
    sources = [Source(path, Path(path).read_bytes()) for path in unique.values()]
    _check(sources)
    return sources


def standard_library() -> tuple[list[Source], str]:
    """Read the standard library's Python source. Return it, and a text that describes it.

    Some distributions leave parts out (the tests, tkinter). If it has fewer than 300,000 lines, files of installed
    packages are added.
    """
    root = Path(get_path("stdlib"))
    sources = list(_python_files(root, root, _NOT_STDLIB))
    what = f"Python's standard library, {root}"
    lines = _lines(sources)
    if lines < ENOUGH_LINES:
        packages = Path(get_path("purelib"))
        for source in _python_files(packages, packages.parent, ("__pycache__",)):
            sources.append(source)
            lines += len(source)
            if lines >= ENOUGH_LINES:
                break
        what += ", and installed packages"
    _check(sources)
    return sources, what


def _python_files(folder: Path, root: Path, without: tuple[str, ...]) -> Iterator[Source]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if each not in without)
        for name in sorted(files):
            path = Path(place, name)
            if path.suffix == ".py" and path.is_file():
                try:
                    yield Source(str(path.relative_to(root)), path.read_bytes())
                except OSError:  # for example no permission to read it
                    continue


def _lines(sources: list[Source]) -> int:
    return sum(map(len, sources))


def _check(sources: list[Source]) -> None:
    if not _lines(sources):
        raise click.ClickException("the input has no lines")
    for source in sources:
        if source.size < _MAX_RECORD - 2048 - len(source.name):
            continue
        for line in range(1, len(source) + 1):
            if len(source.record(line)) + len(source.key.encode()) > _MAX_RECORD:
                raise click.ClickException(
                    f"{source.name}, line {line}: {len(source.record(line))} bytes with file name and line number; "
                    f"a record has at most {_MAX_RECORD} bytes, including its key"
                )
