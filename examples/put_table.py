"""Puts the rows of a table on a stream, in bounded memory, with pyarrow or pandas.

    pip install pyarrow pandas
    python put_table.py orders sales.parquet customer
    python put_table.py orders sales.csv customer

Each row becomes a JSON object. The key column's value is the partition key, so rows of one customer go to one shard.
The program holds at most two chunks of rows: it reads one while the other is delivered. Rows that fail go to
FILE.failed, and `kplpy put --from-failed FILE.failed` puts them again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from kplpy import Producer, RecordFailedError, RecordFuture
from kplpy.dead_letters import DeadLetterFile

CHUNK_ROWS = 5_000
"""Lower it for rows of more than a few KB."""

Row = tuple[bytes, str]
"""Data and partition key, as put_records takes them."""


def arrow_rows(path: Path, key_column: str) -> Iterator[Row]:
    """Yield the rows of a Parquet file, read CHUNK_ROWS at a time.

    Times and decimals become texts, and NaN becomes null.
    """
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=CHUNK_ROWS):
            for row in batch.to_pylist():
                plain = {name: None if value != value else value for name, value in row.items()}
                yield json.dumps(plain, default=str, allow_nan=False).encode(), str(row[key_column])


def pandas_rows(frames: Iterable[pd.DataFrame], key_column: str) -> Iterator[Row]:
    """Yield the rows of DataFrames.

    frames: the DataFrames of pd.read_csv(chunksize=...), or [frame] for one DataFrame. pandas writes the JSON, with
    times in ISO 8601 and NaN as null.
    """
    for frame in frames:
        for start in range(0, len(frame), CHUNK_ROWS):  # so that the JSON of a large frame is not in memory at once
            part = frame.iloc[start : start + CHUNK_ROWS]
            lines = part.to_json(orient="records", lines=True, date_format="iso").rstrip("\n").split("\n")
            for line, key in zip(lines, part[key_column], strict=True):
                yield line.encode(), str(key)


def put_rows(producer: Producer, stream: str, rows: Iterable[Row]) -> tuple[int, int]:
    """Put all rows, wait for their outcomes, and return how many were delivered and how many failed."""
    rows = iter(rows)
    delivered = failed = 0
    in_flight: list[RecordFuture] = []
    while True:
        chunk = list(islice(rows, CHUNK_ROWS))
        following = producer.put_records(stream, chunk) if chunk else []  # waits while the buffer is full
        good = count_delivered(in_flight)
        delivered, failed = delivered + good, failed + len(in_flight) - good
        in_flight = following
        if not chunk:
            return delivered, failed


def count_delivered(futures: list[RecordFuture]) -> int:
    """Wait for the futures, and return how many records were delivered.

    Raises errors other than that of a failed record, such as BufferFullError after a minute without buffer space.
    """
    delivered = 0
    for future in futures:
        error = future.exception()
        if error is None:
            delivered += 1
        elif not isinstance(error, RecordFailedError):
            raise error
    return delivered


def rows_of(path: Path, key_column: str) -> Iterator[Row]:
    """Yield the rows of a .parquet file with pyarrow, or of any other file with pandas as CSV."""
    if path.suffix == ".parquet":
        yield from arrow_rows(path, key_column)
    else:
        frames: Any = pd.read_csv(path, chunksize=CHUNK_ROWS)
        yield from pandas_rows(frames, key_column)


def main() -> int:
    """Put the file's rows, and return the exit code."""
    parser = argparse.ArgumentParser(description="Puts the rows of a table on a Kinesis stream.")
    parser.add_argument("stream", help="name or ARN")
    parser.add_argument("file", type=Path, help="a .parquet file, or CSV")
    parser.add_argument("key_column", help="the column whose value is the partition key")
    given = parser.parse_args()
    with Producer(record_ttl_ms=300_000, on_failure=DeadLetterFile(f"{given.file}.failed")) as producer:
        producer.connect(given.stream, timeout=10)
        delivered, failed = put_rows(producer, given.stream, rows_of(given.file, given.key_column))
    print(f"{delivered} rows delivered, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
