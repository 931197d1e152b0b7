"""With a data directory, every acknowledged record survives repeated SIGKILLs under load."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kplpy.local import LocalKinesis, LocalKinesisProcess, Phases
from tests.small_disk import fill, small_disk

ONE_TRY = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5)


class Load:
    """Threads that put numbered records until the server dies, and remember what was acknowledged."""

    def __init__(self, server: LocalKinesisProcess, start: int) -> None:
        self.acknowledged: dict[bytes, str] = {}
        self.enough = threading.Event()
        self._client = server.client(config=ONE_TRY)
        self._threads = [threading.Thread(target=self._put, args=(f"{start}-{each}",)) for each in range(3)]
        for each in self._threads:
            each.start()

    def _put(self, name: str) -> None:
        for number in range(1_000_000):
            records = [b"%s-%d-%d" % (name.encode(), number, each) for each in range(20)]
            try:
                answer = self._client.put_records(
                    StreamName="durable", Records=[{"Data": each, "PartitionKey": each.decode()} for each in records]
                )
            except (BotoCoreError, ClientError):
                return
            for data, entry in zip(records, answer.get("Records", []), strict=False):
                if "SequenceNumber" in entry:
                    self.acknowledged[data] = entry["SequenceNumber"]
            if number == 5:
                self.enough.set()

    def wait(self) -> None:
        for each in self._threads:
            each.join()


@pytest.mark.slow
def test_nothing_acknowledged_is_missing_after_kills(tmp_path: Path) -> None:
    acknowledged: dict[bytes, str] = {}
    for round_ in range(20):
        with LocalKinesisProcess(stream="durable", shards=3, limits=False, data_dir=tmp_path) as server:
            if round_ == 2:
                first = server.client().list_shards(StreamName="durable")["Shards"][0]
                middle = int(first["HashKeyRange"]["EndingHashKey"]) // 2
                server.client().split_shard(
                    StreamName="durable", ShardToSplit=first["ShardId"], NewStartingHashKey=str(middle)
                )
            load = Load(server, round_)
            assert load.enough.wait(30)
            server.kill()
            load.wait()
            acknowledged |= load.acknowledged

    with LocalKinesis(stream="durable", shards=3, data_dir=tmp_path) as kinesis:
        shards = kinesis.client().list_shards(StreamName="durable")["Shards"]
        assert [each.get("ParentShardId") for each in shards] == [None] * 3 + [shards[0]["ShardId"]] * 2
        held = {each.data: each.sequence_number for each in kinesis.ledger("durable")}
    assert len(acknowledged) > 1000
    assert acknowledged.items() <= held.items()
    assert len(set(held.values())) == len(held)


def test_a_torn_end_is_dropped_and_damage_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def put(data: bytes) -> list[bytes]:
        with LocalKinesis(stream="s", data_dir=tmp_path) as kinesis:
            kinesis.client().put_record(StreamName="s", Data=data, PartitionKey="k")
            return [each.data for each in kinesis.ledger("s")]

    assert put(b"one") == [b"one"]
    assert put(b"two") == [b"one", b"two"]
    log = tmp_path / "kinesis.log"
    whole = log.read_bytes()
    log.write_bytes(whole[:-3])
    assert put(b"three") == [b"one", b"three"]
    assert "the last change is unfinished" in caplog.text

    log.write_bytes(whole[:20] + b"\xff" + whole[21:])
    with pytest.raises(ValueError, match="damaged at byte 0"):
        LocalKinesis(data_dir=tmp_path).start()


def test_only_one_server_at_a_time_uses_a_directory(tmp_path: Path) -> None:
    with LocalKinesis(data_dir=tmp_path), pytest.raises(OSError, match="in use by another"):
        LocalKinesis(data_dir=tmp_path).start()


def test_a_recreated_stream_has_only_its_new_records(tmp_path: Path) -> None:
    with LocalKinesis(stream="s", data_dir=tmp_path, phases=Phases(deleting=0)) as kinesis:
        client = kinesis.client()
        client.put_record(StreamName="s", Data=b"old", PartitionKey="k")
        client.delete_stream(StreamName="s")
        client.create_stream(StreamName="s", ShardCount=2)
        client.put_record(StreamName="s", Data=b"new", PartitionKey="k")
    with LocalKinesis(stream="s", data_dir=tmp_path) as kinesis:
        assert [each.data for each in kinesis.ledger()] == [b"new"]
        assert len(kinesis.client().list_shards(StreamName="s")["Shards"]) == 2


def test_a_put_refused_by_a_full_disk_leaves_no_trace(tmp_path: Path) -> None:
    """The record is not read while the server runs, and does not count in sequence numbers after a restart."""
    with small_disk(tmp_path, 1024):
        kept: dict[bytes, str] = {}

        def put(client: Any, data: bytes) -> None:
            answer = client.put_record(StreamName="s", Data=data + b"y" * 100_000, PartitionKey="k")
            kept[data] = answer["SequenceNumber"]

        def read(client: Any) -> dict[bytes, str]:
            iterator = client.get_shard_iterator(
                StreamName="s", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
            )
            records = client.get_records(ShardIterator=iterator["ShardIterator"])["Records"]
            return {each["Data"].rstrip(b"y"): each["SequenceNumber"] for each in records}

        options: dict[str, Any] = {"stream": "s", "limits": False, "data_dir": tmp_path / "kept"}
        with LocalKinesisProcess(**options) as server:
            client = server.client(config=ONE_TRY)
            put(client, b"1")
            fill(tmp_path / "filler")
            with pytest.raises(ClientError, match=r"InternalFailure.*No space left on device"):
                put(client, b"2")
            assert read(client) == kept
            (tmp_path / "filler").unlink()
            put(client, b"3")
            fill(tmp_path / "filler")
            with pytest.raises(ClientError, match="InternalFailure"):
                put(client, b"4")
            server.kill()
        (tmp_path / "filler").unlink()
        with LocalKinesisProcess(**options) as server:
            client = server.client(config=ONE_TRY)
            put(client, b"5")
            assert read(client) == kept
        assert len(set(kept.values())) == 3


def test_a_server_that_starts_on_a_full_disk_raises(tmp_path: Path) -> None:
    with small_disk(tmp_path, 64):
        fill(tmp_path / "filler")
        with pytest.raises(OSError, match=r"stream 'test' cannot be created: .* No space left on device"):
            LocalKinesis(data_dir=tmp_path / "kept").start()


def test_the_default_stream_is_created_only_in_a_directory_without_streams(tmp_path: Path) -> None:
    def streams(**options: Any) -> list[str]:
        with LocalKinesis(data_dir=tmp_path, **options) as kinesis:
            return kinesis.client().list_streams()["StreamNames"]

    assert streams(stream=None) == []
    assert streams() == ["test"]
    assert streams(stream="orders") == ["orders", "test"]
    assert streams() == ["orders", "test"]
    with LocalKinesis(data_dir=tmp_path, phases=Phases(deleting=0)) as kinesis:
        kinesis.client().delete_stream(StreamName="test")
    assert streams() == ["orders"]
    assert streams(stream="test") == ["orders", "test"]  # named by the caller, so it is created
    with LocalKinesisProcess(data_dir=tmp_path / "other", stream="a"):
        pass
    with LocalKinesisProcess(data_dir=tmp_path / "other") as server:
        assert server.client().list_streams()["StreamNames"] == ["a"]
