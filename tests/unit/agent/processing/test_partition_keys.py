"""Partition keys of records: of the Agent's options, and of kplpy's keys."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest

from kplpy import ConfigError
from kplpy.agent.processing import make_partition_keys
from kplpy.agent.settings import FlowSettings

RANDOM = re.compile(r"\d{1,6}\.\d{1,10}")


def keys_of(raw: list[bytes], processed: list[bytes] | None = None, **changes: Any) -> list[str | None]:
    settings = FlowSettings("kinesis:s:/f", "/f", "kinesis", "s", **changes)
    return make_partition_keys(settings)(raw, raw if processed is None else processed)


def is_random(key: str | None) -> bool:
    return key is not None and RANDOM.fullmatch(key) is not None


def test_random_keys_are_decimal_fractions_that_differ() -> None:
    keys = keys_of([b"same\n"] * 10_000)
    assert len(set(keys)) == 10_000
    assert all(map(is_random, keys))
    values = [float(str(key)) for key in keys]
    assert 0 <= min(values) < 10_000
    assert 990_000 < max(values) < 1_000_000


def test_with_aggregation_random_keys_are_none() -> None:
    assert keys_of([b"a\n", b"b\n"], aggregation=True) == [None, None]


@pytest.mark.parametrize("aggregation", [False, True])
def test_deterministic_keys_are_the_hash_of_each_processed_record(aggregation: bool) -> None:
    raw, processed = [b"1\n", b"2\n"], [b'{"a":1}\n', b'{"a":2}\n']
    keys = keys_of(raw, processed, partition_key_option="DETERMINISTIC", aggregation=aggregation)
    assert keys == [hashlib.md5(record).hexdigest() for record in processed]


def test_a_constant_key() -> None:
    assert keys_of([b"a", b"b"], partition_key="host-1", partition_key_option="DETERMINISTIC") == ["host-1"] * 2


def test_a_field_of_a_json_record() -> None:
    records = [
        b'{"user":"u1","n":7}\n',
        b'{"user":7}\n',
        b'{"user":[1.50,null]}',
        b'{"user":true}',
        '{"user":"é"}'.encode(),
    ]
    assert keys_of([b""] * 5, records, partition_key_field="user") == ["u1", "7", "[1.5,null]", "true", "é"]


@pytest.mark.parametrize("record", [b'{"other":1}', b'{"user":null}', b'{"user":""}', b"no json", b"[1]", b"\xff", b""])
def test_a_record_without_the_field_has_the_key_of_random(record: bytes) -> None:
    (key,) = keys_of([b""], [record], partition_key_field="user")
    assert is_random(key)
    assert keys_of([b""], [record], partition_key_field="user", aggregation=True) == [None]


def test_the_first_group_of_a_pattern_in_the_raw_record() -> None:
    raw = [b"GET /a user=u1 x\n", b"user=u2\n", b"nobody\n", b"user= \n"]
    keys = keys_of(raw, [b"{}"] * 4, partition_key_pattern=r"user=(\w*)", aggregation=True)
    assert keys == ["u1", "u2", None, None]
    assert keys_of(raw[:1], partition_key_pattern=r"(?<who>u\d)") == ["u1"]
    assert keys_of(raw[:1], partition_key_pattern=r"/\w") == ["/a"]
    assert is_random(keys_of([b"x"], partition_key_pattern="(y)")[0])


def test_a_field_that_is_nested_too_deeply_has_the_key_of_random() -> None:
    depth = 100_000
    record = b'{"user":' + b"[" * depth + b"]" * depth + b"}"
    assert is_random(keys_of([b""], [record], partition_key_field="user")[0])


def test_half_a_character_in_a_field_is_replaced() -> None:
    """Otherwise the producer would refuse the key, and the record would be lost for it."""
    records = [rb'{"user":"u\ud800"}', rb'{"user":{"\ud800":"\udfff"}}', rb'{"user":"\ud83d\ude00"}']
    assert keys_of([b""] * 3, records, partition_key_field="user") == ["u?", '{"?":"?"}', "\U0001f600"]


def test_long_keys_are_cut_to_the_limit_of_the_service() -> None:
    assert keys_of([b""], [b'{"user":"' + b"x" * 300 + b'"}'], partition_key_field="user") == ["x" * 256]
    assert keys_of([b"y" * 300], partition_key_pattern="(y+)") == ["y" * 256]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"partition_key": "a", "partition_key_field": "b"}, "partitionKey and partitionKeyField are given"),
        ({"partition_key": ""}, "partitionKey must not be empty"),
        ({"partition_key_pattern": ""}, "partitionKeyPattern must not be empty"),
        ({"partition_key": "x" * 257}, "partitionKey has 257 characters, and may have 256"),
        ({"partition_key_pattern": "(a"}, r"partitionKeyPattern: the regular expression '\(a' has at position 0"),
    ],
)
def test_wrong_keys_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"flow kinesis:s:/f: {message}"):
        keys_of([], **changes)
