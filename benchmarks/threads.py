"""Does putting scale? `python -m benchmarks.threads [--rounds 7]`: 8 putting threads against one, alternated.

The rate counts from the first put to the answer of the last record, over a stand-in for the service that answers at
once, so that only the producer is measured (encoding included, HTTP not).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from unittest.mock import patch

from kplpy import Config, Producer
from kplpy.aws.body import put_records_body
from kplpy.core.request import Request
from kplpy.core.retry import Exchange
from kplpy.core.shard_map import ShardRange

SHARDS = 16
RECORDS = 200_000


class Answering:
    """In the transport's place: encodes as it does, and says that all was taken."""

    def __init__(self, config: Config) -> None:
        del config

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        step = (1 << 128) // SHARDS
        return [ShardRange(f"shardId-{n:012}", n * step, (n + 1) * step - 1) for n in range(SHARDS)]

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        started = time.monotonic()
        put_records_body(name, arn, request.batches)
        landed = [batch.lane.shard.shard_id if batch.lane.shard else "none" for batch in request.batches]
        entries = [{"SequenceNumber": "1", "ShardId": shard_id} for shard_id in landed]
        return Exchange(started, time.monotonic(), time.time(), entries)

    def close(self) -> None:
        pass


def rate(threads: int, keys: list[str]) -> float:
    data = b"x" * 100
    config = Config(rate_limit=1_000_000, max_buffered_records=10 * RECORDS, max_buffered_bytes=1 << 32)
    with Producer(config) as producer:

        def work(mine: list[str]) -> None:
            for key in mine:
                producer.put_record("test", data, key)

        workers = [threading.Thread(target=work, args=(keys[n::threads],)) for n in range(threads)]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        producer.flush()
        return len(keys) / (time.perf_counter() - started)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", action="store_true", help="the rates of each round, and nothing else")
    chosen = options.parse_args()
    rounds = chosen.rounds
    keys = [f"key-{n % 10_000}" for n in range(RECORDS)]
    with patch("kplpy.aws.transport.KinesisTransport", Answering):
        rate(1, keys[:10_000])
        pairs = [(rate(1, keys), rate(8, keys)) for _ in range(rounds)]
    if chosen.json:
        print(json.dumps({"one": [alone for alone, _ in pairs], "eight": [many for _, many in pairs]}))
        return
    one, eight = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(many / alone for alone, many in pairs)
    print(
        f"Python {sys.version.split()[0]}: 1 thread {one:,.0f} records/s, 8 threads {eight:,.0f}; ratio pair by pair: "
        f"median {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
