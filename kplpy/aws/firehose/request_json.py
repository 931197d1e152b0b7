"""Encodes PutRecordBatch in JSON, by hand: see aws/kinesis/request_json.py."""

from __future__ import annotations

import json

from kplpy.aws.request_body import Entry, assemble
from kplpy.core.batching.shard_queue import Batch


def put_record_batch_body(name: str, batches: list[Batch]) -> bytes:
    """Return the body of PutRecordBatch in JSON 1.1, each batch one record, in order."""
    entries: list[Entry] = [(batch.content(), b'{"Data":"', b'"},') for batch in batches]
    content, before, _ = entries[-1]
    entries[-1] = (content, before, b'"}')
    start = b'{"DeliveryStreamName":' + json.dumps(name).encode() + b',"Records":['
    return assemble(start, entries, b"]}", True)
