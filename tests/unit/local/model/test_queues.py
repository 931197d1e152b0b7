"""Queues at given times: what is received, received again, acknowledged, given up and restored."""

from __future__ import annotations

from typing import Any

import pytest

from kplpy.local import Limits, Model, Phases, ServiceError
from tests.inside import held_entries

ON_DEMAND: dict[str, Any] = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
STREAM_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/s"


class Queued:
    """A stream with one queue. Each method is a call at `now`."""

    def __init__(self, now: float = 0.0, phases: Phases | None = None, **queue: Any) -> None:
        self.model = Model(limits=Limits.none(), phases=phases)
        self.model.handle("CreateStream", {"StreamName": "s", **ON_DEMAND}, 0.0)
        self.arn = self.create("q", now, **queue)

    def create(self, name: str, now: float, position: Any = None, **queue: Any) -> str:
        stream: dict[str, Any] = {"StreamARN": STREAM_ARN}
        if position is not None:
            stream["StartingPosition"] = position
        made = self.model.handle("CreateQueue", {"QueueName": name, "StreamConfigurationList": [stream], **queue}, now)
        arn: str = made["QueueDescription"]["QueueARN"]
        return arn

    def put(self, data: bytes, now: float, key: str = "k") -> None:
        self.model.handle("PutRecord", {"StreamName": "s", "Data": data, "PartitionKey": key}, now)

    def receive(self, now: float, dead: bool = False, arn: str = "", **params: Any) -> list[dict[str, Any]]:
        operation = "ReceiveDeadLetterQueueRecords" if dead else "ReceiveQueueRecords"
        found: list[dict[str, Any]] = self.model.handle(operation, {"QueueARN": arn or self.arn, **params}, now)[
            "QueueRecords"
        ]
        return found

    def data(self, now: float, **params: Any) -> list[bytes]:
        return [each["Data"] for each in self.receive(now, **params)]

    def each(self, operation: str, records: list[dict[str, Any]], now: float, **entry: Any) -> list[str]:
        """Call an operation with the records' receipt handles, and return the error codes, "" for success."""
        handles = [each["ReceiptHandle"] for each in records]
        entries = [{"ReceiptHandle": each, **entry} for each in handles]
        answer = self.model.handle(operation, {"QueueARN": self.arn, "Entries": entries}, now)
        codes = {each["ReceiptHandle"]: each["ErrorCode"] for each in answer["Failed"]}
        assert {*codes, *(each["ReceiptHandle"] for each in answer["Successful"])} == set(handles)
        return [codes.get(each, "") for each in handles]


def code_of(queued: Queued, operation: str, now: float, **params: Any) -> str:
    with pytest.raises(ServiceError) as raised:
        queued.model.handle(operation, params, now)
    return raised.value.code


def test_a_record_is_delivered_once_and_again_after_its_visibility_timeout() -> None:
    queued = Queued()
    queued.put(b"a", 1.0)
    (record,) = queued.receive(2.0)
    shown = {name: value for name, value in record.items() if name not in ("ReceiptHandle", "RecordId")}
    assert shown == {
        "Data": b"a",
        "PartitionKey": "k",
        "ApproximateArrivalTimestamp": 1.0,
        "FirstReceiveTimestamp": 2.0,
        "ReceiveCount": 1,
    }
    assert queued.receive(31.9) == []
    (again,) = queued.receive(32.0)
    assert (again["RecordId"], again["FirstReceiveTimestamp"], again["ReceiveCount"]) == (record["RecordId"], 2.0, 2)
    assert again["ReceiptHandle"] != record["ReceiptHandle"]
    assert queued.each("AcknowledgeQueueRecords", [record], 33.0) == ["ResourceNotFoundException"]
    assert queued.each("AcknowledgeQueueRecords", [again], 33.0) == [""]
    assert queued.each("AcknowledgeQueueRecords", [again], 33.0) == ["ResourceNotFoundException"]
    assert queued.receive(1000.0) == []


def test_all_records_of_all_shards_come_in_their_order_ten_at_a_time() -> None:
    queued = Queued()
    wanted = [f"{number}".encode() for number in range(35)]
    for number, data in enumerate(wanted):
        queued.put(data, 1.0, key=f"{number}")
    found: list[bytes] = []
    while records := queued.data(2.0):
        assert len(records) <= 10
        found += records
    assert found == wanted
    assert queued.data(32.0, Limit=3) == wanted[:3]
    assert queued.data(32.0) == wanted[3:13]
    assert queued.receive(33.0, Limit=10, VisibilityTimeoutSeconds=0)[0]["Data"] == wanted[13]
    assert queued.data(33.0) == wanted[13:23]


