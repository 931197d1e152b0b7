"""connect() and aconnect(): what the first records would wait for, and meet, before there is one."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import boto3
import pytest

from kplpy import KplpyError, Producer, ProducerClosedError, RecordExpiredError, RejectedError, SetupError
from kplpy.concurrency import WakeSignal
from kplpy.core import policy
from kplpy.local import LocalKinesis
from tests.integration.test_trouble import free_port
from tests.local_stream import PATIENCE, contents, local, producing


class Asked:
    """The operations that a local Kinesis is asked for."""

    def __init__(self, kinesis: LocalKinesis) -> None:
        self.operations: list[str] = []
        kinesis.faults.plan = self._note

    def _note(self, operation: str, params: Mapping[str, Any], now: float) -> None:
        self.operations.append(operation)


def kplpy_threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("kplpy-")}


def test_the_first_records_need_nothing_more() -> None:
    with local(shards=2) as kinesis, producing(kinesis) as producer:
        asked = Asked(kinesis)
        before = kplpy_threads()
        producer.connect("orders", timeout=PATIENCE)
        assert kplpy_threads() <= before  # nothing runs that a fork, or a snapshot, could lose
        assert sorted(asked.operations) == ["DescribeStreamSummary", "ListShards"]
        for future in producer.put_records("orders", [(b"%d" % n, str(n)) for n in range(100)]):
            future.result(PATIENCE)
        assert sorted(set(asked.operations)) == ["DescribeStreamSummary", "ListShards", "PutRecords"]
        assert asked.operations.count("ListShards") == asked.operations.count("DescribeStreamSummary") == 1
        assert len(kinesis.ledger("orders")) <= 4  # packed from the first


def test_the_thread_of_a_connect_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    wake = WakeSignal.wake

    def slow(signal: WakeSignal) -> bool:
        was_clear = wake(signal)
        if threading.current_thread().name == "kplpy-connect":
            time.sleep(0.3)
        return was_clear

    monkeypatch.setattr(WakeSignal, "wake", slow)
    with local() as kinesis, producing(kinesis) as producer:
        before = kplpy_threads()
        producer.connect("orders", timeout=PATIENCE)
        assert kplpy_threads() <= before


def test_by_arn_and_again_and_among_records() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        arn = kinesis.handle("DescribeStreamSummary", {"StreamName": "orders"})["StreamDescriptionSummary"]["StreamARN"]
        producer.connect(arn, timeout=PATIENCE)
        futures = [producer.put_record(arn, b"x", "k") for _ in range(10)]
        producer.connect(arn, timeout=PATIENCE)
        futures += [producer.put_record(arn, b"x", "k") for _ in range(10)]
        for each in futures:
            each.result(PATIENCE)


def test_the_arn_of_a_name_is_known_before_the_first_put() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        arn = kinesis.handle("DescribeStreamSummary", {"StreamName": "orders"})["StreamDescriptionSummary"]["StreamARN"]
        producer.connect("orders", timeout=PATIENCE)
        by_arn = producer.put_record(arn, b"x", "k")
        by_arn.result(PATIENCE)
        assert by_arn.stream == "orders"  # one pipeline


def test_a_timeout_without_end() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        producer.connect("orders", timeout=float("inf"))
        producer.put_record("orders", b"x", "k")
        producer.flush(timeout=float("inf"))
        assert producer.outstanding_records == 0


def test_inside_a_running_loop() -> None:
    async def main(kinesis: LocalKinesis) -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with producing(kinesis) as producer:
            ticking = asyncio.create_task(tick())
            await producer.aconnect("orders", timeout=PATIENCE)
            ticking.cancel()
            producer.connect("orders", timeout=PATIENCE)  # blocks the loop, and works
            await producer.put_record("orders", b"x", "k")
            with pytest.raises(RejectedError):
                await producer.aconnect("missing", timeout=0.1)
        return ticks

    with local() as kinesis:
        assert asyncio.run(main(kinesis)) > 1
        assert contents(kinesis) == {b"x": 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_in_a_forked_child_of_a_connected_parent() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        producer.connect("orders", timeout=PATIENCE)
        child = os.fork()
        if not child:
            code = 1
            try:
                producer.connect("orders", timeout=20)
                producer.put_record("orders", b"child", "k").result(20)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        producer.put_record("orders", b"parent", "k").result(PATIENCE)
        assert contents(kinesis) == {b"child": 1, b"parent": 1}


# --- errors ---


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "DENIED_GRACE", 0.3)


@pytest.mark.usefixtures("short_grace")
def test_a_missing_stream() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        asked = Asked(kinesis)
        with pytest.raises(RejectedError, match=r"'missing' was refused by the service \(ResourceNotFound") as raised:
            producer.connect("missing", timeout=PATIENCE)
        assert raised.value.stream == "missing"
        assert raised.value.record is None
        assert isinstance(raised.value.cause, Exception)
        assert asked.operations.count("ListShards") >= 2  # it may have been created only just now
        producer.connect("orders", timeout=PATIENCE)


def test_a_stream_that_is_there_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "DENIED_GRACE", PATIENCE)
    with local(stream=None) as kinesis, producing(kinesis) as producer:
        asked = Asked(kinesis)
        connecting = threading.Thread(target=producer.connect, args=("orders", PATIENCE))
        connecting.start()
        while "ListShards" not in asked.operations:  # bounded by the test's own timeout
            time.sleep(0.01)
        kinesis.handle("CreateStream", {"StreamName": "orders", "ShardCount": 1})
        connecting.join(PATIENCE)
        assert not connecting.is_alive()
        assert "DescribeStreamSummary" in asked.operations


@pytest.mark.usefixtures("short_grace")
def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with (
        local() as kinesis,
        producing(kinesis) as producer,
        pytest.raises(SetupError, match=r"'orders' cannot be reached \(NoCredentials: no AWS credentials: set AWS_"),
    ):
        producer.connect("orders", timeout=PATIENCE)


def test_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "DENIED_GRACE", 10 * PATIENCE)
    with (
        Producer(metrics_level="none") as producer,
        pytest.raises(SetupError, match="no AWS region: pass region_name or set AWS_REGION"),
    ):
        producer.connect("orders", timeout=PATIENCE)


def test_a_refused_connection_is_tried_until_the_timeout() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Producer(endpoint_url=url, region_name="us-east-1") as producer:
        while producer.health().last_error in (None, "orders: connect() had no response within 0.5 s"):
            with pytest.raises(RecordExpiredError):  # while the client is being made; bounded by the test's own timeout
                producer.connect("orders", timeout=0.5)
        before = time.monotonic()
        with pytest.raises(RecordExpiredError, match=f"within 1 s; the last attempt: Endpoint.*{url}/.*refused"):
            producer.connect("orders", timeout=1)
        assert time.monotonic() - before >= 0.9
        last_error = producer.health().last_error or ""
        assert last_error.startswith("orders: EndpointConnectionError: Could not connect")


def test_an_endpoint_that_comes_up_in_time() -> None:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with Producer(endpoint_url=endpoint, region_name="us-east-1") as producer:
        with pytest.raises(RecordExpiredError):
            producer.connect("orders", timeout=0.3)
        with local(port=port):
            producer.connect("orders", timeout=PATIENCE)


def test_an_endpoint_that_never_answers_does_not_hold_the_caller_beyond_the_timeout() -> None:
    """botocore's own timeouts are far longer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Producer(endpoint_url=url, region_name="us-east-1", request_timeout_ms=30_000) as producer:
            before = time.monotonic()
            with pytest.raises(RecordExpiredError, match=r"'orders' gave no response within 0\.5 s"):
                producer.connect("orders", timeout=0.5)
            assert time.monotonic() - before < 20
            assert producer.health().last_error == "orders: connect() had no response within 0.5 s"


