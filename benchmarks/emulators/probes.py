"""What an emulator does, each seen from a client. A probe returns "yes", "no" or "no: " and what it saw."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import cbor2
import requests
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EventStreamError
from botocore.parsers import ResponseParserError
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded

from benchmarks.emulators.servers import Emulator, running

FIRST = "shardId-000000000000"
STREAMS = (f"stream-{each}" for each in count())
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=local/20261129/us-east-1/kinesis/aws4_request, "
    "SignedHeaders=host, Signature=00",
    "X-Amz-Date": "20261129T000000Z",
}


class Service:
    """A client of an emulator."""

    def __init__(self, url: str) -> None:
        self.url = url
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=15)
        self.client: Any = boto3.client(
            "kinesis",
            "us-east-1",
            endpoint_url=url,
            config=config,
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def create(self, shards: int = 1) -> str:
        stream = next(STREAMS)
        self.client.create_stream(StreamName=stream, ShardCount=shards)
        self.wait(stream)
        return stream

    def wait(self, stream: str) -> None:
        deadline = time.monotonic() + 20
        while self.client.describe_stream(StreamName=stream)["StreamDescription"]["StreamStatus"] != "ACTIVE":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{stream} is not ACTIVE after 20 s")
            time.sleep(0.1)

    def iterator(self, stream: str, shard: str = FIRST) -> str:
        answer = self.client.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        return str(answer["ShardIterator"])

    def read(self, stream: str, shard: str = FIRST) -> tuple[list[bytes], bool]:
        """Return the data of a shard, and whether it goes on. Its end may come in a second response."""
        answer = self.client.get_records(ShardIterator=self.iterator(stream, shard))
        data = [each["Data"] for each in answer["Records"]]
        if answer.get("NextShardIterator"):
            answer = self.client.get_records(ShardIterator=answer["NextShardIterator"])
            data += [each["Data"] for each in answer["Records"]]
        return data, bool(answer.get("NextShardIterator"))

    def refused(self, operation: str, **params: Any) -> str:
        """Return the error's code, or "" if the call succeeds."""
        try:
            getattr(self.client, operation)(**params)
        except ClientError as error:
            return str(error.response["Error"].get("Code"))
        return ""


def entries(number: int, size: int) -> list[dict[str, Any]]:
    return [{"Data": b"x" * size, "PartitionKey": "k"} for _ in range(number)]


def verdict(is_right: bool, seen: object) -> str:
    return "yes" if is_right else f"no: {seen}"


def write_limit(service: Service) -> str:
    answer = service.client.put_records(StreamName=service.create(), Records=entries(500, 3000))
    codes = {each.get("ErrorCode") for each in answer["Records"]} - {None}
    return verdict("ProvisionedThroughputExceededException" in codes, "all 1.5 MB accepted at once")


def read_limit(service: Service) -> str:
    stream = service.create()
    iterator = service.iterator(stream)
    codes = [service.refused("get_records", ShardIterator=iterator) for _ in range(40)]
    return verdict("ProvisionedThroughputExceededException" in codes, "40 GetRecords accepted at once")


def large_request(service: Service) -> str:
    records = [{**each, "ExplicitHashKey": str(n << 125)} for n, each in enumerate(entries(8, 900_000))]
    code = service.refused("put_records", StreamName=service.create(8), Records=records)
    return verdict(not code, code)


def too_large_record(service: Service) -> str:
    code = service.refused("put_record", StreamName=service.create(), Data=b"x" * (2 << 20), PartitionKey="k")
    return verdict(bool(code), "2 MiB accepted")


def double_at_most(service: Service) -> str:
    params = {"TargetShardCount": 3, "ScalingType": "UNIFORM_SCALING"}
    code = service.refused("update_shard_count", StreamName=service.create(), **params)
    return verdict(bool(code), "UpdateShardCount from 1 to 3 accepted")


def split(service: Service) -> str:
    stream = service.create()
    service.client.put_records(StreamName=stream, Records=entries(5, 10))
    service.client.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(1 << 127))
    service.wait(stream)
    service.client.put_records(StreamName=stream, Records=entries(7, 10))
    old, goes_on = service.read(stream)
    new = sum(len(service.read(stream, f"shardId-00000000000{each}")[0]) for each in (1, 2))
    seen = f"parent {len(old)} records{', without an end' if goes_on else ''}, children {new}"
    return verdict((len(old), goes_on, new) == (5, False, 7), seen)


def auto(service: Service) -> str:
    stream = next(STREAMS)
    mode = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "RecordDistributionStrategy": "AUTO"}
    service.client.create_stream(StreamName=stream, **mode)
    service.wait(stream)
    summary = service.client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    code = service.refused("put_record", StreamName=stream, Data=b"x")
    return verdict(summary.get("RecordDistributionStrategy") == "AUTO" and not code, code or "the summary lacks it")


