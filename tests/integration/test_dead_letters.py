"""Records that fail end up in a file, or on another stream; with no loop, no waiting, and nothing lost in silence."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from pathlib import Path

import pytest

from kplpy import InvalidRecordError, KplpyError, Producer, RecordFailedError, UserRecord, deaggregate
from kplpy.core import policy
from kplpy.core.exchange import RequestError
from kplpy.dead_letters import DeadLetterFile, DeadLetterStream
from kplpy.dead_letters.entry import parse_entry
from kplpy.local import Fault
from tests.integration.cli_process import run
from tests.integration.reading import wait_until
from tests.local_stream import PATIENCE, contents, local, producing, user_records
from tests.small_disk import small_disk
from tests.stub_service import install

THROTTLED = "ProvisionedThroughputExceededException"
DENIED = RequestError("AccessDeniedException", "not for you", False)


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "DENIED_GRACE", 0.0)


def test_the_command_sends_the_file_again(tmp_path: Path) -> None:
    keep = DeadLetterFile(tmp_path / "failed")
    with local(shards=2) as kinesis:
        with producing(kinesis, fail_if_throttled=True, aggregation_enabled=False, on_failure=keep) as producer:
            kinesis.faults.fail_entries(THROTTLED, entries=frozenset({1, 2}))
            futures = producer.put_records("orders", [(b"one", "a"), (b"\xff", "b", "7"), (b"three", "c")])
            assert sum(future.exception(PATIENCE) is not None for future in futures) == 2
        assert len((tmp_path / "failed").read_bytes().splitlines()) == 2
        done = run(tmp_path, "put", "--endpoint-url", kinesis.endpoint_url, "--from-failed", "failed")
        assert done.returncode == 0, done.stderr
        assert contents(kinesis) == Counter([b"one", b"\xff", b"three"])
        # Where the explicit hash key has it, not the partition key; whether packed or, on a busy machine, alone.
        (there,) = [
            each for each in kinesis.ledger("orders") if b"\xff" in [one.data for one in deaggregate(each.data)]
        ]
        assert there.shard_id == "shardId-000000000000"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_a_full_disk_is_logged_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    with local() as kinesis, caplog.at_level(logging.ERROR):
        producer = producing(kinesis, fail_if_throttled=True, on_failure=DeadLetterFile("/dev/full"))
        kinesis.faults.fail_entries(THROTTLED, times=1000)
        for future in producer.put_records("orders", [(b"x", "k")] * 50):
            assert future.exception(PATIENCE)
        producer.close()
    lines = [each.getMessage() for each in caplog.records if "is lost" in each.getMessage()]
    assert len(lines) == 2  # the first at once, the others when the producer is closed
    assert sum(int(line.split()[0]) for line in lines) == 50
    assert "on_failure raised; the latest: OSError: [Errno 28] a failed record of stream 'orders' is lost" in lines[0]


def test_what_a_full_disk_lost_is_logged_and_the_rest_is_in_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path, 256), local() as kinesis, caplog.at_level(logging.ERROR):
        keep = DeadLetterFile(tmp_path / "failed")
        with producing(kinesis, fail_if_throttled=True, on_failure=keep, aggregation_enabled=False) as producer:
            kinesis.faults.fail_entries(THROTTLED, times=1000)
            for future in producer.put_records("orders", [(b"x" * 2000, "k")] * 200):
                assert future.exception(PATIENCE)
        kept = [line for line in (tmp_path / "failed").read_bytes().splitlines() if line.endswith(b"}")]
        assert all(parse_entry(line).data == b"x" * 2000 for line in kept)
    lost = [each.kplpy["count"] for each in caplog.records if "is lost" in each.getMessage()]  # type: ignore[attr-defined]
    assert 0 < sum(lost) < 200
    assert sum(lost) + len(kept) == 200


@pytest.mark.usefixtures("short_grace")
def test_on_another_stream_of_the_same_producer() -> None:
    with local(streams={"orders": 1, "orders-failed": 1}) as kinesis:
        with producing(kinesis, on_failure=DeadLetterStream("orders-failed")) as producer:
            kinesis.faults.fail("AccessDeniedException", "no", stream="orders", operation="PutRecords", times=1000)
            for number in range(100):
                producer.put_record("orders", b"%d" % number, f"key {number}")
            producer.put_record("orders", b"explicit", "k", explicit_hash_key=7)
            producer.flush("orders", timeout=PATIENCE)
            producer.flush(timeout=PATIENCE)
            got = user_records(kinesis, "orders-failed")
        assert contents(kinesis) == Counter()
        assert Counter((each.data, each.partition_key) for each in got) == Counter(
            [*((b"%d" % number, f"key {number}") for number in range(100)), (b"explicit", "k")]
        )


@pytest.mark.usefixtures("short_grace")
def test_in_an_envelope_that_the_command_takes(tmp_path: Path) -> None:
    with local(streams={"orders": 1, "failed": 1}) as kinesis:
        with producing(kinesis, on_failure=DeadLetterStream("failed", envelope=True)) as producer:
            kinesis.faults.fail("AccessDeniedException", "no", stream="orders", operation="PutRecords")
            assert producer.put_record("orders", b"\xff", "k").exception(PATIENCE)
            producer.flush(timeout=PATIENCE)
        (letter,) = user_records(kinesis, "failed")
        assert letter.partition_key == "k"
        assert "AccessDeniedException" in json.loads(letter.data)["error"]
        entry = parse_entry(letter.data)
        assert (entry.stream, entry.data, entry.partition_key) == ("orders", b"\xff", "k")
        at = ("--endpoint-url", kinesis.endpoint_url)
        tail = run(tmp_path, "tail", "failed", *at, "--from-start", "--no-follow")
        (tmp_path / "again").write_bytes(tail.stdout)
        assert run(tmp_path, "put", *at, "--from-failed", "again").returncode == 0
        assert contents(kinesis) == Counter([b"\xff"])


@pytest.mark.usefixtures("short_grace")
def test_streams_that_fail_together_make_no_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two producers, each the other's way out: a record is tried on both, and then it is lost, which is logged."""
    stub = install(monkeypatch)
    stub.refuse = {"orders": DENIED}
    second = Producer(record_max_buffered_time_ms=0)
    first = Producer(record_max_buffered_time_ms=0, on_failure=DeadLetterStream("orders", second))
    backup = Producer(record_max_buffered_time_ms=0, on_failure=DeadLetterStream("orders", first))
    with caplog.at_level(logging.ERROR):
        way_there = DeadLetterStream("orders", backup)
        with Producer(record_max_buffered_time_ms=0, on_failure=way_there) as producer:
            assert producer.put_record("orders", b"x", "k").exception(PATIENCE)
        backup.close()
        first.close()
        second.close()
    assert stub.requests == 2  # the record's own, and backup's
    (line,) = [each.getMessage() for each in caplog.records if "is lost" in each.getMessage()]
    assert "a dead letter failed too" in line


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("same", [True, False], ids=["same producer", "another"])
def test_what_fails_there_too_goes_to_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, same: bool) -> None:
    stub = install(monkeypatch)
    stub.refuse = {"orders": DENIED, "failed": DENIED}
    other = None if same else Producer(record_max_buffered_time_ms=0)
    letters = DeadLetterStream("failed", other, otherwise=DeadLetterFile(tmp_path / "file"))
    with Producer(record_max_buffered_time_ms=0, on_failure=letters) as producer:
        assert producer.put_record("orders", b"x", "k").exception(PATIENCE)
        producer.flush(timeout=PATIENCE)
        if other is not None:
            other.close()
    (line,) = (tmp_path / "file").read_bytes().splitlines()
    entry = parse_entry(line)
    assert (entry.stream, entry.data) == ("orders", b"x")  # whence it came, not where it was tried last
    assert stub.requests == 2


