"""The served operations and their rules are those of botocore's model, and docs/local.md lists them."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kplpy.local import Model, ServiceError
from kplpy.local.model import cloudwatch_shapes, kinesis_shapes
from kplpy.local.model.model import SERVED
from kplpy.local.model.rules import ListOf, Member, Structure, check
from kplpy.local.model.validation import OPERATIONS
from tests.newest_botocore import newest_botocore

_spec = importlib.util.spec_from_file_location(
    "local_operations", Path(__file__).parents[4] / "scripts/local_operations.py"
)
assert _spec is not None
assert _spec.loader is not None
local_operations = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(local_operations)


@newest_botocore
@pytest.mark.parametrize(("service", "shapes"), [("kinesis", kinesis_shapes), ("cloudwatch", cloudwatch_shapes)])
def test_the_rules_are_those_of_botocore(service: str, shapes: Any) -> None:
    made: dict[str, Any] = {}
    exec(local_operations.source(service), made)
    assert made["OPERATIONS"] == shapes.OPERATIONS
    assert made["TIMES"] == shapes.TIMES


@newest_botocore
def test_each_operation_is_listed_once() -> None:
    listed = [name for names, _ in local_operations.FAMILIES.values() for name in names.split()]
    assert sorted(listed) == sorted(set(local_operations.operations()) & SERVED)
    page = local_operations.PAGE.read_text()
    assert page == local_operations.page(page), "run scripts/local_operations.py --write"


LISTS: list[tuple[dict[str, Any], str, str]] = [
    ({"QueueARN": "x"}, "ValidationException", "'queueARN' failed to satisfy constraint: Member must satisfy regular"),
    ({"Entries": []}, "ValidationException", "at 'entries' failed to satisfy constraint: Member must have length gre"),
    ({"Entries": [{}]}, "ValidationException", "null at 'entries.1.member.receiptHandle' failed"),
    ({"Entries": {}}, "SerializationException", "Expected a list"),
    ({"Entries": ["x"]}, "SerializationException", "Expected a structure"),
]


@pytest.mark.parametrize(("changes", "code", "text"), LISTS)
def test_members_of_lists_are_checked(changes: dict[str, Any], code: str, text: str) -> None:
    sound = {"QueueARN": "arn:aws:kinesis:us-east-1:123456789012:queue/x", "Entries": [{"ReceiptHandle": "x"}]}
    check(kinesis_shapes.OPERATIONS["AcknowledgeQueueRecords"], sound)
    with pytest.raises(ServiceError) as raised:
        check(kinesis_shapes.OPERATIONS["AcknowledgeQueueRecords"], {**sound, **changes})
    assert raised.value.code == code
    assert text in raised.value.message


MAPS: list[tuple[Any, str, str]] = [
    ({}, "ValidationException", "Value '{}' at 'tags' failed to satisfy constraint: Member must have length greater"),
    ({"": "x"}, "ValidationException", "at 'tags..key'"),
    ({"x": "y" * 257}, "ValidationException", "at 'tags.x.value'"),
    ({"x": 1}, "SerializationException", "converted to an String"),
    ([], "SerializationException", "Expected a map"),
]


@pytest.mark.parametrize(("tags", "code", "text"), MAPS)
def test_maps_are_checked(tags: Any, code: str, text: str) -> None:
    with pytest.raises(ServiceError) as raised:
        Model().handle("CreateStream", {"StreamName": "s", "ShardCount": 1, "Tags": tags}, 0.0)
    assert raised.value.code == code
    assert text in raised.value.message


def test_an_arn_that_is_much_too_long_is_refused_at_once() -> None:
    arn = "arn:aws" + ":kinesis:" * 900 + ":123456789012:" * 900
    began = time.process_time()
    with pytest.raises(ServiceError, match="Member must have length less than or equal to 2048"):
        Model().handle("TagResource", {"ResourceARN": arn, "Tags": {"a": "b"}}, 0.0)
    assert time.process_time() - began < 2.0


NAMED: list[tuple[str, dict[str, Any]]] = [
    ("CreateStream", {"StreamName": "new", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}),
    ("DescribeStream", {"StreamName": "s"}),
    ("DescribeStreamSummary", {"StreamName": "new"}),
    ("ListStreams", {}),
    ("ListShards", {"StreamName": "s"}),
    ("ListTagsForStream", {"StreamName": "s"}),
    ("ListStreamConsumers", {"StreamARN": "arn:aws:kinesis:us-east-1:123456789012:stream/s"}),
    ("ListQueues", {}),
    ("ListChannels", {}),
    ("PutRecord", {"StreamName": "s", "Data": b"x", "PartitionKey": "k"}),
    ("DeleteStream", {"StreamName": "new"}),
    ("Firehose.ListDeliveryStreams", {}),
    ("CloudWatch.PutMetricData", {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1.0}]}),
    ("CloudWatch.ListMetrics", {}),
    (
        "CloudWatch.GetMetricData",
        {
            "StartTime": 0.0,
            "EndTime": 60.0,
            "MetricDataQueries": [
                {
                    "Id": "a",
                    "MetricStat": {"Metric": {"Namespace": "n", "MetricName": "m"}, "Period": 60, "Stat": "Sum"},
                }
            ],
        },
    ),
]


def test_a_member_that_is_null_is_as_if_it_were_absent() -> None:
    """SDKs of some languages send null."""

    def answers(with_nulls: bool) -> list[Any]:
        model = Model()
        model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1, "Tags": {"a": "b"}}, 0.0)
        return [
            model.handle(name, nulled(OPERATIONS[name], params) if with_nulls else params, 1.0)
            for name, params in NAMED
        ]

    assert answers(with_nulls=True) == answers(with_nulls=False)


def nulled(members: Mapping[str, Member], params: dict[str, Any]) -> dict[str, Any]:
    """Return the members with null for each that is absent."""
    found: dict[str, Any] = {}
    for name, member in members.items():
        value, rule = params.get(name), member.rule
        if isinstance(rule, Structure) and value is not None:
            value = nulled(rule.members, value)
        elif isinstance(rule, ListOf) and isinstance(rule.item, Structure) and value is not None:
            value = [nulled(rule.item.members, each) for each in value]
        found[name] = value
    return found
