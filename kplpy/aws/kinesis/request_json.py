"""The PutRecords body, written by hand.

botocore's own way (serialise, base64, json.dumps over everything) costs 47 ms for 100 records of 50 KB; this costs
about a third, and never holds the GIL for longer than one piece.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from json.encoder import encode_basestring_ascii as quoted

from kplpy.core.batching.shard_queue import Batch

# Base64 of this much takes some 0.2 ms, during which no other Python thread runs. A multiple of 3, so that pieces join.
PIECE = 255 * 1024


def put_records_body(name: str, arn: str | None, batches: list[Batch]) -> bytes:
    """JSON 1.1 of PutRecords, each batch one entry, in their order."""
    parts = [b'{"StreamARN":' if arn else b'{"StreamName":', json.dumps(arn or name).encode(), b',"Records":[']
    for batch in batches:
        data, end = batch.parts()
        parts.append(b'{"Data":"')
        if end or len(data) > PIECE:
            view, whole = memoryview(data), len(data) - len(data) % 3
            parts += [b2a_base64(view[at : min(at + PIECE, whole)], newline=False) for at in range(0, whole, PIECE)]
            data = data[whole:] + end
        parts.append(b2a_base64(data, newline=False))
        outer_key = batch.outer_key
        if outer_key is None:
            parts.append(b'"},')
            continue
        key = quoted(outer_key)  # json.dumps() takes 0.4 µs more, of 1.1 an entry in all
        # Always sent, as the KPL does: the whole aggregate lands on the shard that was predicted for its records.
        parts.append(f'","PartitionKey":{key},"ExplicitHashKey":"{batch.items[0].hash_key}"}},'.encode())
    parts[-1] = parts[-1][:-1]
    parts.append(b"]}")
    return b"".join(parts)
