"""The local Firehose over sockets: boto3, faults, kills, and other processes that read records."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError

from kplpy.local import LocalKinesis, LocalKinesisProcess
from tests.integration.cli_process import Running, run

if TYPE_CHECKING:
    from mypy_boto3_firehose import FirehoseClient

ONE_TRY = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5)
RECORDS: Any = [{"Data": b"one\n"}, {"Data": b"\x00\xff"}, {"Data": b""}]
BATCH = "Firehose.PutRecordBatch"
ARN = "arn:aws:firehose:us-east-1:123456789012:deliverystream/logs"


def read(url: str, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, json.load(response)
    connection.close()
    return answer


def create(client: FirehoseClient, name: str) -> str:
    destination: Any = {"RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::b"}
    answer = client.create_delivery_stream(DeliveryStreamName=name, ExtendedS3DestinationConfiguration=destination)
    return answer["DeliveryStreamARN"]


@pytest.mark.parametrize("https", [False, True])
def test_boto3_creates_puts_describes_lists_and_deletes(https: bool) -> None:
    with LocalKinesis(https=https) as kinesis:
        client = kinesis.firehose_client()
        assert create(client, "logs") == ARN
        answer = client.put_record_batch(DeliveryStreamName="logs", Records=RECORDS)
        assert answer["FailedPutCount"] == 0
        assert client.put_record(DeliveryStreamName="logs", Record={"Data": b"last"})["RecordId"]
        assert [each.data for each in kinesis.firehose_ledger("logs")] == [b"one\n", b"\x00\xff", b"", b"last"]
        described = client.describe_delivery_stream(DeliveryStreamName="logs")["DeliveryStreamDescription"]
        assert described["DeliveryStreamStatus"] == "ACTIVE"
        assert described["Destinations"][0]["ExtendedS3DestinationDescription"]["BucketARN"] == "arn:aws:s3:::b"
        assert client.list_delivery_streams()["DeliveryStreamNames"] == ["logs"]
        client.delete_delivery_stream(DeliveryStreamName="logs")
        described = client.describe_delivery_stream(DeliveryStreamName="logs")["DeliveryStreamDescription"]
        assert described["DeliveryStreamStatus"] == "DELETING"
        with pytest.raises(client.exceptions.ResourceNotFoundException, match="Firehose none under account"):
            client.put_record(DeliveryStreamName="none", Record={"Data": b""})


def test_faults_on_the_wire() -> None:
    with LocalKinesis(delivery_streams=["logs"]) as kinesis:
        client = kinesis.firehose_client(config=ONE_TRY)
        kinesis.faults.cut(accepted=True, operation=BATCH)
        with pytest.raises(ConnectionClosedError):
            client.put_record_batch(DeliveryStreamName="logs", Records=RECORDS)
        assert len(kinesis.firehose_ledger("logs")) == 3
        kinesis.faults.fail_entries("ServiceUnavailableException", entries=frozenset({0, 2}), operation=BATCH)
        answer = client.put_record_batch(DeliveryStreamName="logs", Records=RECORDS)
        codes = [each.get("ErrorCode") for each in answer["RequestResponses"]]
        assert (answer["FailedPutCount"], codes) == (
            2,
            ["ServiceUnavailableException", None, "ServiceUnavailableException"],
        )
        kinesis.faults.fail("ServiceUnavailableException", "Slow down.", status=503, operation=BATCH)
        with pytest.raises(client.exceptions.ServiceUnavailableException, match=r"Slow down\."):
            client.put_record_batch(DeliveryStreamName="logs", Records=RECORDS)


def test_another_process_reads_the_records_over_http() -> None:
    with LocalKinesis(delivery_streams=["logs"]) as kinesis:
        kinesis.firehose_client().put_record_batch(DeliveryStreamName="logs", Records=RECORDS)
        url = kinesis.endpoint_url
        status, answer = read(url, "/firehose/logs")
        assert (status, answer["Count"], answer["Incarnation"]) == (200, 3, 1)
        assert [base64.b64decode(each["Data"]) for each in answer["Records"]] == [b"one\n", b"\x00\xff", b""]
        assert [each["RecordId"] for each in answer["Records"]] == [
            each.record_id for each in kinesis.firehose_ledger("logs")
        ]
        assert [each["Number"] for each in read(url, "/firehose/logs?after=1&limit=1")[1]["Records"]] == [2]
        assert read(url, "/firehose/logs?after=3")[1]["Records"] == []
        assert read(url, "/firehose/none")[1]["__type"] == "ResourceNotFoundException"
        for bad in ("after=x", "limit=0", "limit=10001", "after=-1"):
            assert read(url, f"/firehose/logs?{bad}")[1]["__type"] == "InvalidArgumentException"
        assert read(url, "/else")[1]["__type"] == "UnknownOperationException"


def test_tail_prints_the_records_of_a_delivery_stream(tmp_path: Path) -> None:
    with LocalKinesis(delivery_streams=["logs"]) as kinesis:
        client = kinesis.firehose_client()
        client.put_record_batch(DeliveryStreamName="logs", Records=[{"Data": b"one\n"}, {"Data": b"two"}])
        at = [ARN, "--endpoint-url", kinesis.endpoint_url]
        done = run(tmp_path, "tail", *at, "--from-start", "--no-follow", "-q")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"one\ntwo\n", b"")
        done = run(tmp_path, "tail", *at, "--from-start", "--no-follow", "-q", "--json", "--limit", "1")
        (line,) = done.stdout.splitlines()
        entry = json.loads(line)
        ledger = kinesis.firehose_ledger("logs")
        assert (entry["stream"], entry["data"], entry["record_id"]) == (ARN, "one\n", ledger[0].record_id)
        with Running(tmp_path, "tail", *at, "--interval", "0.2", "--limit", "1") as command:
            command.wait_for(b"from now on")
            client.put_record(DeliveryStreamName="logs", Record={"Data": b"three\n"})
            assert command.end(30) == 0
            assert command.out == b"three\n"


def test_tail_says_why_it_cannot_read(tmp_path: Path) -> None:
    for arguments, code, says in (
        ([ARN], 2, b"Firehose lets nobody read its records: give --endpoint-url"),
        ([ARN, "--endpoint-url", "127.0.0.1:1"], 2, b"must begin with http"),
        ([ARN, "--endpoint-url", "http://127.0.0.1:1"], 1, b"cannot read http://127.0.0.1:1/firehose/logs"),
        ([ARN, "--endpoint-url", "http://127.0.0.1:1", "--headers"], 2, b"have no headers"),
    ):
        done = run(tmp_path, "tail", *arguments)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    with LocalKinesis() as kinesis:
        done = run(tmp_path, "tail", ARN, "--endpoint-url", kinesis.endpoint_url)
        assert done.returncode == 1
        assert b"Firehose logs under account 123456789012 not found." in done.stderr


def test_the_command_creates_and_keeps_delivery_streams(tmp_path: Path) -> None:
    for expected in (b"logs (delivery stream)", b"logs (delivery stream, 1 record restored)"):
        arguments = ("--port", "0", "--delivery-stream", "logs", "--data-dir", "kept")
        with Running(tmp_path, "local", *arguments) as server:
            server.wait_for(b"Ctrl-C ends it")
            assert expected in server.out
            url = server.out.split(b" with ")[0].split()[-1].decode()
            body = json.dumps({"DeliveryStreamName": "logs", "Record": {"Data": "b25lCg=="}})
            connection = http.client.HTTPConnection(urlsplit(url).netloc)
            headers = {"X-Amz-Target": "Firehose_20150804.PutRecord", "Content-Type": "application/x-amz-json-1.1"}
            connection.request("POST", "/", body, headers)
            assert connection.getresponse().status == 200
            connection.close()
            server.process.terminate()
            assert server.end(20) == 0


def test_nothing_acknowledged_is_missing_after_kills(tmp_path: Path) -> None:
    acknowledged: dict[bytes, str] = {}

    def put(client: FirehoseClient, name: str, enough: threading.Event) -> None:
        for number in range(1_000_000):
            data = [f"{name}-{number}-{each}".encode() for each in range(20)]
            try:
                records: Any = [{"Data": each} for each in data]
                answer = client.put_record_batch(DeliveryStreamName="logs", Records=records)
            except (BotoCoreError, ClientError):
                return
            for each, entry in zip(data, answer["RequestResponses"], strict=True):
                acknowledged[each] = entry["RecordId"]
            if number == 5:
                enough.set()

    for round_ in range(2):
        with LocalKinesisProcess(delivery_streams=["logs"], limits=False, data_dir=tmp_path) as server:
            enough = threading.Event()
            client = server.firehose_client(config=ONE_TRY)
            threads = [threading.Thread(target=put, args=(client, f"{round_}-{each}", enough)) for each in range(2)]
            for each in threads:
                each.start()
            assert enough.wait(30)
            server.kill()
            for each in threads:
                each.join()
    with LocalKinesis(delivery_streams=["logs"], data_dir=tmp_path) as kinesis:
        held = {each.data: each.record_id for each in kinesis.firehose_ledger("logs")}
    assert len(acknowledged) > 200
    assert acknowledged.items() <= held.items()
    assert len(set(held.values())) == len(held)


def test_a_bad_name_raises_at_once() -> None:
    with pytest.raises(ValueError, match=r"a delivery stream's name must match .* at most 64 characters; got 'a b'"):
        LocalKinesis(delivery_streams=["a b"])
    with pytest.raises(ValueError, match="must be a collection of names, got 'logs'"):
        LocalKinesis(delivery_streams="logs")
