"""Delivery streams of the modelled Firehose: created, listed, put to, throttled, deleted."""

from __future__ import annotations

from typing import Any

import pytest

from kplpy.local import Fault, Limits, Model, Phases, ServiceError

ROLE, BUCKET = "arn:aws:iam::123456789012:role/r", "arn:aws:s3:::b"
S3: dict[str, Any] = {"ExtendedS3DestinationConfiguration": {"RoleARN": ROLE, "BucketARN": BUCKET}}
ARN = "arn:aws:firehose:us-east-1:123456789012:deliverystream/d"
KIB, MIB = 1 << 10, 1 << 20


def model_of(**arguments: Any) -> Model:
    model = Model(**arguments)
    model.handle("Firehose.CreateDeliveryStream", {"DeliveryStreamName": "d", **S3}, 0.0)
    return model


def call(model: Model, operation: str, now: float = 1.0, name: str = "d", **params: Any) -> dict[str, Any]:
    return model.handle(f"Firehose.{operation}", {"DeliveryStreamName": name, **params}, now)


def refused(model: Model, operation: str, now: float = 1.0, name: str = "d", **params: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        call(model, operation, now, name, **params)
    return caught.value


def batch(*data: object) -> list[dict[str, object]]:
    return [{"Data": each} for each in data]


def put(model: Model, *data: bytes, now: float = 1.0) -> dict[str, Any]:
    return call(model, "PutRecordBatch", now, Records=batch(*data))


def held(model: Model) -> list[bytes]:
    return [each.data for each in model.firehose_ledger("d")]


def test_a_batch_is_kept_in_order() -> None:
    model = model_of()
    answer = put(model, b"one\n", b"", b"three\n")
    assert answer["FailedPutCount"] == 0
    assert answer["Encrypted"] is False
    single = call(model, "PutRecord", 2.0, Record={"Data": b"four\n"})
    ledger = list(model.firehose_ledger("d"))
    assert [each.data for each in ledger] == [b"one\n", b"", b"three\n", b"four\n"]
    assert [each.number for each in ledger] == [1, 2, 3, 4]
    ids = [each["RecordId"] for each in answer["RequestResponses"]] + [single["RecordId"]]
    assert [each.record_id for each in ledger] == ids
    assert len(set(ids)) == 4
    assert [each.time for each in ledger] == [1.0, 1.0, 1.0, 2.0]
    assert list(model.ledger()) == []


def test_a_description_has_what_the_stream_was_created_with() -> None:
    model = model_of()
    described = call(model, "DescribeDeliveryStream")["DeliveryStreamDescription"]
    assert described["DeliveryStreamARN"] == ARN
    assert (described["DeliveryStreamStatus"], described["DeliveryStreamType"]) == ("ACTIVE", "DirectPut")
    (destination,) = described["Destinations"]
    assert destination["ExtendedS3DestinationDescription"]["BucketARN"] == BUCKET
    assert destination["S3DestinationDescription"]["BufferingHints"] == {"SizeInMBs": 5, "IntervalInSeconds": 300}
    splunk: dict[str, Any] = {"SplunkDestinationConfiguration": {"HECEndpoint": "https://x"}}
    hint: dict[str, Any] = {"DirectPutSourceConfiguration": {"ThroughputHintInMBs": 7}}
    call(model, "CreateDeliveryStream", name="e", **splunk, **hint)
    described = call(model, "DescribeDeliveryStream", name="e")["DeliveryStreamDescription"]
    assert described["Destinations"][0]["SplunkDestinationDescription"] == {"HECEndpoint": "https://x"}
    assert described["Source"] == {"DirectPutSourceDescription": {"ThroughputHintInMBs": 7}}


def test_listing_pages_in_alphabetical_order() -> None:
    model = Model()
    for number in reversed(range(12)):
        call(model, "CreateDeliveryStream", name=f"d{number:02d}", **S3)
    first = model.handle("Firehose.ListDeliveryStreams", {}, 1.0)
    assert first == {"DeliveryStreamNames": [f"d{each:02d}" for each in range(10)], "HasMoreDeliveryStreams": True}
    rest = model.handle("Firehose.ListDeliveryStreams", {"ExclusiveStartDeliveryStreamName": "d09", "Limit": 5}, 1.0)
    assert rest == {"DeliveryStreamNames": ["d10", "d11"], "HasMoreDeliveryStreams": False}
    reading = {"DeliveryStreamType": "KinesisStreamAsSource"}
    assert model.handle("Firehose.ListDeliveryStreams", reading, 1.0)["DeliveryStreamNames"] == []


def test_phases_hold_for_delivery_streams() -> None:
    model = model_of(phases=Phases(creating=5, deleting=10))
    assert refused(model, "PutRecord", 4.9, Record={"Data": b"x"}).code == "ResourceNotFoundException"
    assert refused(model, "DeleteDeliveryStream", 4.9).code == "ResourceInUseException"
    put(model, b"x", now=5.0)
    call(model, "DeleteDeliveryStream", 6.0)
    call(model, "DeleteDeliveryStream", 6.0)
    status = call(model, "DescribeDeliveryStream", 15.9)["DeliveryStreamDescription"]["DeliveryStreamStatus"]
    assert status == "DELETING"
    assert refused(model, "PutRecord", 15.9, Record={"Data": b"x"}).code == "ResourceNotFoundException"
    assert refused(model, "CreateDeliveryStream", 15.9, **S3).code == "ResourceInUseException"
    call(model, "CreateDeliveryStream", 16.0, **S3)
    assert held(model) == []


def test_a_deleted_delivery_stream_is_kept_for_the_ledger_on_request() -> None:
    model = model_of(keep_deleted=True, phases=Phases(deleting=0))
    put(model, b"old")
    call(model, "DeleteDeliveryStream")
    call(model, "CreateDeliveryStream", **S3)
    put(model, b"new")
    assert [(each.incarnation, each.data) for each in model.firehose_ledger("d")] == [(1, b"old"), (2, b"new")]


SOURCE = {"KinesisStreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/s", "RoleARN": ROLE}
READER: dict[str, Any] = {"DeliveryStreamType": "KinesisStreamAsSource", "KinesisStreamSourceConfiguration": SOURCE}

BAD_REQUESTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("Nonsense", {}, "UnknownOperationException", "Firehose.Nonsense"),
    ("CreateDeliveryStream", {"name": "a b", **S3}, "ValidationException", r"pattern: \[a-zA-Z0-9_.-\]\+"),
    ("CreateDeliveryStream", {"name": "a" * 65, **S3}, "ValidationException", "less than or equal to 64"),
    ("CreateDeliveryStream", {"name": "e"}, "InvalidArgumentException", "Exactly one destination configuration"),
    (
        "CreateDeliveryStream",
        {"name": "e", **S3, "SplunkDestinationConfiguration": {}},
        "InvalidArgumentException",
        "Exactly one destination configuration",
    ),
    (
        "CreateDeliveryStream",
        {"name": "e", "S3DestinationConfiguration": {"RoleARN": "r"}},
        "ValidationException",
        "'s3DestinationConfiguration.roleARN' .*'s3DestinationConfiguration.bucketARN'",
    ),
    ("CreateDeliveryStream", {"name": "e", **S3, "DeliveryStreamType": "x"}, "ValidationException", "enum value set"),
    (
        "CreateDeliveryStream",
        {"name": "e", **S3, "DeliveryStreamType": "KinesisStreamAsSource"},
        "InvalidArgumentException",
        "KinesisStreamSourceConfiguration is required",
    ),
    ("CreateDeliveryStream", S3, "ResourceInUseException", "Firehose d under accountId 123456789012 already exists"),
    ("DescribeDeliveryStream", {"name": "x"}, "ResourceNotFoundException", "Firehose x under account 123456789012 not"),
    ("DeleteDeliveryStream", {"name": "x"}, "ResourceNotFoundException", "Firehose x under account 123456789012 not"),
    ("PutRecord", {"name": "x", "Record": {"Data": b""}}, "ResourceNotFoundException", "Firehose x under account"),
    ("PutRecord", {"name": ARN, "Record": {"Data": b""}}, "ValidationException", "pattern"),
    ("PutRecord", {}, "ValidationException", "Value null at 'record'"),
    ("PutRecord", {"Record": {}}, "ValidationException", "Value null at 'record.data'"),
    ("PutRecord", {"Record": {"Data": "text"}}, "SerializationException", "converted to an Blob"),
    (
        "PutRecord",
        {"Record": {"Data": bytes(1000 * KIB + 1)}},
        "ValidationException",
        r"lim=1024001 cap=1024001\]' at 'record.data' .* less than or equal to 1024000$",
    ),
    ("PutRecordBatch", {"Records": []}, "ValidationException", "greater than or equal to 1"),
    ("PutRecordBatch", {"Records": batch(*[b""] * 501)}, "ValidationException", "less than or equal to 500"),
    ("PutRecordBatch", {"Records": [7]}, "SerializationException", "Expected a structure"),
    ("PutRecordBatch", {"Records": batch(b"", None)}, "ValidationException", "Value null at 'records.2.member.data'"),
    (
        "PutRecordBatch",
        {"Records": batch(bytes(1000 * KIB + 1), b"", bytes(1000 * KIB + 2))},
        "ValidationException",
        r"^ValidationException: 2 validation errors .*'records.1.member.data' .*'records.3.member.data'",
    ),
    (
        "PutRecordBatch",
        {"Records": batch(*[bytes(839_000)] * 5)},
        "InvalidArgumentException",
        "Records size exceeds 4 MB limit",
    ),
]


