"""Opens files with records, which only their user may read, and not through symbolic links."""

from __future__ import annotations

import errno
import os


def open_private(path: str, flags: int, *, follow_symlinks: bool = False) -> int:
    """Open `path` and return the descriptor. A missing file is made with mode 0600.

    An existing file keeps its mode. A symbolic link as the last part of `path` raises OSError (ELOOP), unless
    `follow_symlinks` is set: in a directory that others can write to, the link could point anywhere. On Windows a link
    that appears after the check is followed.
    """
    if not follow_symlinks:
        flags |= getattr(os, "O_NOFOLLOW", 0)
        if os.path.islink(path):
            raise symlink_refused(path)
    try:
        return os.open(path, flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        if not follow_symlinks and error.errno == errno.ELOOP:
            raise symlink_refused(path) from None
        raise


def symlink_refused(path: str) -> OSError:
    """Return the error for a link that must not be followed."""
    return OSError(errno.ELOOP, "it is a symbolic link, which is not followed", path)
