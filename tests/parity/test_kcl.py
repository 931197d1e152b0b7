"""deaggregate() gives the KCL's results for recorded Kinesis records.

kcl_application.jsonl has what a KCL application received from kplpy while its stream was split and merged.
scripts/kcl_application.py writes it.

kcl_answers.jsonl has aggregates, most of which are damaged. The results are from AggregatorUtil of KCL 3.0.1 on Java 17
with JAXB, which the KCL needs to log a broken aggregate. In 120,000 cases deaggregate() differed in 19. Each of those
has a malformed field tag, which protobuf for Java and protobuf for Python treat differently.

A case has the data in hex, the shard's hash range, and the records. A record has the data in hex, the partition key and
the explicit hash key. A plain record has the partition key "outer".
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path

import pytest

from kplpy.wire.compressed import MAGIC
from kplpy.wire.deaggregate import deaggregate

APPLICATION = Path(__file__).with_name("kcl_application.jsonl").read_text(encoding="utf-8").splitlines()
CASES = Path(__file__).with_name("kcl_answers.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("number", range(len(CASES)))
def test_deaggregate_gives_the_kcls_result(number: int) -> None:
    case = json.loads(CASES[number])
    low, high = map(int, case["range"])
    found = deaggregate(
        {"Data": bytes.fromhex(case["data"]), "PartitionKey": "outer"}, starting_hash_key=low, ending_hash_key=high
    )
    assert [[r.data.hex(), r.partition_key, r.explicit_hash_key] for r in found] == case["records"]
    assert [r.sub_sequence_number for r in found] == list(range(len(found)))


def test_deaggregate_gives_what_a_kcl_application_received() -> None:
    received: Counter[str] = Counter()
    dropped = 0
    batches = 0
    for line in APPLICATION:
        case = json.loads(line)
        low, high = map(int, case["range"])
        data = base64.b64decode(case["data"])
        record = {"Data": data, "PartitionKey": case["key"]}
        found = deaggregate(record, starting_hash_key=low, ending_hash_key=high)
        is_batch = data.startswith(MAGIC)  # the KCL does not keep the headers of records in aggregates
        shown = [
            [r.data.decode(), r.partition_key, r.explicit_hash_key, r.headers if is_batch else None] for r in found
        ]
        assert shown == case["records"]
        received.update(r.data.decode() for r in found)
        dropped += not found
        batches += is_batch
    assert set(received.values()) == {1}
    assert len(received) > 300
    assert len({json.loads(line)["shard"] for line in APPLICATION}) >= 6
    assert batches > 20
    assert dropped > 0  # an aggregate that a split put on a shard that is not its own