@pytest.mark.parametrize(("operation", "params", "code", "says"), BAD_REQUESTS)
def test_a_bad_request_is_refused_and_changes_nothing(
    operation: str, params: dict[str, Any], code: str, says: str
) -> None:
    model = model_of()
    with pytest.raises(ServiceError, match=says) as caught:
        call(model, operation, **params)
    assert caught.value.code == code
    assert held(model) == []
    assert list(model.firehose.streams) == ["d"]


def test_a_request_of_4_mib_is_accepted() -> None:
    model = model_of()
    data = [bytes(1000 * KIB)] * 4 + [bytes(4 * MIB - 4000 * KIB)]
    assert put(model, *data)["FailedPutCount"] == 0
    assert sum(map(len, held(model))) == 4 * MIB


def test_a_delivery_stream_that_reads_a_kinesis_stream_takes_no_puts() -> None:
    model = Model()
    call(model, "CreateDeliveryStream", **READER, **S3)
    error = refused(model, "PutRecordBatch", Records=batch(b"x"))
    assert error.code == "InvalidArgumentException"
    assert error.message == "This operation is not permitted on KinesisStreamAsSource delivery stream type."
    source = call(model, "DescribeDeliveryStream")["DeliveryStreamDescription"]["Source"]
    assert source["KinesisStreamSourceDescription"]["KinesisStreamARN"] == SOURCE["KinesisStreamARN"]


