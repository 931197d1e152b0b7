"""DeadLetterFile: appends failed records to a file."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from kplpy.dead_letters.entry import entry_of, line_of
from kplpy.errors import RecordFailedError
from kplpy.private_files import open_private


class DeadLetterFile:
    """An `on_failure` that appends each failed record to the file `path`, one JSON object per line.

    `kplpy put --from-failed FILE` sends the records again. Move the file away first, so that no record is appended
    during that. The file is opened again for each record, so it can be moved at any time, and threads, forked children
    and other processes can share it. The file is created with its first record. Its directory must exist
    (FileNotFoundError, NotADirectoryError).

    The file is created for its user alone (mode 0600); an existing file keeps its mode.
    follow_symlinks: False refuses a `path` that is a symbolic link (OSError, at once and with each record). True writes
    to the file that the link points to.

    A record that cannot be appended, for example to a full disk, is lost. The call raises OSError, which the producer
    logs once per interval with a count. If a part of its line was written, that part stays as a line of its own, and
    the next record begins a new line.
    """

    def __init__(self, path: str | os.PathLike[str], *, follow_symlinks: bool = False) -> None:
        self.path = os.path.abspath(path)  # a daemon may change its working directory
        self.follow_symlinks = follow_symlinks
        directory = os.path.dirname(self.path)
        if not os.path.exists(directory):
            raise FileNotFoundError(errno.ENOENT, "the directory of the dead letter file does not exist", directory)
        if not os.path.isdir(directory):
            raise NotADirectoryError(errno.ENOTDIR, "the dead letter file must be in a directory", directory)
        if os.path.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, "the dead letter file must not be a directory", self.path)
        if os.path.islink(self.path) and not follow_symlinks:
            raise OSError(
                errno.ELOOP, "the dead letter file is a symbolic link; follow_symlinks=True follows it", self.path
            )

    def __call__(self, error: RecordFailedError) -> None:
        """Append the error's record; raise OSError if the record cannot be appended."""
        try:
            append(self.path, entry_of(error), follow_symlinks=self.follow_symlinks)
        except OSError as failure:
            text = f"a failed record of stream {error.stream!r} is lost: {failure.strerror or failure}"
            raise OSError(failure.errno, text, self.path) from failure

    def __repr__(self) -> str:
        return f"DeadLetterFile({self.path!r})"


def append(path: str, entry: dict[str, Any], *, follow_symlinks: bool = False) -> None:
    """Append the entry as one line.

    A single write with O_APPEND keeps the lines of several writers whole.

    Raises OSError if the line was not written, or not completely. The file may then have empty and broken lines between
    whole ones.
    """
    file = open_private(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, follow_symlinks=follow_symlinks)
    try:
        line = line_of(entry)
        state = os.fstat(file)
        seekable = stat.S_ISREG(state.st_mode)
        # The last line may be incomplete, because the disk was full when that line was written.
        if seekable and not _is_line_end(file, state.st_size):
            line = b"\n" + line
        # Write the line again, after a newline, if only a part of it was written, or if it follows another writer's
        # incomplete line.
        while os.write(file, line) < len(line) or (seekable and not _is_line_start(file, line)):
            line = b"\n" + line
    finally:
        os.close(file)


def _is_line_start(file: int, written: bytes) -> bool:
    """Return True if the bytes just written begin with, or follow, a newline."""
    return written.startswith(b"\n") or _is_line_end(file, os.lseek(file, 0, os.SEEK_CUR) - len(written))


def _is_line_end(file: int, offset: int) -> bool:
    """Return True if `offset` is 0 or follows a newline."""
    if not offset:
        return True
    os.lseek(file, offset - 1, os.SEEK_SET)
    return os.read(file, 1) == b"\n"
