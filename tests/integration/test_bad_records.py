"""Bad records beside good ones over HTTP: too large for the stream, or for what lies before the service."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from kplpy import RecordFuture, RejectedError
from kplpy.local import LocalKinesis
from kplpy.local.model.limits import MIB
from tests.local_stream import PATIENCE, contents, local, producing


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("known", [True, False], ids=["limit known", "limit not known"])
def test_200_bad_records_among_400_good_ones(known: bool, ordered: bool) -> None:
    with local(shards=2) as kinesis, producing(kinesis, max_user_record_size=2 * MIB, ordered=ordered) as producer:
        if not known:
            kinesis.faults.fail("AccessDeniedException", operation="DescribeStreamSummary", times=1000)
        producer.put_record("orders", b"before", "k").result(PATIENCE)
        good: list[RecordFuture] = []
        bad: list[RecordFuture] = []
        began = time.monotonic()
        for number in range(600):
            if number % 3:
                good.append(producer.put_record("orders", b"%d" % number, f"key-{number}"))
            else:
                bad.append(producer.put_record("orders", bytes(MIB), f"key-{number}"))
        producer.flush(timeout=PATIENCE)
        took = time.monotonic() - began
        assert all(not each.result(0).possible_duplicate for each in good)
        words = "its MaxRecordSizeInKiB is 1024" if known else "larger than the maximum record size of 1024 KiB"
        for each in bad:
            with pytest.raises(RejectedError, match=words):
                each.result(0)
        assert contents(kinesis) == Counter([b"before", *(b"%d" % number for number in range(600) if number % 3)])
        assert took < (5.0 if known else 20.0)  # the latter sends 280 MB of base64, on whatever machine this is


def test_a_record_that_is_too_large_for_the_stream_was_not_sent_and_names_both_limits() -> None:
    with local() as kinesis, producing(kinesis, max_user_record_size=2 * MIB) as producer:
        good = producer.put_record("orders", b"good", "k")
        bad = producer.put_record("orders", bytes(MIB), "key")
        with pytest.raises(RejectedError) as raised:
            bad.result(PATIENCE)
        assert str(raised.value) == (
            "a record of stream 'orders' is too large (it has 1048579 bytes, data and partition key; the stream takes "
            "at most 1048576 (its MaxRecordSizeInKiB is 1024), and max_user_record_size allows 2097152); 0 attempts"
        )
        assert raised.value.attempts == ()
        assert not raised.value.possible_duplicate
        assert len(good.result(PATIENCE).attempts) == 1
        assert producer.metrics()["orders"].requests_failed == 0


def test_a_stream_with_a_larger_limit_takes_larger_records() -> None:
    with local(stream=None) as kinesis:
        kinesis.handle("CreateStream", {"StreamName": "orders", "ShardCount": 1, "MaxRecordSizeInKiB": 2048})
        with producing(
            kinesis, max_user_record_size=10 * MIB, aggregation_max_size=10 * MIB, rate_limit=10_000
        ) as producer:
            fits = [producer.put_record("orders", bytes(2 * MIB - 1), "k") for _ in range(3)]
            small = [producer.put_record("orders", bytes(30_000), "k") for _ in range(300)]
            too_large = producer.put_record("orders", bytes(2 * MIB), "k")
            assert all(each.result(PATIENCE).shard_id for each in (*fits, *small))
            with pytest.raises(RejectedError, match="takes at most 2097152"):
                too_large.result(PATIENCE)
        largest = max(len(each.data) for each in kinesis.ledger("orders"))
        assert largest == 2 * MIB - 1
        assert any(MIB < len(each.data) < 2 * MIB - 1 for each in kinesis.ledger("orders"))  # an aggregate


class Front(BaseHTTPRequestHandler):
    """Passes requests of up to 1 MiB on, as nginx does by default."""

    protocol_version = "HTTP/1.1"
    target = ""
    answered: Counter[int]

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        if size > MIB:
            self._answer(413, "text/html", b"<html><h1>413 Request Entity Too Large</h1></html>")
            return
        place = urlsplit(self.target)
        service = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
        service.request("POST", "/", body, {name: self.headers[name] for name in ("X-Amz-Target", "Content-Type")})
        answer = service.getresponse()
        self._answer(answer.status, answer.headers["Content-Type"], answer.read())
        service.close()

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.answered[status] += 1
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def front(kinesis: LocalKinesis) -> Iterator[tuple[str, Counter[int]]]:
    """A front of the local Kinesis: its URL, and how often it answered with each status."""
    answered: Counter[int] = Counter()
    handler = type("FrontOfThis", (Front,), {"target": kinesis.endpoint_url, "answered": answered})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", answered
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("ordered", [False, True])
def test_a_front_that_takes_a_mebibyte(ordered: bool) -> None:
    with local(shards=2) as kinesis, front(kinesis) as (url, answered):
        # In ordered mode a request holds one Kinesis record a shard: only large aggregates make it too large.
        size = MIB if ordered else 51_200
        with producing(
            kinesis, endpoint_url=url, rate_limit=100_000, ordered=ordered, aggregation_max_size=size
        ) as producer:
            producer.put_record("orders", b"before", "k").result(PATIENCE)
            for _ in range(3):
                records = [(b"%d" % number + bytes(20_000), f"key-{number}") for number in range(300)]
                for future in producer.put_records("orders", records):
                    assert not future.result(PATIENCE).possible_duplicate
            assert 1 <= answered[413] <= 40
            before = answered[413]
            futures = producer.put_records("orders", [(bytes(20_000), f"key-{number}") for number in range(300)])
            assert all(each.result(PATIENCE).shard_id for each in futures)
            assert answered[413] == before  # what passes is known
        assert sum(contents(kinesis).values()) == 1201


def test_a_record_that_a_front_does_not_take_says_so() -> None:
    with (
        local() as kinesis,
        front(kinesis) as (url, _),
        producing(kinesis, endpoint_url=url, rate_limit=1000) as producer,
    ):
        good = producer.put_records("orders", [(bytes(20_000), f"key-{number}") for number in range(10)])
        bad = producer.put_record("orders", bytes(900_000), "k")
        with pytest.raises(
            RejectedError, match=r"is too large \(a request with this record alone, of 900001 bytes"
        ) as raised:
            bad.result(PATIENCE)
        assert "HTTP 413: a proxy or gateway" in str(raised.value)
        assert raised.value.attempts[-1].error_code == "RequestEntityTooLarge"
        assert not raised.value.possible_duplicate
        assert all(each.result(PATIENCE).shard_id for each in good)
