"""The log in a data directory: its changes come back, rewriting it loses nothing, and a full disk does no harm."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from kplpy.local import Limits, Model, Phases, ServiceError
from kplpy.local.model.model import no_journal
from kplpy.local.server import journal
from kplpy.local.server.journal import Journal


def opened(directory: Path, **arguments: Any) -> tuple[Model, Journal]:
    model = Model(limits=Limits.none(), **arguments)
    kept = Journal(directory)
    kept.restore(model)
    model.journal = kept.recording
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
    model.journal = no_journal

    again, kept = opened(tmp_path)  # other phases must not change what happened before
    assert list(again.ledger()) == list(model.ledger())
    assert shards(again, 10.0) == shards(model, 10.0)
    assert put(again, 10.0, b"four") == put(model, 10.0, b"four")
    assert again.requests > model.requests - 3
    kept.close()


def test_settings_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(model: Model) -> list[Any]:
        stream = {"StreamName": "s"}
        return [
            model.handle("DescribeStreamSummary", stream, 60.0),
            model.handle("ListTagsForStream", stream, 60.0),
            model.handle("ListTagsForResource", {"ResourceARN": consumer}, 60.0),
            model.handle("GetResourcePolicy", {"ResourceARN": arn}, 60.0),
            model.handle("DescribeAccountSettings", {}, 60.0),
            model.handle("DescribeLimits", {}, 60.0),
        ]

    model, kept = opened(tmp_path, phases=Phases(updating=1))
    enabled = {"MinimumThroughputBillingCommitment": {"Status": "ENABLED"}}
    model.handle("UpdateAccountSettings", enabled, 0.0)
    mode = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "WarmThroughputMiBps": 5}
    model.handle("CreateStream", {"StreamName": "s", "Tags": {"a": "1"}, **mode}, 0.0)
    arn = model.streams["s"].arn
    registered = model.handle(
        "RegisterStreamConsumer", {"StreamARN": arn, "ConsumerName": "c", "Tags": {"b": "2"}}, 1.0
    )
    consumer = registered["Consumer"]["ConsumerARN"]
    model.handle("TagResource", {"ResourceARN": arn, "Tags": {"c": "3"}}, 2.0)
    model.handle("UntagResource", {"ResourceARN": consumer, "TagKeys": ["x"]}, 2.0)
    policy = '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*"}}'
    model.handle("PutResourcePolicy", {"ResourceARN": arn, "Policy": policy}, 3.0)
    model.handle("IncreaseStreamRetentionPeriod", {"StreamName": "s", "RetentionPeriodHours": 48}, 4.0)
    model.handle("EnableEnhancedMonitoring", {"StreamName": "s", "ShardLevelMetrics": ["ALL"]}, 10.0)
    model.handle("StartStreamEncryption", {"StreamName": "s", "EncryptionType": "KMS", "KeyId": "alias/k"}, 20.0)
    model.handle("UpdateStreamWarmThroughput", {"StreamName": "s", "WarmThroughputMiBps": 7}, 30.0)
    expected = shown(model)
    kept.close()

    again, kept = opened(tmp_path)
    assert shown(again) == expected
    kept.close()
    monkeypatch.setattr(journal, "_COMPACT_FROM", 0)
    again, kept = opened(tmp_path)  # rewrites the log
    kept.close()
    again, kept = opened(tmp_path)
    assert shown(again) == expected
    kept.close()


def test_a_reshard_in_progress_continues_after_a_restart(tmp_path: Path) -> None:
    model, kept = opened(tmp_path, phases=Phases(updating=10))
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    split = {"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": str(1 << 127)}
    model.handle("SplitShard", split, 1.0)
    kept.close()
    again, kept = opened(tmp_path)
    assert len(shards(again, 10.9)) == 1
    assert len(shards(again, 11.0)) == 3
    kept.close()


def test_rewriting_the_log_keeps_the_held_records_and_the_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_delivery_streams_come_back_and_survive_a_rewrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = {"RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::b"}

    def deliver(model: Model, now: float, data: bytes, name: str = "s") -> str:
        params = {"DeliveryStreamName": name, "Record": {"Data": data}}
        return str(model.handle("Firehose.PutRecord", params, now)["RecordId"])

    def ids(model: Model) -> list[tuple[str, float, bytes]]:
        return [(each.record_id, each.time, each.data) for each in model.firehose_ledger("s")]

    monkeypatch.setattr(journal, "_COMPACT_FROM", 10_000)
    arguments = {"retention_bytes": 20_000, "phases": Phases(deleting=0)}
    model, kept = opened(tmp_path, **arguments)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)  # a Kinesis stream of the same name
    number = put(model, 0.5, b"kinesis")
    for name in ("gone", "s", "idle"):
        params = {"DeliveryStreamName": name, "ExtendedS3DestinationConfiguration": bucket}
        model.handle("Firehose.CreateDeliveryStream", params, 0.0)
    deliver(model, 1.0, b"x" * 1000, "gone")
    idle = deliver(model, 1.0, b"", "idle")
    for each in range(200):
        deliver(model, 2.0 + each, b"%03d" % each + b"x" * 997)
    model.handle("Firehose.DeleteDeliveryStream", {"DeliveryStreamName": "gone"}, 300.0)
    kept.close()
    before = (tmp_path / "kinesis.log").stat().st_size

    for _ in range(2):  # the second start reads the rewritten log
        again, kept = opened(tmp_path, **arguments)
        assert (tmp_path / "kinesis.log").stat().st_size < before / 5
        assert ids(again) == ids(model)
        assert set(again.firehose.streams) == {"s", "idle"}
        assert [each.sequence_number for each in again.ledger()] == [number]
        kept.close()
    again, kept = opened(tmp_path, **arguments)
    assert deliver(again, 400.0, b"", "idle") > idle
    assert deliver(again, 400.0, b"last") > list(model.firehose_ledger("s"))[-1].record_id
    kept.close()


class Disk(FileIO):
    """The log's file on a disk with `free` bytes, which may refuse to truncate the file."""

    free = 1 << 40
    may_shrink = True

    def write(self, data: Any) -> int:
        taken = bytes(data[: Disk.free])
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        Disk.free -= len(taken)
        return super().write(taken)

    def truncate(self, size: int | None = None) -> int:
        if not Disk.may_shrink:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().truncate(size)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> type[Disk]:
    monkeypatch.setattr(journal, "FileIO", Disk)
    monkeypatch.setattr(Disk, "free", 1 << 40)
    monkeypatch.setattr(Disk, "may_shrink", True)
    return Disk


