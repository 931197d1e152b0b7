"""SubscribeToShard of the local Kinesis over HTTP: botocore, CBOR, HTTP/2, and what is kept by a data directory."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cbor2
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import EventStreamError
from hyperframe.frame import GoAwayFrame, PingFrame
from urllib3.exceptions import HTTPError

from kplpy.local import Limits, LocalKinesis
from kplpy.local.server import codec
from kplpy.local.server.event_stream import message
from tests.http2_client import http2

SHARD = "shardId-000000000000"
LIMITS = Limits(subscription_seconds=0.5, subscription_takeover_seconds=0.05, subscribe_per_second=None)


@pytest.fixture
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(stream="orders", limits=LIMITS) as running:
        yield running


def register(kinesis: LocalKinesis) -> str:
    summary = kinesis.handle("DescribeStreamSummary", {"StreamName": "orders"})["StreamDescriptionSummary"]
    params = {"StreamARN": summary["StreamARN"], "ConsumerName": "app"}
    arn: str = kinesis.handle("RegisterStreamConsumer", params)["Consumer"]["ConsumerARN"]
    return arn


def subscription(kinesis: LocalKinesis, start: str = "TRIM_HORIZON") -> dict[str, Any]:
    return {"ConsumerARN": register(kinesis), "ShardId": SHARD, "StartingPosition": {"Type": start}}


def decoded(data: bytes) -> list[Any]:
    """Return the messages as botocore's decoder reads them."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)


def test_a_message_is_framed_as_the_specification_says() -> None:
    """botocore's decoder checks both checksums; the layout is checked by hand."""
    framed = message({":message-type": "event", "x": "ü"}, b"payload")
    length, header_length, crc = struct.unpack(">III", framed[:12])
    assert (length, crc) == (len(framed), zlib.crc32(framed[:8]))
    assert framed[12 : 12 + header_length] == b"\x0d:message-type\x07\x00\x05event\x01x\x07\x00\x02\xc3\xbc"
    assert framed[12 + header_length : -4] == b"payload"
    assert struct.unpack(">I", framed[-4:])[0] == zlib.crc32(framed[:-4])
    (read,) = decoded(framed)
    assert (read.headers, read.payload) == ({":message-type": "event", "x": "ü"}, b"payload")


def test_botocore_reads_the_events_until_the_subscription_ends(kinesis: LocalKinesis) -> None:
    client = kinesis.client()
    client.put_record(StreamName="orders", Data=b"\x00\xff", PartitionKey="k")
    events = client.subscribe_to_shard(**subscription(kinesis))["EventStream"]
    read = [each["SubscribeToShardEvent"] for each in events]
    (record,) = [each for event in read for each in event["Records"]]
    assert (record["Data"], record["PartitionKey"]) == (b"\x00\xff", "k")
    assert record["ApproximateArrivalTimestamp"].tzinfo is not None
    assert all(each["MillisBehindLatest"] == 0 and each["ContinuationSequenceNumber"] for each in read)
    client.close()


def test_an_error_ends_the_events(kinesis: LocalKinesis) -> None:
    client = kinesis.client()
    params = subscription(kinesis)
    events = client.subscribe_to_shard(**params)["EventStream"]
    next(iter(events))
    kinesis.handle("DeregisterStreamConsumer", {"ConsumerARN": params["ConsumerARN"]})
    with pytest.raises(EventStreamError, match="ResourceNotFoundException"):
        list(events)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.subscribe_to_shard(**params)
    events.close()
    client.close()


def test_a_stop_ends_the_events() -> None:
    with LocalKinesis(stream="orders") as kinesis:
        client = kinesis.client()
        events = client.subscribe_to_shard(**subscription(kinesis))["EventStream"]
        iterator = iter(events)
        next(iterator)
    with suppress(HTTPError):  # the connection may be cut before the last chunk
        assert list(iterator) == []
    events.close()
    client.close()


@pytest.mark.parametrize("form", ["json", "cbor"])
def test_http2_as_the_java_sdk_speaks_it(kinesis: LocalKinesis, form: str) -> None:
    """More data than the client's first flow-control window, in the content type of the request."""
    client = kinesis.client()
    large = bytes(range(256)) * 2000
    client.put_record(StreamName="orders", Data=large, PartitionKey="k")
    client.close()
    params = subscription(kinesis)
    kind = f"application/x-amz-{form}-1.1"
    headers, body = http2(
        kinesis.endpoint_url,
        "SubscribeToShard",
        cbor2.dumps(params) if form == "cbor" else json.dumps(params).encode(),
        kind,
    )
    assert (headers[":status"], headers["content-type"]) == ("200", "application/vnd.amazon.eventstream")
    initial, *events = decoded(body)
    assert initial.headers == {":message-type": "event", ":event-type": "initial-response", ":content-type": kind}
    assert {each.headers[":event-type"] for each in events} == {"SubscribeToShardEvent"}
    bodies = [codec.decode(kind, "SubscribeToShard", each.payload) for each in events]
    (record,) = [each for event in bodies for each in event["Records"]]
    assert record["PartitionKey"] == "k"
    if form == "cbor":
        assert record["Data"] == large


def goaway_and_ping() -> bytes:
    """Return a GOAWAY, and a PING after it: the server must still read the frames that follow."""
    frames = [GoAwayFrame(stream_id=0, last_stream_id=0, additional_data=b"bye"), PingFrame(stream_id=0)]
    return b"".join(each.serialize() for each in frames)


@pytest.mark.parametrize("size", [1, 8, 10_000])
def test_the_events_go_on_after_a_goaway(kinesis: LocalKinesis, size: int) -> None:
    """The SDK for JavaScript sends GOAWAY when a subscription begins, and reads the events nevertheless."""
    kinesis.handle("PutRecord", {"StreamName": "orders", "Data": bytes(200_000), "PartitionKey": "k"})
    sent = goaway_and_ping()
    pieces = tuple(sent[each : each + size] for each in range(0, len(sent), size))
    kind = "application/x-amz-json-1.1"
    _, body = http2(kinesis.endpoint_url, "SubscribeToShard", json.dumps(subscription(kinesis)).encode(), kind, pieces)
    _, *events = decoded(body)
    records = [each for event in events for each in json.loads(event.payload)["Records"]]
    assert [len(each["Data"]) for each in records] == [4 * -(-200_000 // 3)]


def test_consumers_survive_a_restart(tmp_path: Path) -> None:
    with LocalKinesis(stream="orders", data_dir=tmp_path) as kinesis:
        arn = register(kinesis)
    with LocalKinesis(stream="orders", data_dir=tmp_path) as kinesis:
        described = kinesis.handle("DescribeStreamConsumer", {"ConsumerARN": arn})["ConsumerDescription"]
        assert (described["ConsumerName"], described["ConsumerStatus"]) == ("app", "ACTIVE")
