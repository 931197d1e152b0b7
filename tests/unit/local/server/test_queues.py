"""Queues through boto3 and the server, and after a restart."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import cbor2
import pytest

from kplpy.local import Limits, LocalKinesis, Model
from kplpy.local.model.model import no_journal
from kplpy.local.server import journal
from kplpy.local.server.journal import Journal
from tests.http2_client import http2
from tests.newest_botocore import newest_botocore

ON_DEMAND: Any = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
STREAM_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/s"


@newest_botocore
def test_a_queue_through_boto3() -> None:
    with LocalKinesis(stream=None) as kinesis:
        client: Any = kinesis.client()
        client.create_stream(StreamName="s", **ON_DEMAND)
        made = client.create_queue(
            QueueName="q", StreamConfigurationList=[{"StreamARN": STREAM_ARN}], Tags={"team": "orders"}
        )
        queue = made["QueueDescription"]["QueueARN"]
        assert client.list_tags_for_resource(ResourceARN=queue)["Tags"] == [{"Key": "team", "Value": "orders"}]
        started = time.monotonic()
        assert client.receive_queue_records(QueueARN=queue, WaitTimeSeconds=1)["QueueRecords"] == []
        assert time.monotonic() - started > 0.9

        def put() -> None:
            client.put_record(StreamName="s", Data=b"\x00\xff", PartitionKey="k")

        later = threading.Timer(0.2, put)
        later.start()
        (record,) = client.receive_queue_records(QueueARN=queue)["QueueRecords"]  # waits for 9 seconds at most
        later.join()
        assert (record["Data"], record["PartitionKey"], record["ReceiveCount"]) == (b"\x00\xff", "k", 1)
        assert abs(record["ApproximateArrivalTimestamp"].timestamp() - time.time()) < 60
        entries = [{"ReceiptHandle": record["ReceiptHandle"]}, {"ReceiptHandle": "other"}]
        answer = client.acknowledge_queue_records(QueueARN=queue, Entries=entries)
        assert answer["Successful"] == entries[:1]
        assert answer["Failed"][0]["ErrorCode"] == "InvalidArgumentException"


def queue_on(kinesis: LocalKinesis) -> str:
    kinesis.handle("CreateStream", {"StreamName": "s", **ON_DEMAND})
    made = kinesis.handle("CreateQueue", {"QueueName": "q", "StreamConfigurationList": [{"StreamARN": STREAM_ARN}]})
    arn: str = made["QueueDescription"]["QueueARN"]
    return arn


def test_waiting_over_http2() -> None:
    with LocalKinesis(stream=None) as kinesis:
        arn = queue_on(kinesis)
        record = {"StreamName": "s", "Data": b"x", "PartitionKey": "k"}
        later = threading.Timer(0.2, kinesis.handle, ["PutRecord", record])
        later.start()
        kind = "application/x-amz-cbor-1.1"
        _, body = http2(kinesis.endpoint_url, "ReceiveQueueRecords", cbor2.dumps({"QueueARN": arn}), kind)
        later.join()
        (received,) = cbor2.loads(body, semantic_decoders={1: lambda value, _: value / 1000})["QueueRecords"]
        assert received["Data"] == b"x"
        assert abs(received["FirstReceiveTimestamp"] - time.time()) < 60
        params = {"QueueARN": arn, "WaitTimeSeconds": 1}
        _, body = http2(kinesis.endpoint_url, "ReceiveQueueRecords", cbor2.dumps(params), kind)
        assert cbor2.loads(body) == {"QueueRecords": []}


def test_a_delayed_request_waits_too() -> None:
    with LocalKinesis(stream=None) as kinesis:
        arn = queue_on(kinesis)
        kinesis.faults.delay(0.1, operation="ReceiveQueueRecords")
        later = threading.Timer(
            0.4, kinesis.handle, ("PutRecord", {"StreamName": "s", "Data": b"x", "PartitionKey": "k"})
        )
        later.start()
        headers = {"X-Amz-Target": "Kinesis_20131202.ReceiveQueueRecords"}
        request = Request(kinesis.endpoint_url, json.dumps({"QueueARN": arn}).encode(), headers)
        with urlopen(request, timeout=20) as response:  # its content type is that of a form, as curl's
            (record,) = json.loads(response.read())["QueueRecords"]
        assert record["Data"] == "eA=="
        later.join()


def test_who_has_gone_receives_nothing() -> None:
    """A client that disconnects while it waits must not take the records that come later."""
    with LocalKinesis(stream=None) as kinesis:
        arn = queue_on(kinesis)
        body = json.dumps({"QueueARN": arn, "WaitTimeSeconds": 20}).encode()
        target = "X-Amz-Target: Kinesis_20131202.ReceiveQueueRecords"
        head = f"POST / HTTP/1.1\r\nHost: x\r\n{target}\r\nContent-Length: {len(body)}"
        requests = kinesis.model.requests
        with socket.create_connection(("127.0.0.1", int(kinesis.endpoint_url.rpartition(":")[2]))) as gone:
            gone.sendall(f"{head}\r\n\r\n".encode() + body)
            while kinesis.call(lambda model: model.requests) == requests:
                time.sleep(0.01)
        time.sleep(0.2)  # so that the server sees the end of the connection
        kinesis.handle("PutRecord", {"StreamName": "s", "Data": b"x", "PartitionKey": "k"})
        time.sleep(0.2)
        (received,) = kinesis.handle("ReceiveQueueRecords", {"QueueARN": arn})["QueueRecords"]
        assert received["ReceiveCount"] == 1


@pytest.mark.parametrize("compact", [False, True])
def test_a_queue_comes_back_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compact: bool) -> None:
    def opened() -> tuple[Model, Journal]:
        model, kept = Model(limits=Limits.none()), Journal(tmp_path)
        kept.restore(model)
        model.journal = kept.recording
        return model, kept

    def received(model: Model, operation: str, now: float) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = model.handle(operation, {"QueueARN": arn}, now)["QueueRecords"]
        return found

    model, kept = opened()
    model.handle("CreateStream", {"StreamName": "s", **ON_DEMAND}, 0.0)
    queue = {"QueueName": "q", "StreamConfigurationList": [{"StreamARN": STREAM_ARN}]}
    dead = {"DeadLetterConfiguration": {"TargetType": "BUILT_IN", "MaxReceiveCount": 1}}
    model.handle("PutRecord", {"StreamName": "s", "Data": b"before", "PartitionKey": "0"}, 0.0)
    arn = model.handle("CreateQueue", {**queue, "QueueAttributes": dead}, 0.0)["QueueDescription"]["QueueARN"]
    model.handle("TagResource", {"ResourceARN": arn, "Tags": {"a": "1"}}, 0.0)
    for data in (b"done", b"bad", b"hidden", b"new"):
        model.handle("PutRecord", {"StreamName": "s", "Data": data, "PartitionKey": data.decode()}, 1.0)
    first, second = model.handle("ReceiveQueueRecords", {"QueueARN": arn, "Limit": 2}, 2.0)["QueueRecords"]
    assert (first["Data"], second["Data"]) == (b"done", b"bad")
    acknowledged = {"QueueARN": arn, "Entries": [{"ReceiptHandle": first["ReceiptHandle"]}]}
    model.handle("AcknowledgeQueueRecords", acknowledged, 3.0)
    model.handle("ReceiveQueueRecords", {"QueueARN": arn, "Limit": 1}, 20.0)
    kept.close()
    model.journal = no_journal

    if compact:
        monkeypatch.setattr(journal, "_COMPACT_FROM", -1)
        monkeypatch.setattr(Model, "held_bytes", -1)  # so that the log counts as stale
    again, kept = opened()
    for each in (again, model):
        assert [record["Data"] for record in received(each, "ReceiveQueueRecords", 33.0)] == [b"new"]
        assert [record["Data"] for record in received(each, "ReceiveDeadLetterQueueRecords", 33.0)] == [b"bad"]
    for operation in ("DescribeQueue", "ListQueues"):
        assert again.handle(operation, {"QueueARN": arn}, 34.0) == model.handle(operation, {"QueueARN": arn}, 34.0)
    assert again.handle("ListTagsForResource", {"ResourceARN": arn}, 34.0)["Tags"] == [{"Key": "a", "Value": "1"}]
    last = {"QueueARN": arn, "Limit": 10}
    assert again.handle("ReceiveDeadLetterQueueRecords", last, 63.0) == model.handle(
        "ReceiveDeadLetterQueueRecords", last, 63.0
    )
    kept.close()
