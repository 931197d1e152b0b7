"""kplpy's CBOR requests equal those that the AWS SDK for Java 2.41.21 (Java 17) sent for two calls of putRecords.

CBOR is that SDK's default. An HTTP server between the SDK and the local Kinesis recorded the requests.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kplpy import Config
from kplpy.aws.kinesis.request_cbor import put_records_body
from kplpy.aws.put_calls import CBOR
from kplpy.core.batching.limiter import Limiter
from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.policy import policy_of
from tests.core_helpers import item

REQUESTS = [
    json.loads(line)
    for line in Path(__file__).with_name("java_sdk_requests.jsonl").read_text(encoding="utf-8").splitlines()
]
QUEUE = ShardQueue(None, policy_of(Config()), Limiter(1.0, 0.0))


@pytest.mark.parametrize("number", range(2))
def test_the_same_bytes(number: int) -> None:
    arn = [None, "arn:aws:kinesis:us-east-1:123456789012:stream/orders"][number]
    first, second = item(b"\x00\xff\n", "kü"), item(bytes(300), "a")
    first.hash_key, second.hash_key = 2**128 - 1, 0
    body = put_records_body("orders", arn, [Batch.alone(QUEUE, first), Batch.alone(QUEUE, second)])
    assert body.hex() == REQUESTS[number]["body"]
    assert REQUESTS[number]["content_type"] == CBOR