def test_where_a_queue_begins() -> None:
    queued = Queued()
    queued.put(b"early", 1.0)
    queued.put(b"later", 5.0)
    for position, wanted in (
        (None, [b"new"]),
        ({"Type": "LATEST"}, [b"new"]),
        ({"Type": "TRIM_HORIZON"}, [b"early", b"later", b"new"]),
        ({"Type": "AT_TIMESTAMP", "Timestamp": 5.0}, [b"later", b"new"]),
    ):
        arn = queued.create("more", 10.0, position)
        queued.put(b"new", 10.0)
        assert queued.data(10.0, arn=arn) == wanted
        queued.model.handle("DeleteQueue", {"QueueARN": arn}, 10.0)
        queued = Queued()
        queued.put(b"early", 1.0)
        queued.put(b"later", 5.0)


def test_the_visibility_of_a_received_record_can_change() -> None:
    queued = Queued(QueueAttributes={"VisibilityTimeoutSeconds": 5})
    queued.put(b"a", 1.0)
    received = queued.receive(1.0)
    assert queued.each("UpdateQueueRecordsVisibility", received, 3.0, VisibilityTimeoutSeconds=60) == [""]
    assert queued.receive(62.9) == []
    assert queued.each("UpdateQueueRecordsVisibility", received, 62.9, VisibilityTimeoutSeconds=0) == [""]
    assert queued.each("UpdateQueueRecordsVisibility", received, 62.9, VisibilityTimeoutSeconds=0) == [""]
    (again,) = queued.receive(62.9, VisibilityTimeoutSeconds=7)
    assert queued.receive(69.8) == []
    assert queued.each("AcknowledgeQueueRecords", [again], 69.8) == [""]


def test_a_record_that_was_received_too_often_is_a_dead_letter() -> None:
    dead = {"DeadLetterConfiguration": {"TargetType": "BUILT_IN", "MaxReceiveCount": 2}}
    queued = Queued(QueueAttributes={"VisibilityTimeoutSeconds": 10, **dead})
    queued.put(b"bad", 0.0)
    queued.receive(1.0)
    (second,) = queued.receive(11.0)
    assert queued.receive(20.9, dead=True) == []
    assert queued.receive(21.0) == []
    assert queued.each("AcknowledgeQueueRecords", [second], 21.0) == ["ResourceNotFoundException"]
    (letter,) = queued.receive(21.0, dead=True)
    assert (letter["Data"], letter["RecordId"], letter["ReceiveCount"]) == (b"bad", second["RecordId"], 3)
    assert queued.receive(22.0, dead=True) == []
    hide = "UpdateDeadLetterQueueRecordsVisibility"
    assert queued.each(hide, [letter], 22.0, VisibilityTimeoutSeconds=0) == [""]
    (letter,) = queued.receive(22.0, dead=True)
    assert queued.each("RestoreDeadLetterQueueRecords", [letter, letter], 22.0).count("") == 0
    (restored,) = queued.receive(22.0)
    assert restored["ReceiveCount"] == 1
    assert queued.receive(32.0)[0]["ReceiveCount"] == 2
    (letter,) = queued.receive(42.0, dead=True)
    assert queued.each("AcknowledgeDeadLetterQueueRecords", [letter], 42.0) == [""]
    assert queued.receive(100.0, dead=True) == queued.receive(100.0) == []


def test_without_dead_letters_a_record_comes_until_it_is_acknowledged() -> None:
    queued = Queued(QueueAttributes={"VisibilityTimeoutSeconds": 1, "DeadLetterConfiguration": {"TargetType": "NONE"}})
    queued.put(b"a", 0.0)
    assert [queued.receive(float(now))[0]["ReceiveCount"] for now in range(1, 20)] == list(range(1, 20))


def test_a_queue_delivers_no_record_that_the_stream_has_dropped() -> None:
    queued = Queued(QueueAttributes={"VisibilityTimeoutSeconds": 43_200})
    queued.put(b"received", 1.0)
    queued.receive(2.0)
    queued.put(b"never", 3.0)
    assert queued.receive(24 * 3600 + 100.0) == []
    assert queued.model.account.queues[queued.arn.rpartition("/")[2]].deliveries == {}


