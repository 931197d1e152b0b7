"""Checkpoints: for each file the offset below which everything was accepted, in a SQLite database."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

from kplpy.agent.tailing.identity import Head, Key, Mark
from kplpy.errors import CheckpointError
from kplpy.private_files import open_private
from kplpy.process import file_lock

_APPLICATION_ID = 0x6B70_6C61  # "kpla"
_VERSION = 1
_TABLES = {
    "flows": "CREATE TABLE flows (flow TEXT PRIMARY KEY, started REAL, imported INTEGER) WITHOUT ROWID",
    "positions": "CREATE TABLE positions (id INTEGER PRIMARY KEY, flow TEXT, path BLOB, device TEXT, inode TEXT, "
    "head_length INTEGER, head BLOB, first BLOB, offset INTEGER, tail BLOB, size INTEGER, state INTEGER, "
    "updated REAL, seen REAL)",
}
_AGENT_FILE_ID = re.compile(r"\(dev=([0-9a-f]+),ino=(\d+)\)")
DAY_S = 86_400


class State(IntEnum):
    """Whether more of a file may be read.

    ENDED: a footer ended the file. FINISHED: the file left the pattern, and was read to its end. ROTATED: as READING,
    but the file was renamed, so its last line may be whole without a newline.
    """

    READING = 0
    ENDED = 1
    FINISHED = 2
    ROTATED = 3


@dataclass(frozen=True, slots=True)
class Position:
    """What is kept of one file's content.

    path: where the file was last.
    head, mark: None in a position that a Kinesis Agent wrote.
    size: bytes of the file when they were last looked at.
    state: whether more may be read.
    updated: Unix time.
    """

    path: str
    key: Key
    head: Head | None
    mark: Mark | None
    offset: int
    size: int
    state: State
    updated: float


class Keeper(Protocol):
    """A file whose position changes."""

    flow: str

    def position(self) -> Position | None:
        """Return the position to keep, or None if it cannot be known now."""
        ...  # pragma: no cover


class Checkpoints:
    """The positions of all flows. Used from one thread; one process at a time uses a file.

    A commit is one transaction in WAL mode that is synced (synchronous=FULL). Hashes of a file's content are stored,
    not the content.

    path: the database. Its directory is made for its user alone (0700), and the file too (0600).
    """

    def __init__(self, path: str, imported: str | None = None, ttl_days: int = 7) -> None:
        """Open the database. A new one takes over the positions of `imported`, a Kinesis Agent's file, if it exists.

        ttl_days: positions of files that were not seen for this long are forgotten.

        Raises CheckpointError if the file is damaged, in use or unwritable. The message says what to do.
        """
        self.path = path
        self.imported = 0
        self._ttl_s = ttl_days * DAY_S
        self._dirty: dict[int, Keeper] = {}
        self._new_flows: dict[str, bool] = {}
        self._forgotten: set[int] = set()
        self._seen: set[int] = set()
        self._unseen_flows: set[str] = set()
        self._is_closed = False
        self._lock = _lock(path)
        try:
            self._database = _open(path)
            self._prepare()
            self._flows: dict[str, bool] = dict(self._select("SELECT flow, imported FROM flows"))
            ((highest,),) = self._select("SELECT max(id) FROM positions")
            self._next_id = (highest or 0) + 1
            if not self._flows and highest is None and imported is not None:
                self._import(imported)
        except BaseException:
            self._lock.release()
            raise

    def is_started(self, flow: str) -> bool:
        """Return True if the flow has run before, in kplpy or in the Kinesis Agent that was imported."""
        return flow in self._flows

    def is_imported(self, flow: str) -> bool:
        """Return True if the flow has not run in kplpy yet, and its positions are a Kinesis Agent's."""
        return bool(self._flows.get(flow))

    def start(self, flow: str) -> None:
        """Note that the flow has run. Files that appear from now on are read from their beginning."""
        if self._flows.get(flow) is not False:
            self._flows[flow] = False
            self._new_flows[flow] = False

    def load(self, flow: str) -> dict[int, Position]:
        """Return the flow's positions by their ids. None is forgotten before the flow's first seen()."""
        self._unseen_flows.add(flow)
        rows = self._select(
            "SELECT id, path, device, inode, head_length, head, first, offset, tail, size, state, updated "
            "FROM positions WHERE flow = ?",
            (flow,),
        )
        return {
            id: Position(
                os.fsdecode(path),
                (int(device), int(inode)),
                Head(head_length, head, first) if head is not None else None,
                Mark(offset, tail) if tail is not None else None,
                offset,
                size,
                State(state),
                updated,
            )
            for id, path, device, inode, head_length, head, first, offset, tail, size, state, updated in rows
        }

    def new_id(self) -> int:
        """Return an id for the position of a file that has none."""
        self._next_id += 1
        return self._next_id - 1

    def changed(self, id: int, keeper: Keeper) -> None:
        """Note that the position of the file changed. The next commit asks the file for it."""
        self._dirty[id] = keeper

    def forget(self, id: int) -> None:
        """Remove a position with the next commit."""
        self._dirty.pop(id, None)
        self._forgotten.add(id)

    def seen(self, flow: str, ids: Iterable[int]) -> None:
        """Note that these files of the flow exist, so that their positions are kept."""
        self._unseen_flows.discard(flow)
        self._seen.update(ids)

    def commit(self) -> None:
        """Write all changes in one synced transaction. Raises CheckpointError; the changes then stay to be written."""
        if not (self._dirty or self._forgotten or self._new_flows or self._seen):
            return
        now = time.time()
        written: dict[int, Keeper] = {}
        rows = []
        for id, keeper in self._dirty.items():
            position = keeper.position()
            if position is not None:
                written[id] = keeper
                rows.append(_row(id, keeper.flow, position, now))
        if not (rows or self._forgotten or self._new_flows or self._seen):
            return
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                database.executemany("INSERT OR REPLACE INTO flows VALUES (?, ?, ?)", self._flow_rows(now))
                database.executemany("INSERT OR REPLACE INTO positions VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)
                database.executemany("DELETE FROM positions WHERE id = ?", [(id,) for id in self._forgotten])
                database.executemany("UPDATE positions SET seen = ? WHERE id = ?", [(now, id) for id in self._seen])
                if self._seen and not self._unseen_flows:
                    database.execute("DELETE FROM positions WHERE seen < ?", (now - self._ttl_s,))
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _unwritable(self.path, error) from error
        for id in written:
            del self._dirty[id]
        self._forgotten.clear()
        self._new_flows.clear()
        self._seen.clear()

    def close(self) -> None:
        """Commit, and close the database. A second close does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self.commit()
        finally:
            self._database.close()
            self._lock.release()

    def _flow_rows(self, now: float) -> list[tuple[str, float, int]]:
        return [(flow, now, int(imported)) for flow, imported in self._new_flows.items()]

    def _select(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _damaged(self.path, str(error)) from error

    def _prepare(self) -> None:
        """Check the tables, or make them."""
        ((application,),) = self._select("PRAGMA application_id")
        ((version,),) = self._select("PRAGMA user_version")
        tables = dict(self._select("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        if "FILE_CHECKPOINTS" in tables:
            raise CheckpointError(
                f"{self.path}: it is a Kinesis Agent's checkpoint file; set checkpointFile to another path, and "
                "importCheckpointFile to this one, to take its positions over"
            )
        if tables and (application != _APPLICATION_ID or version > _VERSION):
            reason = (
                f"written by a newer kplpy (version {version})" if application == _APPLICATION_ID else "not kplpy's"
            )
            raise CheckpointError(f"{self.path}: it is {reason}; set checkpointFile to another path")
        faults = self._select("PRAGMA quick_check(1)")
        if faults != [("ok",)] or (tables and tables != _TABLES):
            raise _damaged(
                self.path, faults[0][0] if faults != [("ok",)] else "its tables are not those of checkpoints"
            )
        try:
            for statement in ("journal_mode = WAL", "synchronous = FULL", "journal_size_limit = 4194304"):
                self._database.execute(f"PRAGMA {statement}")
            if not tables:
                self._database.execute("BEGIN IMMEDIATE")
                for sql in _TABLES.values():
                    self._database.execute(sql)
                self._database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
                self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise _unwritable(self.path, error) from error

    def _import(self, path: str) -> None:
        """Take over the positions of a Kinesis Agent, which are left as they are."""
        if not os.path.exists(path):
            return
        try:
            database = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
            try:
                rows = database.execute(
                    "SELECT flow, path, fileId, offset, lastUpdated FROM FILE_CHECKPOINTS"
                ).fetchall()
            finally:
                database.close()
        except sqlite3.Error as error:
            raise CheckpointError(
                f"{path}: the Kinesis Agent's checkpoint file cannot be imported ({error}); set "
                'importCheckpointFile to its path, or to "" to begin without it'
            ) from error
        for flow, name, file_id, offset, updated in rows:
            found = _AGENT_FILE_ID.fullmatch(str(file_id))
            if found is None:
                continue
            key = int(found[1], 16), int(found[2])
            position = Position(
                str(name), key, None, None, int(offset), int(offset), State.READING, _agent_time(updated)
            )
            self._dirty[self.new_id()] = _Imported(str(flow), position)
            self._flows[str(flow)] = True
            self._new_flows[str(flow)] = True
            self.imported += 1
        self.commit()


class _Imported:
    """A Kinesis Agent's position, to be written."""

    def __init__(self, flow: str, position: Position) -> None:
        self.flow = flow
        self._position = position

    def position(self) -> Position:
        return self._position


def _row(id: int, flow: str, position: Position, now: float) -> tuple[object, ...]:
    head, mark = position.head, position.mark
    device, inode = position.key
    return (
        *(id, flow, os.fsencode(position.path), str(device), str(inode)),
        *((head.length, head.hash, head.first) if head is not None else (None, None, None)),
        *(position.offset, mark.hash if mark is not None else None),
        *(position.size, position.state, position.updated, now),
    )


def _agent_time(value: object) -> float:
    """Return the Unix time of a value of the Kinesis Agent: milliseconds, or 'YYYY-MM-DD hh:mm:ss' in UTC."""
    if isinstance(value, (int, float)):
        return value / 1000
    try:
        import calendar

        return float(calendar.timegm(time.strptime(str(value)[:19], "%Y-%m-%d %H:%M:%S")))
    except ValueError:
        return time.time()


def _lock(path: str) -> file_lock.FileLock:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = file_lock.take(Path(path + ".lock"), create=True)
    except OSError as error:
        raise CheckpointError(
            f"{path}: the checkpoint file cannot be made or locked ({error}); set checkpointFile to a path that the "
            "agent's user may write, on a local disk"
        ) from error
    if taken is None:
        raise CheckpointError(
            f"{path}: another agent uses this checkpoint file; stop it, or give each agent a checkpointFile of its own"
        )
    return taken


def _open(path: str) -> sqlite3.Connection:
    try:
        os.close(open_private(path, os.O_RDWR | os.O_CREAT))  # SQLite would use the umask's mode
        return sqlite3.connect(path, timeout=1, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise _unwritable(path, error) from error


def _damaged(path: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: the checkpoint file is damaged ({reason}); restore it, or move it away: the agent then begins as at "
        "its first start, at initialPosition"
    )


def _unwritable(path: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: the checkpoint file cannot be written ({error}); free space or permissions, or set checkpointFile to "
        "another path"
    )
