"""The API's bodies in JSON and CBOR: decoded, encoded, and refused when they are broken."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import cbor2
import pytest

from kplpy.local import Model
from kplpy.local.model.errors import ServiceError
from kplpy.local.server.codec import CBOR, JSON, decode, encode
from kplpy.local.server.service import KINESIS, Service


def test_json_carries_data_in_base64() -> None:
    records = [{"Data": base64.b64encode(each).decode(), "PartitionKey": "é"} for each in (b"", b"\x00\xff", b"abc")]
    params = decode(JSON, "PutRecords", json.dumps({"StreamName": "s", "Records": records}).encode())
    assert [each["Data"] for each in params["Records"]] == [b"", b"\x00\xff", b"abc"]
    assert params["Records"][0]["PartitionKey"] == "é"
    answer = {"Records": [{"Data": b"\x00\xff", "ApproximateArrivalTimestamp": 1.234}]}
    assert json.loads(encode(JSON, answer)) == {"Records": [{"Data": "AP8=", "ApproximateArrivalTimestamp": 1.234}]}


def test_cbor_carries_bytes_and_times_in_milliseconds() -> None:
    body = cbor2.dumps({"Data": b"\x00", "Timestamp": cbor2.CBORTag(1, 1_700_000_000_123)})
    assert decode(CBOR, "PutRecord", body) == {"Data": b"\x00", "Timestamp": 1_700_000_000.123}
    answer = encode(CBOR, {"Records": [{"Data": b"\x00", "ApproximateArrivalTimestamp": 1_700_000_000.123}]})
    # Java's SDK expects major type 6 with tag 1, then an integer of eight bytes.
    assert bytes.fromhex("c1 1b") + (1_700_000_000_123).to_bytes(8, "big") in answer


class Name(str):
    __slots__ = ()


def test_a_name_may_be_of_a_subclass_of_str() -> None:
    for kind, read in ((JSON, json.loads), (CBOR, cbor2.loads)):
        assert read(encode(kind, {"StreamNames": [Name("orders")]})) == {"StreamNames": ["orders"]}


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="a response must not hold a value of type complex"):
        encode(JSON, {"StreamNames": 1j})


def test_an_operation_without_output_has_an_empty_body() -> None:
    assert encode(JSON, {}) == encode(CBOR, {}) == b""


BROKEN: list[tuple[str, str, bytes]] = [
    (JSON, "ListStreams", b""),
    (JSON, "ListStreams", b"{"),
    (JSON, "ListStreams", b"[]"),
    (JSON, "ListStreams", b"[" * 10_000),
    (JSON, "ListStreams", b'{"Limit": 1e999}'),
    (JSON, "ListStreams", b'{"StreamName": "\\ud800"}'),
    (JSON, "PutRecord", b'{"Data": "***="}'),
    (JSON, "PutRecord", b'{"Data": 7}'),
    (JSON, "PutRecords", b'{"Records": [{"Data": "YQ"}]}'),
    (JSON, "PutRecords", b'{"Records": 7}'),
    (JSON, "PutRecords", b'{"Records": [7]}'),
    (JSON, "PutRecords", b'{"Records": [{"Data": "\xff"}]}'),
    (CBOR, "ListStreams", b"\x81" * 10_000),
    (CBOR, "ListStreams", b"\xa1"),
    (CBOR, "ListStreams", b"\x07"),
]


@pytest.mark.parametrize(("kind", "operation", "body"), BROKEN)
def test_a_body_that_cannot_be_read_is_a_serialization_exception(kind: str, operation: str, body: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        decode(kind, operation, body)
    assert caught.value.code == "SerializationException"


IMPOSSIBLE_TIMES = [math.nan, math.inf, -math.inf, 10**400, -(10**30)]


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize(
    "value", IMPOSSIBLE_TIMES, ids=lambda value: f"{value:.3}" if isinstance(value, float) else "huge"
)
def test_an_impossible_time_is_a_serialization_exception(value: float, tagged: bool) -> None:
    """CBOR can carry NaN and infinity, JSON cannot."""
    service = Service(Model())
    moment = cbor2.CBORTag(1, value) if tagged else value
    place = {"StreamName": "s"}
    iterator = {**place, "ShardId": "shardId-000000000000", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": moment}

    def ask(operation: str, params: dict[str, Any]) -> tuple[int, Any]:
        reply = service.reply("POST", f"{KINESIS}.{operation}", CBOR, cbor2.dumps(params))
        return reply.status, cbor2.loads(reply.body) if reply.body else {}

    assert ask("CreateStream", {**place, "ShardCount": 1})[0] == 200
    for operation, params in (
        ("GetShardIterator", iterator),
        ("ListShards", {**place, "StreamCreationTimestamp": moment}),
        ("ListShards", {**place, "ShardFilter": {"Type": "AT_TIMESTAMP", "Timestamp": moment}}),
    ):
        status, answer = ask(operation, params)
        assert (status, answer["__type"]) == (400, "SerializationException"), params
        assert "can not be converted to a Timestamp" in answer["message"] or "cannot be read" in answer["message"]


@pytest.mark.parametrize(
    "params",
    [
        {"StreamName": math.nan},
        {"StreamName": "s", "ShardCount": math.nan},
        {"Records": [{"Data": math.nan, "PartitionKey": "k"}]},
        {"Records": [{"Data": b"x", "PartitionKey": math.nan}]},
        {"Records": [{"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": math.nan}]},
        {"Records": [math.nan]},
        {"Records": math.nan},
    ],
)
def test_nan_is_refused_in_every_member(params: dict[str, Any]) -> None:
    service = Service(Model())
    service.model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    operation = "PutRecords" if "Records" in params else "CreateStream"
    body = cbor2.dumps({"StreamName": "s", **params})
    reply = service.reply("POST", f"{KINESIS}.{operation}", CBOR, body)
    assert (reply.status, cbor2.loads(reply.body)["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize("params", [{"StreamName": "s"}, {"StreamName": "s", "Records": [{"PartitionKey": "k"}]}])
def test_a_missing_member_is_left_for_the_model_to_report(params: dict[str, Any]) -> None:
    assert decode(JSON, "PutRecords", json.dumps(params).encode()) == params
