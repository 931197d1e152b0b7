"""The log behind a data directory: what is written comes back, and rewriting it loses nothing."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from kplpy.local import Limits, Model, Phases, ServiceError, journal
from kplpy.local.journal import Journal


def opened(directory: Path, **arguments: Any) -> tuple[Model, Journal]:
    model = Model(limits=Limits.none(), **arguments)
    kept = Journal(directory)
    kept.restore(model)
    model.journal = kept.write
    return model, kept


def put(model: Model, now: float, data: bytes, stream: str = "s") -> str:
    params = {"StreamName": stream, "Data": data, "PartitionKey": f"{now}"}
    return str(model.handle("PutRecord", params, now)["SequenceNumber"])


def shards(model: Model, now: float) -> list[dict[str, Any]]:
    found = model.handle("ListShards", {"StreamName": "s"}, now)["Shards"]
    assert isinstance(found, list)
    return found


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model, kept = opened(tmp_path, phases=Phases(creating=1, updating=5))
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 2}, 0.0)
    put(model, 2.0, b"one")
    model.handle("UpdateShardCount", {"StreamName": "s", "TargetShardCount": 3, "ScalingType": "UNIFORM_SCALING"}, 3.0)
    put(model, 5.0, b"two")
    put(model, 9.0, b"three")
    kept.close()
    model.journal = None

    again, kept = opened(tmp_path)  # with other phases, which must not change the past
    assert list(again.ledger()) == list(model.ledger())
    assert shards(again, 10.0) == shards(model, 10.0)
    assert put(again, 10.0, b"four") == put(model, 10.0, b"four")
    assert again.requests > model.requests - 3
    kept.close()


def test_a_reshard_under_way_goes_on(tmp_path: Path) -> None:
    model, kept = opened(tmp_path, phases=Phases(updating=10))
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    split = {"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": str(1 << 127)}
    model.handle("SplitShard", split, 1.0)
    kept.close()
    again, kept = opened(tmp_path)
    assert len(shards(again, 10.9)) == 1
    assert len(shards(again, 11.0)) == 3
    kept.close()


def test_rewriting_the_log_keeps_what_is_held_and_the_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_COMPACT_FROM", 10_000)
    arguments = {"retention_bytes": 20_000, "phases": Phases(deleting=0)}
    model, kept = opened(tmp_path, **arguments)
    for name in ("gone", "s", "idle"):
        model.handle("CreateStream", {"StreamName": name, "ShardCount": 2}, 0.0)
    put(model, 1.0, b"x" * 1000, "gone")
    idle = put(model, 1.0, b"", "idle")
    for each in range(200):
        put(model, 2.0 + each, b"%03d" % each + b"x" * 997)
    model.handle("DeleteStream", {"StreamName": "gone"}, 300.0)
    kept.close()
    before = (tmp_path / "kinesis.log").stat().st_size

    again, kept = opened(tmp_path, **arguments)
    assert (tmp_path / "kinesis.log").stat().st_size < before / 5
    last = put(again, 301.0, b"last")
    kept.close()

    third, kept = opened(tmp_path, **arguments)
    assert set(third.streams) == {"s", "idle"}
    assert list(third.ledger("s"))[-1].sequence_number == last
    assert [each.data[:3] for each in third.ledger("s")][:-1] == [each.data[:3] for each in model.ledger("s")]
    assert third.handle("ListShards", {"StreamName": "idle"}, 400.0)["Shards"]
    assert int(put(third, 400.0, b"", "idle")) != int(idle)
    kept.close()


def test_what_cannot_be_written_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, kept = opened(tmp_path)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    whole = journal._write_all

    def full(file: Any, frame: bytes) -> None:
        whole(file, frame[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal, "_write_all", full)
    with pytest.raises(ServiceError, match="No space left") as caught:
        put(model, 1.0, b"lost")
    assert (caught.value.code, caught.value.status) == ("InternalFailure", 500)
    monkeypatch.setattr(journal, "_write_all", whole)
    put(model, 2.0, b"kept")
    kept.close()
    again, kept = opened(tmp_path)
    assert [each.data for each in again.ledger()] == [b"kept"]
    kept.close()
