"""The KCL's own answers, kept in kcl_answers.jsonl: aggregates, most of them damaged, and what became of them.

Made with AggregatorUtil of KCL 3.0.1 on Java 17 (JAXB added: its way of logging a broken aggregate needs it). In
120,000 cases deaggregate() answered otherwise in 19, each with a malformed field tag, which protobuf for Java and
protobuf for Python take differently. A case here: data in hex, the shard's hash range, and the records: data in hex,
partition key, explicit hash key. A plain record has the partition key "outer".
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kplpy.wire.deaggregate import deaggregate

CASES = Path(__file__).with_name("kcl_answers.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("number", range(len(CASES)))
def test_as_the_kcl_does(number: int) -> None:
    case = json.loads(CASES[number])
    low, high = map(int, case["range"])
    found = deaggregate(
        {"Data": bytes.fromhex(case["data"]), "PartitionKey": "outer"}, starting_hash_key=low, ending_hash_key=high
    )
    assert [[r.data.hex(), r.partition_key, r.explicit_hash_key] for r in found] == case["records"]
    assert [r.sub_sequence_number for r in found] == list(range(len(found)))