@pytest.mark.usefixtures("short_grace")
def test_another_producer_without_room_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither by a sender nor by the thread that closes: it goes to the file at once."""
    stub = install(monkeypatch)
    stub.hold("failed", "orders")
    full = Producer(max_buffered_records=1, on_buffer_full="block", max_block_ms=600_000)
    full.put_record("failed", b"in the way", "k")
    letters = DeadLetterStream("failed", full, otherwise=DeadLetterFile(tmp_path / "file"))
    producer = Producer(record_max_buffered_time_ms=0, on_failure=letters, close_timeout_ms=0)
    stub.refuse = {"refused": DENIED}
    refused = producer.put_record("refused", b"refused", "k")
    assert refused.exception(PATIENCE)
    producer.put_record("orders", b"given up in close", "k")
    closing = threading.Thread(target=producer.close, daemon=True)
    closing.start()
    closing.join(PATIENCE)
    assert not closing.is_alive()

    def kept() -> set[bytes]:
        return {parse_entry(line).data for line in (tmp_path / "file").read_bytes().splitlines()}

    assert b"given up in close" in kept()
    # The sender tells of the other after it has answered it, and close with no time to spare does not wait for that.
    wait_until(lambda: b"refused" in kept(), PATIENCE)
    stub.let_go()
    full.close()


@pytest.mark.usefixtures("short_grace")
def test_no_room_and_nowhere_else_to_go_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stub = install(monkeypatch)
    stub.hold("failed")
    stub.refuse = {"orders": DENIED}
    full = Producer(max_buffered_records=1)
    full.put_record("failed", b"in the way", "k")
    with caplog.at_level(logging.ERROR):
        with Producer(record_max_buffered_time_ms=0, on_failure=DeadLetterStream("failed", full)) as producer:
            assert producer.put_record("orders", b"x", "k").exception(PATIENCE)
        wait_until(lambda: "not put on 'failed' either: no buffer space" in caplog.text)
    stub.let_go()
    full.close()


def test_a_forked_child_has_its_own() -> None:
    """A producer that was made before the fork, and its dead letters with it."""
    import os

    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    with local(streams={"orders": 1, "failed": 1}) as kinesis:
        producer = producing(kinesis, fail_if_throttled=True, on_failure=DeadLetterStream("failed"))
        kinesis.faults.add(Fault(entry_code=THROTTLED), stream="orders", times=1000)
        child = os.fork()
        if not child:
            try:
                failed = producer.put_record("orders", b"child", "k").exception(PATIENCE)
                producer.close()
                os._exit(0 if failed else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert producer.put_record("orders", b"parent", "k").exception(PATIENCE)
        producer.close()
        assert contents(kinesis, "failed") == Counter([b"child", b"parent"])


def test_what_is_no_stream_or_producer_is_refused_when_it_is_made() -> None:
    with pytest.raises(InvalidRecordError, match="stream must be a stream's ARN or its name"):
        DeadLetterStream("no such/name")
    with pytest.raises(TypeError, match="producer must be a kplpy Producer or None, got 'x'"):
        DeadLetterStream("s", "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="otherwise must be callable or None, got 'x'"):
        DeadLetterStream("s", otherwise="x")  # type: ignore[arg-type]
    error = RecordFailedError("so", "orders", UserRecord(b"x", "k"))
    with pytest.raises(KplpyError, match="has no producer"):
        DeadLetterStream("s")(error)
    assert repr(DeadLetterStream("s")) == "DeadLetterStream('s')"
