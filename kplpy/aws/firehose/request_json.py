"""Encodes PutRecordBatch in JSON, by hand: see aws/kinesis/request_json.py."""

from __future__ import annotations

import json

from kplpy.aws.base64_pieces import base64_pieces
from kplpy.core.batching.shard_queue import Batch


def put_record_batch_body(name: str, batches: list[Batch]) -> bytes:
    """Return the body of PutRecordBatch in JSON 1.1, each batch one record, in order."""
    parts = [b'{"DeliveryStreamName":', json.dumps(name).encode(), b',"Records":[']
    for batch in batches:
        parts.append(b'{"Data":"')
        parts += base64_pieces(*batch.parts())
        parts.append(b'"},')
    parts[-1] = b'"}]}'
    return b"".join(parts)
