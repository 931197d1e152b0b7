"""Failed records appended to a file."""

from __future__ import annotations

import errno
import os
from typing import Any

from kplpy.dead_letters.entry import entry_of, line_of
from kplpy.errors import RecordFailedError


class DeadLetterFile:
    """An `on_failure` that appends each failed record to the file `path`, a JSON object a line.

    `kplpy put --from-failed FILE` sends them again. Move the file away before, and nothing is appended meanwhile: it
    is opened anew for each record. So it may also be shared by threads, forked children and other processes. The
    file is made with its first record; its directory must be there (FileNotFoundError, NotADirectoryError).

    A record that cannot be appended (disk full) raises OSError, which the producer logs, once an interval with a count.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)  # a daemon may change its directory
        directory = os.path.dirname(self.path)
        if not os.path.exists(directory):
            raise FileNotFoundError(errno.ENOENT, "the directory of the dead letters' file is not there", directory)
        if not os.path.isdir(directory):
            raise NotADirectoryError(errno.ENOTDIR, "the dead letters' file must be in a directory", directory)
        if os.path.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, "the dead letters' file must not be a directory", self.path)

    def __call__(self, error: RecordFailedError) -> None:
        """Append the record of the error."""
        try:
            append(self.path, entry_of(error))
        except OSError as failure:
            text = f"a failed record of stream {error.stream!r} is lost: {failure.strerror or failure}"
            raise OSError(failure.errno, text, self.path) from failure

    def __repr__(self) -> str:
        return f"DeadLetterFile({self.path!r})"


def append(path: str, entry: dict[str, Any]) -> None:
    """Write the entry as one line, in one piece: O_APPEND keeps the lines of several writers whole.

    OSError: it is not written, or not to its end. There may be empty lines between.
    """
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        line = line_of(entry)
        size = os.fstat(file).st_size
        if size:
            os.lseek(file, size - 1, os.SEEK_SET)
            if os.read(file, 1) != b"\n":  # the disk was full in the midst of a line, or another writer is
                line = b"\n" + line
        while line:
            line = line[os.write(file, line) :]
    finally:
        os.close(file)
