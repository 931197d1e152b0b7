"""Programs that write numbered lines to log files and rotate them, each in a style of its own.

A writer does one small step at a call, so that a test decides what happens in between. `written` holds all lines.
`excused` holds those that the writer itself destroyed: behind a copy and before its truncation, or in a deleted file.
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path


class Writer:
    """One program's log.

    directory: of the log, which the pattern of the test matches. Archives go to `archive` beside it.
    """

    def __init__(self, directory: Path, name: str = "app.log", *, seed: int = 0, width: int = 20) -> None:
        self.directory = directory
        self.path = directory / name
        self.archive = directory.parent / "archive"
        self.archive.mkdir(exist_ok=True)
        self.written: list[bytes] = []
        self.excused: set[bytes] = set()
        self._random = random.Random(seed)
        self._width = width
        self._number = 0
        self.rotations = 0
        self._later: list[Callable[[], None]] = []
        self._file = self._open()

    def write(self, lines: int = 1) -> None:
        """Append lines."""
        self._file.write(b"".join(self._line() for _ in range(lines)))

    @property
    def is_rotating(self) -> bool:
        return bool(self._later)

    def go_on(self) -> None:
        """Do the next step of a rotation that takes several."""
        if self._later:
            self._later.pop(0)()

    def close(self) -> None:
        while self._later:
            self.go_on()
        self._file.close()

    def rotate(self, style: str) -> None:
        """Begin a rotation; go_on() ends it."""
        while self._later:
            self.go_on()
        self.rotations += 1
        getattr(self, f"_{style}")()

    def _line(self, *, ending: bytes = b"\n") -> bytes:
        self._number += 1
        text = self._random.randbytes(self._random.randrange(self._width)).hex().encode()
        line = b"%s %07d %s" % (self.path.name.encode(), self._number, text) + ending
        self.written.append(line)
        return line

    def _open(self) -> Binary:
        return Binary(self.path)

    def _reopen(self) -> None:
        self._file.close()
        self._file = self._open()

    def _shift(self) -> Path:
        """Rename app.log.1 to app.log.2 and so on, and return the path of app.log.1."""
        number = 1
        while self._numbered(number).exists():
            number += 1
        for each in range(number, 1, -1):
            self._numbered(each - 1).rename(self._numbered(each))
        return self._numbered(1)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _truncate(self, copied: int) -> None:
        """Truncate the log, with what was written since the copy."""
        self.excused.update(self.path.read_bytes()[copied:].splitlines(keepends=True))
        self._file.truncate()

    # The styles

    def _rename(self) -> None:
        """logrotate's create: numbered names."""
        self.path.rename(self._shift())
        self._reopen()

    def _rename_late(self) -> None:
        """The program is signalled later, and writes to the renamed file until then."""
        self.path.rename(self._shift())
        self._later = [lambda: self.write(2), self._reopen]

    def _unterminated(self) -> None:
        """The last line has no newline."""
        self._file.write(self._line(ending=b""))
        self.path.rename(self._shift())
        self._reopen()

    def _new_name(self) -> None:
        """A file with the date in its name for each period."""
        self.path = self.directory / f"app.log-{self.rotations:06d}"
        self._reopen()

    def _into_archive(self) -> None:
        """logrotate's olddir."""
        self.path.rename(self.archive / f"{self.path.name}.{self.rotations}")
        self._later = [lambda: self.write(1), self._reopen]

    def _into_subdirectory(self) -> None:
        below = self.directory / "rotated"
        below.mkdir(exist_ok=True)
        self.path.rename(below / f"{self.path.name}{self.rotations}")
        self._reopen()

    def _copytruncate(self) -> None:
        shutil.copyfile(self.path, self._shift())
        size = self.path.stat().st_size
        self._later = [lambda: self._truncate(size)]

    def _slow_copytruncate(self) -> None:
        """A copy that takes a while. What is written before the truncation may be lost."""
        target = self._shift()
        data = self.path.read_bytes()
        half = len(data) // 2
        target.write_bytes(data[:half])

        def second_half() -> None:
            with target.open("ab") as copy:
                copy.write(data[half:])

        self._later = [second_half, lambda: self._truncate(len(data))]

    def _copytruncate_outside(self) -> None:
        """logrotate's copytruncate with olddir."""
        shutil.copyfile(self.path, self.archive / f"{self.path.name}.{self.rotations}")
        self._file.truncate()

    def _copy(self) -> None:
        """logrotate's copy: the log goes on."""
        shutil.copyfile(self.path, self._shift())

    def _rename_compress(self) -> None:
        target = self._shift()
        self.path.rename(target)
        self._reopen()

        def compress() -> None:
            # The copy is complete before the original goes, as gzip does it.
            compressed = self.archive / f"{target.name}-{self.rotations}.gz"
            compressed.write_bytes(gzip.compress(target.read_bytes(), 1))
            target.unlink()

        self._later = [lambda: None, compress]

    def _delete(self) -> None:
        self.path.unlink()
        self._reopen()

    def _vanish(self) -> None:
        """The file is away for a while and comes back."""
        away = self.archive / "away"
        self.path.rename(away)
        self._later = [lambda: self.write(1), lambda: os.rename(away, self.path)]


class Binary:
    """A file opened to append, written at once."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, data: bytes) -> None:
        assert os.write(self._descriptor, data) == len(data)

    def truncate(self) -> None:
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        os.close(self._descriptor)


STYLES = (
    *("rename", "rename_late", "unterminated", "new_name", "into_archive", "into_subdirectory", "copytruncate"),
    *("slow_copytruncate", "copytruncate_outside", "copy", "rename_compress", "delete", "vanish"),
)
