"""deaggregate() gives the KCL's results for the aggregates in kcl_answers.jsonl, most of which are damaged.

The results are from AggregatorUtil of KCL 3.0.1 on Java 17 with JAXB, which the KCL needs to log a broken aggregate.
In 120,000 cases deaggregate() differed in 19. Each of those has a malformed field tag, which protobuf for Java and
protobuf for Python treat differently.

A case has the data in hex, the shard's hash range, and the records. A record has the data in hex, the partition key and
the explicit hash key. A plain record has the partition key "outer".
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kplpy.wire.deaggregate import deaggregate

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
