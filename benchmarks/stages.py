"""Measures the CPU time of a record by stage, on a producer's threads, over HTTPS into the sink.

    python -m benchmarks.stages [--size 100] [--keys uuid] [--mode put_records] [--singles] [--rounds 5]

Stages that handle many records at once are timed by their thread's CPU clock, put and result() around a thousand
calls. Each stage is printed without the stages inside it, as the median of the rounds in µs a record.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.peers.driver import make_keys
from benchmarks.processes import Sink
from kplpy import Producer, RecordFuture
from kplpy.accelerator import accelerated
from kplpy.aws.kinesis import transport
from kplpy.core.pipeline import Pipeline
from kplpy.metrics.recorder import Recorder
from kplpy.runtime import delivery
from kplpy.runtime.planner import Planner
from kplpy.runtime.sender import Sender
from kplpy.wire.encode import Packing

CHUNK = 1_000


class Stages:
    """CPU seconds by stage. Time of a stage inside another stage on the same thread counts only for the inner one."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._open: dict[int, list[float]] = defaultdict(list)  # by thread: seconds of the inner stages so far

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        within = self._open[threading.get_ident()]
        within.append(0.0)
        started = time.thread_time()
        try:
            yield
        finally:
            took = time.thread_time() - started
            self.spent[name] += took - within.pop()
            if within:
                within[-1] += took

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Replace a function or method by one that times each call."""
        original: Callable[..., Any] = getattr(owner, attribute)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.stage(name):
                return original(*arguments, **named)

        setattr(owner, attribute, timed)


def watch_all(stages: Stages) -> None:
    stages.watch(Planner, "drain", "drain")
    stages.watch(Pipeline, "accept", "route, pack")
    stages.watch(Planner, "plan", "plan")
    stages.watch(Sender, "_send_from", "send: the rest")
    if not accelerated:  # compiled code does both at once
        stages.watch(Packing, "parts", "join, MD5")
    stages.watch(transport, "put_records_body", "base64, body")
    stages.watch(transport.KinesisTransport, "put_records", "botocore: sign, HTTP, TLS, parse")
    stages.watch(Pipeline, "next_request", "form requests")
    stages.watch(Pipeline, "request_ended", "judge answers")
    stages.watch(Recorder, "record", "count")
    stages.watch(delivery.Delivery, "deliver", "answer: room, counts")
    stages.watch(delivery, "resolve_all", "answer: futures")


def run(producer: Producer, stages: Stages, keys: list[str], data: bytes, mode: str, window: int) -> float:
    """Put all keys and confirm them. Return the CPU seconds of the whole process."""
    pending: deque[RecordFuture] = deque()
    put, bulk = producer.put_record, producer.put_records
    before = time.process_time()
    for start in range(0, len(keys), CHUNK):
        some = keys[start : start + CHUNK]
        with stages.stage("put"):
            if mode == "put_records":
                pending += bulk("bench-16", [(data, key) for key in some])
            else:
                for key in some:
                    pending.append(put("bench-16", data, key))
        while len(pending) > window:
            _confirm(stages, pending)
    while pending:
        _confirm(stages, pending)
    return time.process_time() - before


def _confirm(stages: Stages, pending: deque[RecordFuture]) -> None:
    last = pending[min(CHUNK, len(pending)) - 1]
    last.exception()  # waits outside the timed stage
    with stages.stage("result()"):
        for _ in range(min(CHUNK, len(pending))):
            pending.popleft().result()


def producer_to(sink: Sink, **options: Any) -> Producer:
    """Return a producer that puts to the sink without a rate limit."""
    return Producer(
        endpoint_url=sink.url, region_name="us-east-1", verify=sink.ca_bundle, rate_limit=1_000_000, **options
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--keys", choices=["fixed", "uuid"], default="fixed")
    parser.add_argument("--mode", choices=["put_record", "put_records"], default="put_record")
    parser.add_argument("--singles", action="store_true", help="switch aggregation off")
    parser.add_argument("--metrics", choices=["none", "summary", "detailed"], default="summary", help="level, by shard")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-gc", action="store_true", help="switch garbage collection off, to see its cost")
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    found: list[dict[str, float]] = []
    stages = Stages()
    watch_all(stages)
    if options.no_gc:
        gc.disable()
    config = {
        "aggregation_enabled": not options.singles,
        "metrics_level": options.metrics,
        "metrics_granularity": "shard",
    }
    with Sink() as sink, producer_to(sink, **config) as producer:
        for number in range(-1, options.rounds):
            keys = make_keys(options.keys, options.records)
            gc.collect()
            stages.spent.clear()
            cpu = run(
                producer, stages, keys, b"x" * options.size, options.mode, 20_000 if options.size < 10_000 else 1_000
            )
            if number >= 0:
                by_stage = sum(stages.spent.values())
                found.append({**stages.spent, "other": cpu - by_stage, "all": cpu})
    for name in found[0]:
        column = [1e6 * row.get(name, 0.0) / options.records for row in found]
        print(f"{name:34} {statistics.median(column):6.2f}   {min(column):.2f} to {max(column):.2f}")


if __name__ == "__main__":
    main()