@pytest.mark.parametrize("dead", [False, True])
def test_a_queue_holds_little_for_records_that_come_again_and_again(dead: bool) -> None:
    letters = {"TargetType": "BUILT_IN", "MaxReceiveCount": 1} if dead else {"TargetType": "NONE"}
    queued = Queued(QueueAttributes={"DeadLetterConfiguration": letters})
    for each in range(20):
        queued.put(b"%d" % each, 1.0)
    assert [len(queued.receive(2.0)), len(queued.receive(2.0))] == [10, 10]
    for now in range(100, 5000, 100):
        received = queued.receive(now, dead=dead, Limit=10) + queued.receive(now, dead=dead, Limit=10)
        assert sorted(int(each["Data"]) for each in received) == list(range(20))
        change = "UpdateDeadLetterQueueRecordsVisibility" if dead else "UpdateQueueRecordsVisibility"
        for seconds in (43_200, 0):
            assert queued.each(change, received[:10], now, VisibilityTimeoutSeconds=seconds) == [""] * 10
    (queue,) = queued.model.account.queues.values()
    assert held_entries(queue) < 1000


def test_a_queue_forgets_dead_letters_that_the_stream_has_dropped() -> None:
    queued = Queued(QueueAttributes={"DeadLetterConfiguration": {"TargetType": "BUILT_IN", "MaxReceiveCount": 1}})
    for day in range(12):
        for each in range(100):
            queued.put(b"%d" % each, day * 90_000.0)
        while queued.receive(day * 90_000.0 + 1):
            pass
    (queue,) = queued.model.account.queues.values()
    assert len(queue.deliveries) < 600
    assert len(queued.receive(11 * 90_000.0 + 100, dead=True)) == 10


def test_queues_of_one_stream_are_apart_but_have_the_same_record_ids() -> None:
    queued = Queued()
    other = queued.create("other", 0.0)
    queued.put(b"a", 1.0)
    (first,), (second,) = queued.receive(1.0), queued.receive(1.0, arn=other)
    assert first["RecordId"] == second["RecordId"]
    assert queued.each("AcknowledgeQueueRecords", [second], 1.0) == ["InvalidArgumentException"]
    assert queued.each("AcknowledgeQueueRecords", [{"ReceiptHandle": "x"}], 1.0) == ["InvalidArgumentException"]


