"""The bytes around an aggregated record's protobuf message, and how many records it may hold."""

from __future__ import annotations

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_SIZE = 16
ENVELOPE = len(MAGIC) + DIGEST_SIZE
"""Size of the magic and the MD5 together, in bytes."""

MAX_RECORDS = 1 << 18
"""The most user records that kplpy packs into an aggregate, and by default takes out of an aggregate.

The KPL's aggregates of at most 1 MiB cannot hold more than 174,762, because a record without data takes 6 bytes.
"""