def test_the_account_has_a_quota_of_delivery_streams() -> None:
    model = model_of(limits=Limits(firehose_streams=1))
    assert refused(model, "CreateDeliveryStream", name="e", **S3).code == "LimitExceededException"


def test_records_above_the_throughput_are_refused_one_by_one() -> None:
    model = model_of(limits=Limits(firehose_bytes_per_second=1000))
    answer = put(model, *[b"x" * 400] * 4)
    assert answer["FailedPutCount"] == 2
    assert ["RecordId" in each for each in answer["RequestResponses"]] == [True, True, False, False]
    slow = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
    assert answer["RequestResponses"][3] == slow
    error = refused(model, "PutRecord", Record={"Data": b"x" * 400})
    assert (error.code, error.message, error.status) == ("ServiceUnavailableException", "Slow down.", 503)
    assert put(model, b"x" * 400, now=2.0)["FailedPutCount"] == 0
    assert len(held(model)) == 3
    few = model_of(limits=Limits(firehose_records_per_second=2))
    assert put(few, b"", b"", b"", now=1.0)["FailedPutCount"] == 1


def test_a_request_above_the_request_quota_is_refused_whole() -> None:
    model = model_of(limits=Limits(firehose_requests_per_second=2))
    put(model, b"1")
    call(model, "PutRecord", Record={"Data": b"2"})
    error = refused(model, "PutRecordBatch", Records=batch(b"3"))
    assert (error.code, error.message, error.status) == ("ServiceUnavailableException", "Slow down.", 503)
    put(model, b"3", now=1.5)
    assert held(model) == [b"1", b"2", b"3"]


