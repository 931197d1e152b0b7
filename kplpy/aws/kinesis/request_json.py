"""Encodes PutRecords in JSON, by hand.

botocore serialises, encodes in base64, and runs json.dumps over everything: 47 ms for 100 records of 50 KB. This takes
about a third, and holds the GIL for one piece at a time, or not at all in compiled code.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as quoted

from kplpy.aws.request_body import Entry, assemble
from kplpy.core.batching.shard_queue import Batch


def put_records_body(name: str, arn: str | None, batches: list[Batch]) -> bytes:
    """Return the body of PutRecords in JSON 1.1, each batch one entry, in order."""
    start = (b'{"StreamARN":' if arn else b'{"StreamName":') + json.dumps(arn or name).encode() + b',"Records":['
    entries: list[Entry] = []
    before = b'{"Data":"'
    for batch in batches:
        outer_key = batch.outer_key
        if outer_key is None:
            after = b'"}'
        else:
            key = quoted(outer_key)  # json.dumps() takes 0.4 µs more; an entry takes 1.1 µs
            # Always sent, as in the KPL, so that the whole aggregate lands on the shard predicted for its records.
            after = f'","PartitionKey":{key},"ExplicitHashKey":"{batch.items[0].hash_key}"}}'.encode()
        entries.append((batch.content(), before, after))
        before = b',{"Data":"'
    return assemble(start, entries, b"]}", True)
