"""What is around an aggregated record's protobuf message."""

from __future__ import annotations

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_SIZE = 16
ENVELOPE = len(MAGIC) + DIGEST_SIZE
"""Bytes of the magic and the MD5."""

MAX_RECORDS = 1 << 18
"""User records that kplpy packs into an aggregate, and takes out of one, at most. The KPL's aggregates of at most 1 MiB
cannot hold more than 174,762: a record takes 6 bytes without data."""
