"""Files with records in them: for their user alone, and never behind a symbolic link by surprise."""

from __future__ import annotations

import errno
import os


def open_private(path: str, flags: int, *, follow_symlinks: bool = False) -> int:
    """Open `path`, made with mode 0600 where it is missing; returns the descriptor.

    A file that is there keeps its mode. A symbolic link as the last part of `path` raises OSError (ELOOP), unless
    `follow_symlinks`: in a directory that others may write to, it could point anywhere. Windows follows links that
    appear after the check.
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
    """The error for a link that must not be followed."""
    return OSError(errno.ELOOP, "it is a symbolic link, which is not followed", path)
