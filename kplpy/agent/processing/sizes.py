"""Lines joined into records, and records cut to the service's limit, in the Kinesis Agent's way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from kplpy.agent.settings import FlowSettings

Join: TypeAlias = Callable[[list[bytes]], "tuple[list[bytes], list[int]]"]
"""Lines → records, and of how many lines each is made."""


def make_join(settings: FlowSettings) -> Join | None:
    """Return the function that joins a flow's lines before they are processed, or None if it does not.

    The Kinesis Agent does so for single lines to Firehose. With joinBeforeProcessing false the producer joins what was
    processed.
    """
    if not settings.join_before_processing or settings.destination != "firehose":
        return None
    if not settings.aggregated_record_size_bytes or settings.multi_line_start_pattern is not None:
        return None
    return partial(join_lines, size_bytes=settings.aggregated_record_size_bytes)


def join_lines(lines: list[bytes], size_bytes: int) -> tuple[list[bytes], list[int]]:
    """Join lines into records of at most size_bytes, as aggregatedRecordSizeBytes with joinBeforeProcessing.

    Return the records, and of how many lines each is made. A longer line is a record of its own.
    """
    records: list[bytes] = []
    counts: list[int] = []
    first = size = 0
    for n, line in enumerate(lines):
        length = len(line)
        if size + length > size_bytes and n > first:
            records.append(b"".join(lines[first:n]))
            counts.append(n - first)
            first, size = n, 0
        size += length
    if first < len(lines):
        records.append(b"".join(lines[first:]))
        counts.append(len(lines) - first)
    return records, counts


def cut(record: bytes, limit_bytes: int, terminator: bytes) -> bytes:
    """Return a record of at most limit_bytes, whose last bytes are the terminator if it had to be cut.

    limit_bytes: for Kinesis 1 MiB less the partition key, for Firehose 1,024,000.
    """
    if len(record) <= limit_bytes:
        return record
    return record[: limit_bytes - len(terminator)] + terminator
