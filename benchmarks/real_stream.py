"""A load on a real stream: `python -m benchmarks.real_stream --shards 4 --seconds 60 --rate 3000 --size 500`.

Creates a stream (or takes --stream), says beforehand what it may cost and asks, puts at a steady rate, tells goodput,
throttles, latency and cost, reads a sample back by shard and sequence number, and deletes what it created, also on
Ctrl-C. `--local` runs the same against a local Kinesis with the service's limits, over HTTPS, and costs nothing.
"""

from __future__ import annotations

import argparse
import random
import secrets
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config as ClientConfig

from benchmarks import billed
from kplpy import Producer, RecordFailedError, RecordFuture, deaggregate
from kplpy.local import LocalKinesisProcess
from kplpy.reports import StreamTotals

SAMPLE_EVERY = 20  # records whose attempts are looked at


@dataclass
class Load:
    """What became of the records so far."""

    confirmed: int = 0
    confirmed_bytes: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """Error codes of attempts, among the records looked at."""
    latencies: list[float] = field(default_factory=list)
    places: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Shard, sequence number and data of some records, to be read back."""
    seconds: float = 0.0


def put_load(producer: Producer, stream: str, options: argparse.Namespace, load: Load) -> None:
    """Put at the rate asked for; what is answered is looked at on the way, the rest after a flush."""
    pending: deque[tuple[RecordFuture, bytes]] = deque()  # a future that is answered has let go of its data
    run = secrets.token_hex(4).encode()
    started, done = time.monotonic(), 0
    try:
        print(f"putting        {options.rate:,.0f} records a second", flush=True)
        while (now := time.monotonic() - started) < options.seconds:
            for _ in range(int(now * options.rate) - done):
                data = (b"%b-%012d-" % (run, done)).ljust(options.size, b"x")
                pending.append((producer.put_record(stream, data, f"key-{random.random()}"), data))
                done += 1
            while pending and pending[0][0].done():
                look(*pending.popleft(), load)
            time.sleep(0.005)
        producer.flush(timeout=60)
    finally:
        load.seconds = time.monotonic() - started
        for future, data in pending:
            if future.done():
                look(future, data, load)


def look(future: RecordFuture, data: bytes, load: Load) -> None:
    try:
        result = future.result()
    except RecordFailedError as error:
        load.failed[type(error).__name__] += 1
        load.errors.update(each.error_code for each in error.attempts if each.error_code)
        return
    load.confirmed += 1
    load.confirmed_bytes += len(data)
    if load.confirmed % SAMPLE_EVERY == 1:
        load.errors.update(each.error_code for each in result.attempts if each.error_code)
        load.latencies.append(sum(each.delay + each.duration for each in result.attempts))
        load.places.append((result.shard_id, result.sequence_number, data))


def verify(client: Any, stream: str, places: list[tuple[str, str, bytes]], count: int) -> int:
    """Read some of the records back, each by its shard and sequence number; returns how many were not there."""
    missing = 0
    for shard, number, data in random.sample(places, min(count, len(places))):
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard, ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber=number
        )["ShardIterator"]
        found: list[Any] = []
        for _ in range(10):  # the service may answer nothing at first; five reads a second and shard are allowed
            answer = client.get_records(ShardIterator=iterator, Limit=1)
            found, iterator = answer["Records"], answer["NextShardIterator"]
            if found:
                break
            time.sleep(0.3)
        if not any(each.data == data for record in found for each in deaggregate(record)):
            missing += 1
            print(f"NOT THERE: {data[:30]!r} at {shard}, {number}")
    return missing


def tell(load: Load, totals_by_stream: Mapping[str, StreamTotals], shards: int, tariff: billed.Tariff) -> None:
    print(f"confirmed      {load.confirmed:,} records in {load.seconds:.1f} s")
    if load.seconds:
        rate, volume = load.confirmed / load.seconds, load.confirmed_bytes / load.seconds
        share = volume / (shards << 20)
        print(f"goodput        {rate:,.0f}/s, {volume / 1e6:.2f} MB/s: {share:.0%} of {shards} shards' 1 MiB/s")
    print(f"failed         {dict(load.failed) or 'none'}")
    print(f"errors on the way, of a sample of one in {SAMPLE_EVERY}: {dict(load.errors) or 'none'}")
    for totals in totals_by_stream.values():
        print(
            f"requests       {totals.put_records_requests:,}, {totals.requests_failed} failed; Kinesis records "
            f"{totals.kinesis_records_put:,}, {totals.entries_throttled:,} throttled on the way"
        )
        if load.confirmed:
            size = totals.kinesis_bytes_put / totals.kinesis_records_put
            dollars = tariff.paid(totals.kinesis_records_put, size, load.seconds) / load.confirmed * 1e6
            print(f"cost           ${dollars:.4f} a million records, the hours in proportion")
    if load.latencies:
        load.latencies.sort()
        last = len(load.latencies) - 1
        shown = (load.latencies[min(last, int((last + 1) * share))] for share in (0.5, 0.9, 0.99, 1))
        print("latency        p50, p90, p99, most: " + ", ".join(f"{each * 1e3:.0f} ms" for each in shown))


def run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        where: dict[str, Any] = {"region_name": options.region, "endpoint_url": options.endpoint_url}
        session = boto3.Session()
        if options.local:
            kinesis = stack.enter_context(LocalKinesisProcess(stream=None, https=True))
            where = {"region_name": kinesis.region_name, "endpoint_url": kinesis.endpoint_url}
            session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local")
            options.verify = kinesis.ca_bundle
        patient = ClientConfig(retries={"total_max_attempts": 10, "mode": "standard"})  # reading is limited tightly
        client: Any = session.client("kinesis", verify=options.verify, config=patient, **where)
        shards = options.shards
        tariff = billed.provisioned(shards, options)
        if options.stream:
            summary = client.describe_stream_summary(StreamName=options.stream)["StreamDescriptionSummary"]
            shards = summary["OpenShardCount"]
            placed_by_service = summary.get("StreamModeDetails", {}).get("StreamMode") == "ON_DEMAND"
            tariff = billed.on_demand(options) if placed_by_service else billed.provisioned(shards, options)
        if not billed.agreed(tariff, options, shards):
            return 1
        stream = stack.enter_context(billed.stream_for(client, options))
        load, interrupted = Load(), False
        with Producer(session=session, verify=options.verify, request_format=options.format, **where) as producer:
            try:
                put_load(producer, stream, options, load)
            except KeyboardInterrupt:
                interrupted = True
                print("interrupted: this is what was done until then")
            tell(load, producer.metrics(), shards, tariff)
        missing = verify(client, stream, load.places, options.sample)
        print(
            f"read back      {min(options.sample, len(load.places))} records, {missing} of them not there", flush=True
        )
    return 130 if interrupted else 1 if missing or load.failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", help="one that exists; it is left as it is. Otherwise one is made, and deleted")
    parser.add_argument("--shards", type=int, default=2, help="of the stream that is made")
    parser.add_argument("--rate", type=float, default=2000, help="records a second")
    parser.add_argument("--size", type=int, default=500, help="bytes, at least 22")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--sample", type=int, default=50, help="records to read back")
    parser.add_argument("--format", choices=("json", "cbor"), default="json", help="of the requests")
    parser.add_argument("--region", help="None: boto's own")
    parser.add_argument("--endpoint-url")
    parser.add_argument("--verify", help="a CA bundle")
    parser.add_argument("--local", action="store_true", help="against a local Kinesis with limits, over HTTPS")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    billed.add_prices(parser)
    options = parser.parse_args()
    if options.size < 22 or options.rate <= 0 or options.seconds <= 0 or options.shards < 1:
        parser.error("--size is at least 22, --rate and --seconds above 0, --shards at least 1")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
