"""Finds the files of all flows, and where reading them would begin, without changing anything."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kplpy.agent.settings import AgentSettings
from kplpy.agent.tailing import Checkpoints, Descriptors, FileStatus, FlowTailer
from kplpy.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that a flow's pattern matches.

    size, begins_at: bytes. has_checkpoint: begins_at is a position of an earlier run. is_readable: for this user.
    """

    path: str
    size: int
    begins_at: int
    has_checkpoint: bool
    is_readable: bool = True


def survey(settings: AgentSettings, now: float) -> dict[str, list[FoundFile]]:
    """Return flow id → its files by path, as the tailers of a start at `now` would find them.

    The tailers work on a copy of the checkpoints, so a running agent is not disturbed. Raises CheckpointError if the
    checkpoints cannot be read.
    """
    found: dict[str, list[FoundFile]] = {}
    with tempfile.TemporaryDirectory(prefix="kplpy-agent-check-") as directory:
        copy = os.path.join(directory, "checkpoints.db")
        _copy_database(settings.checkpoint_file, copy)
        checkpoints = Checkpoints(copy, settings.imported_checkpoints, settings.checkpoint_ttl_days)
        try:
            for flow in settings.flows:
                known = {position.path for position in checkpoints.load(flow.id).values()}
                tailer = FlowTailer(flow, checkpoints, Descriptors(settings.max_open_files))
                try:
                    tailer.poll(now)
                    found[flow.id] = [
                        FoundFile(
                            each.path, _size(each), each.offset, each.path in known, os.access(each.path, os.R_OK)
                        )
                        for each in sorted(tailer.files(), key=lambda each: each.path)
                        if each.is_present
                    ]
                finally:
                    tailer.close()
        finally:
            checkpoints.close()
    return found


def _size(file: FileStatus) -> int:
    """Return the size now: a tailer that has read a file to its end need not have looked at it."""
    try:
        return os.stat(file.path).st_size
    except OSError:  # it vanished meanwhile
        return max(file.size, 0)


def _copy_database(path: str, copy: str) -> None:
    """Copy a database that another process may be writing. Without one there is no copy."""
    if not os.path.exists(path):
        return
    try:
        source = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        target = sqlite3.connect(copy)
        try:
            source.backup(target)
        finally:
            target.close()
            source.close()
    except sqlite3.Error as error:
        raise CheckpointError(
            f"{path}: the checkpoint file cannot be read ({error}); run the check as the agent's user"
        ) from error
