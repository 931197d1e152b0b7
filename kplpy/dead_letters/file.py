"""Failed records appended to a file."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from kplpy.dead_letters.entry import entry_of, line_of
from kplpy.errors import RecordFailedError
from kplpy.private_files import open_private


class DeadLetterFile:
    """An `on_failure` that appends each failed record to the file `path`, a JSON object a line.

    `kplpy put --from-failed FILE` sends them again. Move the file away before, and nothing is appended meanwhile: it
    is opened anew for each record. So it may also be shared by threads, forked children and other processes. The
    file is made with its first record; its directory must be there (FileNotFoundError, NotADirectoryError).

    The file is made for its user alone (mode 0600); one that is there keeps its mode. follow_symlinks: False refuses a
    `path` that is a symbolic link (OSError, at once and with each record), True writes where it points.

    A record that cannot be appended (disk full) is lost: it raises OSError, which the producer logs, once an interval
    with a count. What was written of its line stays, as a line of its own: the next record begins a new one.
    """

    def __init__(self, path: str | os.PathLike[str], *, follow_symlinks: bool = False) -> None:
        self.path = os.path.abspath(path)  # a daemon may change its directory
        self.follow_symlinks = follow_symlinks
        directory = os.path.dirname(self.path)
        if not os.path.exists(directory):
            raise FileNotFoundError(errno.ENOENT, "the directory of the dead letters' file is not there", directory)
        if not os.path.isdir(directory):
            raise NotADirectoryError(errno.ENOTDIR, "the dead letters' file must be in a directory", directory)
        if os.path.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, "the dead letters' file must not be a directory", self.path)
        if os.path.islink(self.path) and not follow_symlinks:
            raise OSError(
                errno.ELOOP, "the dead letters' file is a symbolic link; follow_symlinks=True follows it", self.path
            )

    def __call__(self, error: RecordFailedError) -> None:
        """Append the record of the error."""
        try:
            append(self.path, entry_of(error), follow_symlinks=self.follow_symlinks)
        except OSError as failure:
            text = f"a failed record of stream {error.stream!r} is lost: {failure.strerror or failure}"
            raise OSError(failure.errno, text, self.path) from failure

    def __repr__(self) -> str:
        return f"DeadLetterFile({self.path!r})"


def append(path: str, entry: dict[str, Any], *, follow_symlinks: bool = False) -> None:
    """Append the entry as a line, written in one piece: O_APPEND keeps the lines of several writers whole.

    OSError: the line is not there, or not to its end. Empty and broken lines may stand between whole ones.
    """
    file = open_private(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, follow_symlinks=follow_symlinks)
    try:
        line = line_of(entry)
        state = os.fstat(file)
        seekable = stat.S_ISREG(state.st_mode)
        if seekable and not _is_line_end(file, state.st_size):  # the disk was full when the last line was written
            line = b"\n" + line
        # Once more, behind a newline, where only a part was written, or right behind a part of another writer's line.
        while os.write(file, line) < len(line) or (seekable and not _is_line_start(file, line)):
            line = b"\n" + line
    finally:
        os.close(file)


def _is_line_start(file: int, written: bytes) -> bool:
    """Return True if what was just written begins with a newline, or where a line ended."""
    return written.startswith(b"\n") or _is_line_end(file, os.lseek(file, 0, os.SEEK_CUR) - len(written))


def _is_line_end(file: int, offset: int) -> bool:
    """Return True if a line may begin at `offset`."""
    if not offset:
        return True
    os.lseek(file, offset - 1, os.SEEK_SET)
    return os.read(file, 1) == b"\n"