def test_each_delivery_stream_has_its_own_quota() -> None:
    model = model_of(limits=Limits(firehose_bytes_per_second=10))
    call(model, "CreateDeliveryStream", name="e", **S3)
    assert put(model, b"x" * 10)["FailedPutCount"] == 0
    assert call(model, "PutRecordBatch", name="e", Records=batch(b"x" * 10))["FailedPutCount"] == 0
    unlimited = model_of(limits=Limits.no_rates())
    for _ in range(10):
        assert put(unlimited, *[bytes(1000 * KIB)] * 4)["FailedPutCount"] == 0


def test_faults_of_entries_and_of_whole_requests() -> None:
    model = model_of()
    operation = "Firehose.PutRecordBatch"
    model.faults.fail_entries("InternalFailure", entries=frozenset({1}), operation=operation, stream="d")
    answer = put(model, b"1", b"2", b"3")
    assert answer["RequestResponses"][1] == {
        "ErrorCode": "InternalFailure",
        "ErrorMessage": "Internal service failure.",
    }
    assert (answer["FailedPutCount"], held(model)) == (1, [b"1", b"3"])
    model.faults.fail("ServiceUnavailableException", "Slow down.", status=503, operation=operation)
    assert refused(model, "PutRecordBatch", Records=batch(b"4")).status == 503
    model.faults.add(Fault(entry_code="InternalFailure"), operation="Firehose.PutRecord")
    assert refused(model, "PutRecord", Record={"Data": b"4"}).status == 500
    model.faults.add(Fault(transport="wrong_length"), operation=operation)
    exchange = model.exchange(operation, {"DeliveryStreamName": "d", "Records": batch(b"5", b"6")}, 1.0)
    assert exchange.answer is not None
    assert len(exchange.answer["RequestResponses"]) == 1
    model.faults.cut(accepted=True, operation=operation)
    exchange = model.exchange(operation, {"DeliveryStreamName": "d", "Records": batch(b"7")}, 1.0)
    assert exchange.transport == "cut_after"
    assert held(model) == [b"1", b"3", b"5", b"6", b"7"]


def test_a_fault_of_kinesis_leaves_firehose_alone() -> None:
    model = model_of()
    model.faults.outage(operation="PutRecord")
    call(model, "PutRecord", Record={"Data": b"x"})
    with pytest.raises(ValueError, match=r"'PutRecordBatch'; did you mean .*Firehose\.PutRecordBatch"):
        model.faults.cut(accepted=True, operation="PutRecordBatch")


def test_without_store_records_are_only_counted() -> None:
    model = model_of(store=False)
    ids = [put(model, b"x")["RequestResponses"][0]["RecordId"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert held(model) == []
    assert model.firehose.streams["d"].count == 3


def test_retention_drops_the_oldest_records() -> None:
    model = model_of(retention_bytes=1600)
    for number in range(20):
        put(model, b"%02d" % number + b"x" * 98)
    assert held(model)[-1][:2] == b"19"
    assert sum(map(len, held(model))) <= 1600
    model = model_of()
    put(model, b"old", now=1.0)
    put(model, b"new", now=1000.0)
    put(model, b"last", now=1.0 + 24 * 3600 + 61)
    assert held(model) == [b"new", b"last"]
    assert [each.number for each in model.firehose_ledger("d")] == [2, 3]


def test_a_kinesis_stream_of_the_same_name_is_another_stream() -> None:
    model = model_of()
    model.handle("CreateStream", {"StreamName": "d", "ShardCount": 1}, 0.0)
    model.handle("PutRecord", {"StreamName": "d", "Data": b"k", "PartitionKey": "k"}, 1.0)
    put(model, b"f")
    assert ([each.data for each in model.ledger("d")], held(model)) == ([b"k"], [b"f"])