def fan_out(service: Service) -> str:
    stream = service.create()
    service.client.put_records(StreamName=stream, Records=entries(3, 10))
    arn = service.client.describe_stream(StreamName=stream)["StreamDescription"]["StreamARN"]
    consumer = service.client.register_stream_consumer(StreamARN=arn, ConsumerName="app")["Consumer"]["ConsumerARN"]
    deadline = time.monotonic() + 10
    while (
        service.client.describe_stream_consumer(ConsumerARN=consumer)["ConsumerDescription"]["ConsumerStatus"]
        != "ACTIVE"
    ):
        if time.monotonic() > deadline:
            raise TimeoutError("the consumer is not ACTIVE after 10 s")
        time.sleep(0.1)
    position = {"ShardId": FIRST, "StartingPosition": {"Type": "TRIM_HORIZON"}}
    answer = service.client.subscribe_to_shard(ConsumerARN=consumer, **position)
    for event in answer["EventStream"]:
        if records := event["SubscribeToShardEvent"]["Records"]:
            answer["EventStream"].close()
            return verdict(len(records) == 3, f"{len(records)} of 3 records")
    return "no: no event with records"


def cbor(service: Service) -> str:
    """Put and read in CBOR, as the SDK for Java does."""
    stream = service.create()

    def call(operation: str, params: Mapping[str, Any]) -> bytes:
        headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": "application/x-amz-cbor-1.1"}
        answer = requests.post(service.url, cbor2.dumps(params), headers={**headers, **SIGNED}, timeout=15)
        if answer.status_code != 200:
            raise ConnectionError(f"{operation}: HTTP {answer.status_code}")
        return answer.content

    call("PutRecord", {"StreamName": stream, "Data": b"\x00\xff", "PartitionKey": "k"})
    answer = call("GetRecords", {"ShardIterator": service.iterator(stream)})
    # cbor2 reads no whole response, because AWS's times are in milliseconds.
    found = [kind for kind, value in (("a byte string", b"\x00\xff"), ("base64 text", "AP8=")) if _has(answer, value)]
    return verdict(found == ["a byte string"], f"Data is {found[0] if found else 'neither bytes nor base64'}")


def _has(answer: bytes, value: object) -> bool:
    return cbor2.dumps("Data") + cbor2.dumps(value) in answer


def http2(service: Service) -> str:
    """Call ListStreams over HTTP/2 in clear text, as the SDK for JavaScript does."""
    address = urlsplit(service.url)
    connection = H2Connection(H2Configuration(header_encoding="utf-8"))
    headers = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", address.netloc)]
    headers += [(name.lower(), value) for name, value in SIGNED.items()]
    headers += [("x-amz-target", "Kinesis_20131202.ListStreams"), ("content-type", "application/x-amz-json-1.1")]
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as there:
        connection.initiate_connection()
        connection.send_headers(1, headers)
        connection.send_data(1, b"{}", end_stream=True)
        there.sendall(connection.data_to_send())
        status = ""
        while True:
            data = there.recv(65536)
            if not data:
                return "no: the connection was closed"
            if data.startswith(b"HTTP/1.1"):
                return "no: HTTP/1.1 was answered"
            for event in connection.receive_data(data):
                if isinstance(event, ResponseReceived):
                    status = next(str(value) for name, value in event.headers if str(name) == ":status")
                if isinstance(event, StreamEnded):
                    return verdict(status == "200", f"status {status}")
            there.sendall(connection.data_to_send())


def kept_after_kill(emulator: Emulator) -> str:
    """Put to an emulator with its persistence, end it with SIGKILL at once, start it again and read."""
    if not emulator.is_durable:
        return "no option"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        with running(emulator, Path(directory)) as server:
            service = Service(server.endpoint_url)
            stream = service.create()
            service.client.put_record(StreamName=stream, Data=b"kept", PartitionKey="k")
            server.process.kill()
            server.process.wait()
        with running(emulator, Path(directory)) as server:
            found = Service(server.endpoint_url).read(stream)[0]
    return verdict(found == [b"kept"], "the record is gone")


PROBES: Mapping[str, Callable[[Service], str]] = {
    "throttles writes (1 MiB/s a shard)": write_limit,
    "throttles reads (5/s a shard)": read_limit,
    "PutRecords of more than 5 MiB": large_request,
    "refuses a record above the stream's limit": too_large_record,
    "refuses more than double the shards": double_at_most,
    "a split: the parent ends, the children get the records": split,
    "AUTO, and records without a partition key": auto,
    "SubscribeToShard": fan_out,
    "CBOR": cbor,
    "HTTP/2": http2,
}


def seen(probe: Callable[[Any], str], argument: object) -> str:
    """Return what a probe returns, or the error that it ends with."""
    try:
        return probe(argument)
    except EventStreamError as error:
        return f"no: {error.response['Error'].get('Code')}"
    except ClientError as error:
        return f"no: {error.operation_name}: {error.response['Error'].get('Code')}"
    except (BotoCoreError, ResponseParserError, OSError, LookupError, ValueError) as error:
        return f"no: {type(error).__name__}: {str(error)[:60]}"