def refused(model: Model, now: float, operation: str = "PutRecord", **params: Any) -> None:
    params = params or {"StreamName": "s", "Data": b"phantom", "PartitionKey": "k"}
    with pytest.raises(ServiceError) as caught:
        model.handle(operation, params, now)
    assert (caught.value.code, caught.value.status) == ("InternalFailure", 500)
    assert "cannot be written: [Errno " in caught.value.message


@pytest.mark.parametrize("free", [0, 7, 8, 30], ids="nothing part_of_the_header the_header part_of_the_body".split())
@pytest.mark.parametrize("may_shrink", [True, False])
def test_a_change_that_a_full_disk_refuses_does_not_happen(
    tmp_path: Path, disk: type[Disk], free: int, may_shrink: bool
) -> None:
    model, kept = opened(tmp_path)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    first = put(model, 1.0, b"first")
    disk.free, disk.may_shrink = free, may_shrink
    refused(model, 2.0)
    refused(model, 2.0, "CreateStream", StreamName="t", ShardCount=1)
    split = {"ShardToSplit": "shardId-000000000000", "NewStartingHashKey": str(1 << 127)}
    refused(model, 2.0, "SplitShard", StreamName="s", **split)
    refused(model, 2.0, "DeleteStream", StreamName="s")
    assert [each.data for each in model.ledger()] == [b"first"]
    assert set(model.streams) == {"s"}
    assert model.streams["s"].status == "ACTIVE"
    assert len(shards(model, 2.0)) == 1

    disk.free, disk.may_shrink = 1 << 40, True
    second = put(model, 3.0, b"second")
    kept.close()
    again, kept = opened(tmp_path)
    assert list(again.ledger()) == list(model.ledger())
    third = put(again, 3.0, b"third")
    held = {each.sequence_number: each.data for each in again.ledger()}
    assert held == {first: b"first", second: b"second", third: b"third"}
    kept.close()


@pytest.mark.parametrize("may_shrink", [True, False])
def test_a_restart_right_after_a_refusal(tmp_path: Path, disk: type[Disk], may_shrink: bool) -> None:
    model, kept = opened(tmp_path)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    disk.free, disk.may_shrink = 20, may_shrink
    refused(model, 1.0)
    kept.close()  # a kill has the same effect
    disk.free, disk.may_shrink = 1 << 40, True
    again, kept = opened(tmp_path)
    assert list(again.ledger()) == []
    put(again, 2.0, b"next")
    kept.close()
    third, kept = opened(tmp_path)
    assert [each.data for each in third.ledger()] == [b"next"]
    kept.close()


