"""Encodes PutRecords in JSON, by hand.

botocore serialises, encodes in base64, and runs json.dumps over everything: 47 ms for 100 records of 50 KB. This takes
about a third, and holds the GIL for one piece at a time.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from json.encoder import encode_basestring_ascii as quoted

from kplpy.aws.base64_pieces import PIECE, base64_pieces
from kplpy.core.batching.shard_queue import Batch


def put_records_body(name: str, arn: str | None, batches: list[Batch]) -> bytes:
    """Return the body of PutRecords in JSON 1.1, each batch one entry, in order."""
    parts = [b'{"StreamARN":' if arn else b'{"StreamName":', json.dumps(arn or name).encode(), b',"Records":[']
    for batch in batches:
        data, end = batch.parts()
        parts.append(b'{"Data":"')
        if end or len(data) > PIECE:
            parts += base64_pieces(data, end)
        else:
            parts.append(b2a_base64(data, newline=False))
        outer_key = batch.outer_key
        if outer_key is None:
            parts.append(b'"},')
            continue
        key = quoted(outer_key)  # json.dumps() takes 0.4 µs more; an entry takes 1.1 µs
        # Always sent, as in the KPL, so that the whole aggregate lands on the shard predicted for its records.
        parts.append(f'","PartitionKey":{key},"ExplicitHashKey":"{batch.items[0].hash_key}"}},'.encode())
    parts[-1] = parts[-1][:-1]
    parts.append(b"]}")
    return b"".join(parts)
