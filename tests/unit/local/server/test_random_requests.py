"""Requests at random, from botocore's model: the server answers each as an API does, and the journal keeps them all."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from random import Random
from typing import Any

import cbor2
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from kplpy.local import Limits, Model, Phases
from kplpy.local.server import codec
from kplpy.local.server.journal import Journal
from kplpy.local.server.service import KINESIS, Service
from tests.newest_botocore import newest_botocore

API = ServiceModel(Loader().load_service_model("kinesis", "service-2"), "kinesis")
ARN = "arn:aws:kinesis:us-east-1:123456789012"
JUNK: list[Any] = [None, True, -1, 0, 1e300, "", "x" * 300, [], {}, [[]], {"a": 1}, "arn:aws:kinesis:::", -0.5, [None]]
TEXTS = {
    "BucketARN": ["arn:aws:s3:::lake"],
    "ExpectedBucketOwner": ["123456789012"],
    "ServiceExecutionRoleARN": ["arn:aws:iam::123456789012:role/c"],
    "Policy": ['{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "x"}}'],
    "ShardId": ["shardId-000000000000", "shardId-000000000001", "x"],
    "ShardToSplit": ["shardId-000000000000"],
    "NewStartingHashKey": [str(2**126), "0"],
    "StreamName": ["s0", "s1"],
    "StreamARN": [f"{ARN}:stream/s0", f"{ARN}:stream/s1"],
    "QueueARN": [f"{ARN}:queue/x"],
    "ChannelARN": [f"{ARN}:channel/x"],
    "ConsumerARN": [f"{ARN}:stream/s0/consumer/x:1"],
}


class Requests:
    """Makes requests. texts: for each name of a member, what the last responses had for it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.texts = {name: list(texts) for name, texts in TEXTS.items()}

    def value(self, name: str, shape: Any) -> Any:
        choose, kind, limits = self.random.choice, shape.type_name, shape.metadata
        if self.random.random() < 0.02:
            return choose(JUNK)
        if kind == "structure":
            return {each: self.value(each, inner) for each, inner in shape.members.items() if self.has(each, shape)}
        if kind == "list":
            return [self.value(name, shape.member) for _ in range(choose([0, 1, 1, 2]))]
        if kind == "map":
            return {choose("abc"): self.value("value", shape.value) for _ in range(choose([1, 3]))}
        if kind == "string":
            if name == "ResourceARN":
                name = choose(["StreamARN", "QueueARN", "ChannelARN", "ConsumerARN"])
            return choose(shape.enum or self.texts.get(name) or ["x", "1"])
        if kind == "timestamp":
            return choose([0.0, 100.0, 1e5])
        if kind == "integer":
            low = limits.get("min", 0)
            return choose([low, limits.get("max", 48), low + 1, low - 1, 24, 300])
        return choose([b"", b"1", b"\xff"]) if kind == "blob" else choose([True, False])

    def has(self, name: str, shape: Any) -> bool:
        return self.random.random() < (0.98 if name in shape.required_members else 0.3) and name != "StreamId"

    def learn(self, response: Any) -> None:
        for name, value in response.items() if isinstance(response, dict) else ():
            if name in ("QueueARN", "ChannelARN", "ConsumerARN", "ReceiptHandle", "ShardIterator", "NextToken"):
                self.texts[name] = [*self.texts.get(name, []), value][-6:]
            for each in value if isinstance(value, list) else [value]:
                self.learn(each)


def as_json(value: object) -> str:
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode()


def opened(directory: Path) -> tuple[Model, Journal]:
    model = Model(limits=Limits.no_rates(), phases=Phases(creating=1, updating=1, deleting=1))
    model.account.has_buckets = True
    journal = Journal(directory)
    journal.restore(model)
    model.journal = journal.recording
    return model, journal


def state(model: Model, now: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        each: model.handle(each, {}, now) for each in ("DescribeLimits", "ListQueues", "ListStreams")
    }
    for name in model.streams:
        found[name] = [
            model.handle(each, {"StreamName": name}, now) for each in ("DescribeStream", "ListTagsForStream")
        ]
    for arn in [each.arn for each in model.account.queues.values()]:
        found[arn] = [model.handle("DescribeQueue", {"QueueARN": arn}, now), model.account.resource(arn, now).tags]
    for queue in model.account.queues.values():
        queue.settle(now)
        found[queue.id] = queue.deliveries
    for channel in model.account.channels.values():
        found[channel.id] = [channel.describe(), channel.delivered, channel.tags]
    return {**found, "ledger": list(model.ledger())}


@newest_botocore
@pytest.mark.parametrize("seed", range(3))
def test_requests_at_random_are_answered_and_kept(tmp_path: Path, seed: int) -> None:
    requests, now = Requests(seed), 1000.0
    model, journal = opened(tmp_path)
    service = Service(model, clock=lambda: now)
    succeeded = set()
    for _ in range(4000):
        now += requests.random.choice([0.0, 0.1, 1.0, 60.0])
        name = requests.random.choice(API.operation_names)
        operation: Any = API.operation_model(name)
        params = requests.value(name, operation.input_shape) if operation.input_shape else {}
        is_cbor = requests.random.random() < 0.5
        body = cbor2.dumps(params) if is_cbor else json.dumps(params, default=as_json).encode()
        reply = service.reply("POST", f"{KINESIS}.{name}", codec.CBOR if is_cbor else codec.JSON, body)
        answer = codec.decode(codec.CBOR if is_cbor else codec.JSON, name, reply.body) if reply.body else {}
        if reply.status == 200:
            succeeded.add(name)
            requests.learn(answer)
        else:
            declared = {each.name for each in operation.error_shapes} | {
                "ValidationException",
                "SerializationException",
            }
            assert (reply.status, answer["__type"] in declared) == (400, True), (name, params, answer)
    assert len(succeeded) > 40
    before = state(model, now)
    journal.close()
    model, journal = opened(tmp_path)
    assert state(model, now) == before
    journal.close()
