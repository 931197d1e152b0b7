"""What is around an aggregated record's protobuf message."""

from __future__ import annotations

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_SIZE = 16
ENVELOPE = len(MAGIC) + DIGEST_SIZE
"""Bytes of the magic and the MD5."""
