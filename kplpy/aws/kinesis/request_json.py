"""Encodes PutRecords in JSON, by hand.

botocore serialises, encodes in base64, and runs json.dumps over everything: 47 ms for 100 records of 50 KB. This takes
about a third, and holds the GIL for one piece at a time, or not at all in compiled code.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted

from kplpy.accelerator import compiled
from kplpy.aws.request_body import Entry, assemble
from kplpy.core.batching.shard_queue import Batch

_BEFORE = b',{"Data":"'


def put_records_body(name: str, arn: str | None, batches: list[Batch]) -> bytes:
    """Return the body of PutRecords in JSON 1.1, each batch one entry, in order."""
    start = (b'{"StreamARN":' if arn else b'{"StreamName":') + json.dumps(arn or name).encode() + b',"Records":['
    return assemble_json(start, batches, entry_of)


@compiled
def assemble_json(start: bytes, batches: list[Batch], entry_of: Callable[[Batch], Entry]) -> bytes:
    """Return a body: `start`, the entries of the batches, and the end.

    entry_of: the function below. Compiled code calls it except for plain records that travel alone.
    """
    entries = [*map(entry_of, batches)]
    if entries:
        content, before, after = entries[0]
        entries[0] = content, before[1:], after
    return assemble(start, entries, b"]}", True)


def entry_of(batch: Batch) -> Entry:
    """Return the entry of a batch, with a comma before it."""
    outer_key = batch.outer_key
    if outer_key is None:
        return batch.content(), _BEFORE, b'"}'
    key = quoted(outer_key)  # json.dumps() takes 0.4 µs more; an entry takes 1.1 µs
    # Always sent, as in the KPL, so that the whole aggregate lands on the shard predicted for its records.
    after = f'","PartitionKey":{key},"ExplicitHashKey":"{batch.items[0].hash_key}"}}'.encode()
    return batch.content(), _BEFORE, after
