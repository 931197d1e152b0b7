"""The checkpoint file: what is kept, what is imported, and what is refused."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from kplpy import CheckpointError
from kplpy.agent.tailing import Checkpoints
from kplpy.agent.tailing.checkpoints import Position, State
from kplpy.agent.tailing.identity import Mark, digest, head_of
from tests.inside import kill_checkpoints

POSITION = Position("/log/\udcff", (7, 2**64 - 1), head_of(b"abc"), Mark(3, digest(b"abc")), 3, 9, State.READING, 5.0)


class Keeper:
    flow = "kinesis:s:/log/*"

    def position(self) -> Position:
        return POSITION


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state" / "checkpoints.db")


def test_a_committed_position_survives_and_another_one_does_not(path: str) -> None:
    checkpoints = Checkpoints(path)
    first = checkpoints.new_id()
    checkpoints.changed(first, Keeper())
    checkpoints.commit()
    checkpoints.changed(checkpoints.new_id(), Keeper())
    kill_checkpoints(checkpoints)
    checkpoints = Checkpoints(path)
    assert checkpoints.load(Keeper.flow) == {first: POSITION}
    assert checkpoints.load("another") == {}
    checkpoints.close()


def test_the_file_is_for_its_user_alone(path: str) -> None:
    Checkpoints(path).close()
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700


def test_each_commit_is_synced(path: str) -> None:
    checkpoints = Checkpoints(path)
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    checkpoints.close()


def test_positions_of_files_that_were_not_seen_are_forgotten(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(path, ttl_days=7)
    old, kept = checkpoints.new_id(), checkpoints.new_id()
    checkpoints.changed(old, Keeper())
    checkpoints.changed(kept, Keeper())
    checkpoints.commit()
    with monkeypatch.context() as later:
        later.setattr("kplpy.agent.tailing.checkpoints.time.time", lambda: os.stat(path).st_mtime + 8 * 86_400)
        checkpoints.seen(Keeper.flow, [kept])
        checkpoints.commit()
    assert checkpoints.load(Keeper.flow).keys() == {kept}
    checkpoints.close()


def test_positions_wait_for_all_flows_before_they_are_forgotten(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a week without an agent, the first flow's look must not take the positions of the others."""
    before = Checkpoints(path, ttl_days=7)
    kept = before.new_id()
    before.changed(kept, Keeper())
    before.commit()
    before.close()
    checkpoints = Checkpoints(path, ttl_days=7)
    assert checkpoints.load("another flow") == {}
    assert checkpoints.load(Keeper.flow).keys() == {kept}
    with monkeypatch.context() as later:
        later.setattr("kplpy.agent.tailing.checkpoints.time.time", lambda: os.stat(path).st_mtime + 8 * 86_400)
        checkpoints.seen("another flow", [kept + 1])
        checkpoints.commit()
        checkpoints.seen(Keeper.flow, [kept])
        checkpoints.commit()
    assert checkpoints.load(Keeper.flow).keys() == {kept}
    checkpoints.close()


def test_two_agents_do_not_share_a_file(path: str) -> None:
    checkpoints = Checkpoints(path)
    with pytest.raises(CheckpointError, match="another agent uses"):
        Checkpoints(path)
    checkpoints.close()
    Checkpoints(path).close()


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + bytes(4080)])
def test_a_damaged_file_is_refused_and_left_as_it_is(path: str, content: bytes) -> None:
    Path(path).parent.mkdir()
    Path(path).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged .*move it away"):
        Checkpoints(path)
    assert Path(path).read_bytes() == content


def test_other_databases_are_refused(path: str) -> None:
    Path(path).parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE x (y)")
    with pytest.raises(CheckpointError, match="not kplpy's"):
        Checkpoints(path)
    make_agent_file(Path(path + "2"), [])
    with pytest.raises(CheckpointError, match="importCheckpointFile"):
        Checkpoints(path + "2")


def test_a_newer_version_is_refused(path: str) -> None:
    Checkpoints(path).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(CheckpointError, match="newer kplpy"):
        Checkpoints(path)


def test_an_unwritable_place_is_reported_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match="set checkpointFile"):
        Checkpoints(str(tmp_path / "file" / "checkpoints.db"))


def test_a_failed_commit_is_made_up_for(path: str) -> None:
    checkpoints = Checkpoints(path)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    checkpoints.changed(checkpoints.new_id(), Keeper())
    with pytest.raises(CheckpointError, match="cannot be written"):
        checkpoints.commit()
    blocker.execute("ROLLBACK")
    blocker.close()
    checkpoints.commit()
    assert list(checkpoints.load(Keeper.flow).values()) == [POSITION]
    checkpoints.close()


def make_agent_file(path: Path, rows: list[tuple[object, ...]]) -> None:
    """Write a Kinesis Agent's checkpoint file."""
    with sqlite3.connect(path) as agent:
        agent.execute(
            "CREATE TABLE FILE_CHECKPOINTS (flow text, path text, fileId text, lastModifiedTime bigint, size bigint, "
            "offset bigint, lastUpdated datetime, primary key (flow, path))"
        )
        agent.executemany("INSERT INTO FILE_CHECKPOINTS VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    agent.close()


def test_a_kinesis_agents_positions_are_taken_over_once(path: str, tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    make_agent_file(agent, [(Keeper.flow, "/log/a", "(dev=fd01,ino=77)", 0, 10, 5, "2026-01-02 03:04:05.678")])
    before = agent.read_bytes()
    checkpoints = Checkpoints(path, str(agent))
    assert checkpoints.imported == 1
    assert checkpoints.is_imported(Keeper.flow)
    assert list(checkpoints.load(Keeper.flow).values()) == [
        Position("/log/a", (0xFD01, 77), None, None, 5, 5, State.READING, 1_767_323_045.0)
    ]
    checkpoints.close()
    assert agent.read_bytes() == before
    checkpoints = Checkpoints(path, str(agent))
    assert checkpoints.imported == 0
    checkpoints.close()


def test_an_import_that_cannot_be_read_is_an_error_and_leaves_nothing(path: str, tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    agent.write_bytes(b"no database" * 200)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="importCheckpointFile"):
            Checkpoints(path, str(agent))
    agent.unlink()
    Checkpoints(path, str(agent)).close()