def test_a_queue_reads_the_children_of_a_split_shard() -> None:
    queued = Queued()
    queued.put(b"before", 1.0)
    queued.model.handle(
        "SplitShard", {"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "9"}, 2.0
    )
    for number in range(8):
        queued.put(f"{number}".encode(), 3.0, key=f"{number}")
    assert queued.data(4.0) == [b"before", *(f"{number}".encode() for number in range(8))]


def test_the_phases_of_a_queue() -> None:
    queued = Queued(0.0, Phases(updating=5, deleting=10))
    params: dict[str, Any] = {"QueueARN": queued.arn}
    attributes = {"VisibilityTimeoutSeconds": 7}
    updated = queued.model.handle("UpdateQueue", {**params, "QueueAttributes": attributes}, 1.0)["QueueDescription"]
    assert updated["QueueStatus"] == "UPDATING"
    assert updated["QueueAttributes"]["VisibilityTimeoutSeconds"] == 7
    assert updated["QueueAttributes"]["DeadLetterConfiguration"] == {"TargetType": "BUILT_IN", "MaxReceiveCount": 6}
    queued.put(b"a", 2.0)
    assert queued.data(2.0) == [b"a"]
    assert code_of(queued, "UpdateQueue", 2.0, **params, QueueAttributes=attributes) == "ResourceInUseException"
    assert queued.model.handle("DescribeQueue", params, 6.0)["QueueDescription"]["QueueStatus"] == "ACTIVE"
    assert code_of(queued, "DeleteStream", 6.0, StreamName="s") == "ResourceInUseException"
    provisioned = {"StreamARN": STREAM_ARN, "StreamModeDetails": {"StreamMode": "PROVISIONED"}}
    assert code_of(queued, "UpdateStreamMode", 6.0, **provisioned) == "ResourceInUseException"
    queued.model.handle("DeleteQueue", params, 6.0)
    assert code_of(queued, "ReceiveQueueRecords", 7.0, **params) == "ResourceNotFoundException"
    assert queued.model.handle("DescribeQueue", params, 7.0)["QueueDescription"]["QueueStatus"] == "DELETING"
    assert code_of(queued, "DescribeQueue", 16.0, **params) == "ResourceNotFoundException"
    queued.model.handle("DeleteStream", {"StreamName": "s"}, 16.0)


def test_a_description_shows_where_the_queue_began() -> None:
    queued = Queued(6.0, Phases(creating=5))

    def shown(kind: str, now: float, created: float) -> Any:
        position = {"Type": kind, **({"Timestamp": 1.0} if kind == "AT_TIMESTAMP" else {})}
        arn = queued.create(kind, created, position)
        (stream,) = queued.model.handle("DescribeQueue", {"QueueARN": arn}, now)["QueueDescription"][
            "StreamConfigurationList"
        ]
        return stream["StartingPosition"]

    assert shown("LATEST", 12.0, 12.0) == {"Type": "LATEST"}
    assert shown("TRIM_HORIZON", 18.0, 13.0) == {"Type": "TRIM_HORIZON", "Timestamp": 0.0}
    assert shown("AT_TIMESTAMP", 25 * 3600.0, 18.0) == {"Type": "AT_TIMESTAMP", "Timestamp": 3600.0}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"StreamConfigurationList": [{"StreamARN": STREAM_ARN}, {"StreamARN": STREAM_ARN}]}, "ValidationException"),
    ({"StreamConfigurationList": [{"StreamARN": f"{STREAM_ARN}x"}]}, "ResourceNotFoundException"),
    (
        {"StreamConfigurationList": [{"StreamARN": STREAM_ARN, "StartingPosition": {"Type": "AT_TIMESTAMP"}}]},
        "ValidationException",
    ),
    (
        {
            "StreamConfigurationList": [
                {"StreamARN": STREAM_ARN, "StartingPosition": {"Type": "LATEST", "Timestamp": 1.0}}
            ]
        },
        "ValidationException",
    ),
    ({"QueueAttributes": {"DeadLetterConfiguration": {"TargetType": "BUILT_IN"}}}, "ValidationException"),
    ({"QueueAttributes": {"VisibilityTimeoutSeconds": 43_201}}, "ValidationException"),
    ({"QueueName": "q"}, "ResourceInUseException"),
    ({"Tags": {"aws:x": "1"}}, "InvalidArgumentException"),
    ({"StreamConfigurationList": [{"StreamARN": STREAM_ARN.replace("/s", "/p")}]}, "InvalidArgumentException"),
]


@pytest.mark.parametrize(("changes", "code"), BAD)
def test_a_bad_queue_is_refused(changes: dict[str, Any], code: str) -> None:
    queued = Queued()
    queued.model.handle("CreateStream", {"StreamName": "p", "ShardCount": 1}, 0.0)
    params = {"QueueName": "new", "StreamConfigurationList": [{"StreamARN": STREAM_ARN}], **changes}
    assert code_of(queued, "CreateQueue", 10.0, **params) == code
    assert len(queued.model.account.queues) == 1


def test_queues_and_consumers_share_a_limit() -> None:
    queued = Queued()
    for number in range(19):
        queued.create(f"q{number}", 0.0)
    register = {"StreamARN": STREAM_ARN, "ConsumerName": "c"}
    assert code_of(queued, "RegisterStreamConsumer", 0.0, **register) == "LimitExceededException"
    listed = queued.model.handle("ListQueues", {"MaxResults": 15}, 0.0)
    rest = queued.model.handle("ListQueues", {"NextToken": listed["NextToken"]}, 0.0)
    names = [each["QueueName"] for each in listed["QueueSummaries"] + rest["QueueSummaries"]]
    assert names == sorted(["q", *(f"q{number}" for number in range(19))])
    other = {"StreamFilter": [{"StreamARN": STREAM_ARN, "StreamCreationTimestamp": 99.0}]}
    assert queued.model.handle("ListQueues", other, 0.0) == {"QueueSummaries": []}
    summary = queued.model.handle("DescribeStreamSummary", {"StreamName": "s"}, 0.0)["StreamDescriptionSummary"]
    assert (summary["QueueCount"], summary["ConsumerCount"]) == (20, 0)