def test_a_change_that_the_service_refuses_leaves_nothing_in_the_log(tmp_path: Path) -> None:
    model, kept = opened(tmp_path)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    log = tmp_path / "kinesis.log"
    before = log.read_bytes()
    seen: list[bytes] = []

    def wrong(operation: str, **params: Any) -> None:
        with pytest.raises(ServiceError):
            model.handle(operation, params, 1.0)
        assert log.read_bytes() == before

    recording = model.journal

    @contextmanager
    def watched(event: Any) -> Iterator[None]:
        with recording(event):
            seen.append(log.read_bytes())
            yield

    model.journal = watched
    wrong("CreateStream", StreamName="s", ShardCount=1)
    wrong("DeleteStream", StreamName="nobody")
    wrong("MergeShards", StreamName="s", ShardToMerge="shardId-0", AdjacentShardToMerge="shardId-7")
    kept.close()
    assert len(seen) == 3
    for number, log_before_truncation in enumerate(seen):  # a kill before the change was removed from the log
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "kinesis.log").write_bytes(log_before_truncation)
        again, kept = opened(tmp_path / f"{number}")
        put(again, 2.0, b"x")
        assert shards(again, 2.0) == shards(model, 2.0)
        kept.close()


def test_a_log_that_cannot_be_rewritten_is_kept(
    tmp_path: Path, disk: type[Disk], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, kept = opened(tmp_path, retention_bytes=2000)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    for number in range(20):
        put(model, 1.0 + number, b"x" * 500)
    kept.close()
    monkeypatch.setattr(journal, "_COMPACT_FROM", 1)
    disk.free = 100
    again, kept = opened(tmp_path, retention_bytes=2000)
    assert "could not be rewritten without its outdated entries: [Errno 28]" in caplog.text
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kinesis.log", "lock"]
    refused(again, 30.0)
    disk.free = 1 << 40
    last = put(again, 31.0, b"last")
    kept.close()
    third, kept = opened(tmp_path, retention_bytes=2000)  # rewritten now
    assert (tmp_path / "kinesis.log").stat().st_size < 4000
    assert list(third.ledger())[-1].sequence_number == last
    kept.close()


@pytest.mark.parametrize("torn", [0, 1, 8, 30], ids=lambda torn: f"{torn} bytes of the last change gone")
@pytest.mark.parametrize("zeros", [1, 7, 8, 9, 4096, 3 << 20])
def test_zeros_at_the_end_after_a_power_cut_are_dropped(
    tmp_path: Path, torn: int, zeros: int, caplog: pytest.LogCaptureFixture
) -> None:
    model, kept = opened(tmp_path)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    put(model, 1.0, b"one")
    log = tmp_path / "kinesis.log"
    before = log.stat().st_size
    put(model, 2.0, b"two")
    kept.close()
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) - torn] + bytes(zeros))
    again, kept = opened(tmp_path)
    assert [each.data for each in again.ledger()] == ([b"one"] if torn else [b"one", b"two"])
    end = before if torn else len(whole)
    assert log.stat().st_size == end
    dropped = len(whole) - torn + zeros - end
    assert f"so the last {dropped} bytes, from byte {end} on, are dropped" in caplog.text
    put(again, 3.0, b"three")
    kept.close()
    third, kept = opened(tmp_path)
    assert list(third.ledger()) == list(again.ledger())
    kept.close()


@pytest.mark.parametrize("end", [b"\0" * 4096 + b"x", b"\0" * 8 + b"\1"])
def test_zeros_with_other_bytes_after_them_are_damage(tmp_path: Path, end: bytes) -> None:
    model, kept = opened(tmp_path)
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    kept.close()
    log = tmp_path / "kinesis.log"
    size = log.stat().st_size
    log.write_bytes(log.read_bytes() + end)
    kept = Journal(tmp_path)
    with pytest.raises(ValueError, match=f"damaged at byte {size}"):
        kept.restore(Model())
    kept.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
def test_the_files_are_their_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        _, kept = opened(tmp_path / "made")
    finally:
        os.umask(before)
    kept.close()
    found = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "made").iterdir()}
    assert found == {"kinesis.log": 0o600, "lock": 0o600}


@pytest.mark.parametrize("name", ["kinesis.log", "lock"])
def test_the_directory_may_be_a_symbolic_link_and_its_files_not(tmp_path: Path, name: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    _, kept = opened(tmp_path / "link")
    kept.close()
    (tmp_path / "there" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "there" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link") as caught:
        opened(tmp_path / "link")
    assert caught.value.filename == str(tmp_path / "link" / name)
