"""Measures how large aggregates become when a table comes in partitions, as Spark's and Ray's tasks get it.

put_table ends each partition with a flush, so each partition leaves one last aggregate on each shard. The figures are
rows in one Kinesis record, which need no quiet machine. Rows have 100 B of data and a key of 36 characters.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.processes import Sink
from kplpy import Producer

SHARDS = (4, 64, 512)
PARTITIONS = (100, 1_000, 10_000, 100_000)
ROWS = 200_000


def measure() -> dict[str, dict[str, float]]:
    """Return rows in one Kinesis record by rows of a partition, then by shards."""
    found: dict[str, dict[str, float]] = {}
    with Sink() as sink:
        for rows in PARTITIONS:
            found[str(rows)] = {str(shards): _rows_in_a_record(sink, rows, shards) for shards in SHARDS}
    return found


def _rows_in_a_record(sink: Sink, rows: int, shards: int) -> float:
    import pyarrow as pa

    from kplpy.integrations.arrow import put_table

    numbers = range(min(ROWS, 40 * rows))
    data, keys = [b"x" * 100 for _ in numbers], [f"{number * 7919 % 100_003:036d}" for number in numbers]
    table = pa.table({"data": data, "partitionKey": keys})
    before = sink.stats()["entries"]
    with Producer(
        endpoint_url=sink.url, verify=sink.ca_bundle, region_name="us-east-1", rate_limit=1_000_000
    ) as producer:
        for start in range(0, len(numbers), rows):
            put_table(producer, f"bench-{shards}", table.slice(start, rows))
    return len(numbers) / (sink.stats()["entries"] - before)


def report(found: Mapping[str, Mapping[str, float]]) -> str:
    lines = [
        f"| rows of a partition | {' | '.join(f'{shards} shards' for shards in SHARDS)} |",
        "|---" * (1 + len(SHARDS)) + "|",
    ]
    for rows, by_shards in found.items():
        lines.append(f"| {int(rows):,} | {' | '.join(f'{each:,.1f}' for each in by_shards.values())} |")
    return "\n".join(lines)