def test_denied_listing_stops_no_put() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        kinesis.faults.fail("AccessDeniedException", "no", operation="ListShards", times=1000)
        kinesis.faults.fail("AccessDeniedException", "no", operation="DescribeStreamSummary", times=1000)
        producer.connect("orders", timeout=PATIENCE)


@pytest.mark.usefixtures("short_grace")
def test_unknown_keys_are_an_error_all_the_same() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        kinesis.faults.fail("UnrecognizedClientException", "who?", operation="ListShards", times=1000)
        with pytest.raises(RejectedError, match="UnrecognizedClientException: who"):
            producer.connect("orders", timeout=PATIENCE)


def test_an_error_of_the_users_own_session_is_the_callers() -> None:
    class Broken(boto3.Session):
        def client(self, *_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

    with (
        Producer(region_name="us-east-1", session=Broken(), metrics_level="none") as producer,
        pytest.raises(KeyboardInterrupt),
    ):
        producer.connect("orders", timeout=PATIENCE)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), None, "5", True])
def test_a_bad_timeout(timeout: Any) -> None:
    with (
        Producer(region_name="us-east-1") as producer,
        pytest.raises((ValueError, TypeError), match="timeout must be"),
    ):
        producer.connect("orders", timeout)


def test_a_bad_name_and_a_closed_producer() -> None:
    producer = Producer(region_name="us-east-1")
    with pytest.raises(KplpyError, match="no stream"):
        producer.connect("no stream")
    producer.close()
    with pytest.raises(ProducerClosedError):
        producer.connect("orders")


def test_in_a_callback_it_would_wait_for_itself() -> None:
    with local() as kinesis, producing(kinesis) as producer:
        raised: list[BaseException] = []
        done = threading.Event()

        def connect(_: object) -> None:
            try:
                producer.connect("orders")
            except KplpyError as error:
                raised.append(error)
            done.set()

        producer.put_record("orders", b"x", "k").add_done_callback(connect)
        assert done.wait(PATIENCE)
        assert "would wait for itself" in str(raised[0])


@pytest.mark.parametrize("seconds", [0.0, 0.6])
def test_a_client_that_takes_long_costs_no_aggregation(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a small Lambda: the records' patience with the shard map begins when the client is there."""
    monkeypatch.setattr(policy, "MAP_PATIENCE", 0.5)

    class Slow(boto3.Session):
        def client(self, *args: Any, **options: Any) -> Any:
            time.sleep(seconds)
            return super().client(*args, **options)

    with local(shards=2) as kinesis, producing(kinesis, session=Slow()) as producer:
        for each in producer.put_records("orders", [(b"x", str(n)) for n in range(500)]):
            each.result(PATIENCE)
        assert len(kinesis.ledger("orders")) <= 4
