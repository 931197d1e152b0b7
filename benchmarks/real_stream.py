"""A load on a real stream: `python -m benchmarks.real_stream --shards 4 --seconds 60 --rate 3000 --size 500`.

Creates a stream (or takes --stream), says beforehand what it may cost and asks, puts at a steady rate, tells goodput,
throttles, latency and cost, reads a sample back by shard and sequence number, and deletes what it created, also on
Ctrl-C. `--local` runs the same against a local Kinesis with the service's limits, over HTTPS, and costs nothing.
"""

from __future__ import annotations

import argparse
import math
import random
import secrets
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config as ClientConfig

from kplpy import Producer, RecordFailedError, RecordFuture, deaggregate
from kplpy.local import LocalKinesisProcess
from kplpy.totals import StreamTotals

UNIT = 25 * 1024  # a PUT payload unit
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


def prices(options: argparse.Namespace, shards: int, records: float, packed: float) -> tuple[float, float]:
    """Dollars: for the shards' hours begun, and for the payload units of `records` packed so many a unit."""
    hours = math.ceil(options.seconds / 3600)
    return shards * hours * options.shard_hour_price, records / packed / 1e6 * options.unit_price


def agreed(options: argparse.Namespace, shards: int) -> bool:
    records = options.rate * options.seconds
    units_a_record = math.ceil((options.size + 16) / UNIT)
    packed = max(1.0, UNIT / (options.size + 64))
    hours, least = prices(options, shards, records, packed)
    _, most = prices(options, shards, records * units_a_record, 1)
    print(
        f"{records:,.0f} records of {options.size:,} bytes in {options.seconds:g} s on {shards} shards, about "
        f"${hours:.3f} for the shards' hours begun and ${least:.4f} (well packed) to ${most:.4f} (each alone) "
        f"for payload\nunits, at ${options.shard_hour_price} a shard-hour and ${options.unit_price} a million units. "
        "The prices are of us-east-1, provisioned; look up your own."
    )
    if options.local:
        print("(a local Kinesis: nothing is billed)")
        return True
    return options.yes or input("Go on? [y/N] ").strip().lower() in {"y", "yes"}


@contextmanager
def stream_for(client: Any, options: argparse.Namespace) -> Iterator[str]:
    """The stream given, or one made for this run and deleted after it, whatever happens."""
    if options.stream:
        yield options.stream
        return
    name = f"kplpy-bench-{secrets.token_hex(4)}"
    try:
        client.create_stream(StreamName=name, ShardCount=options.shards)
        print(f"creating {name}", flush=True)
        client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 2, "MaxAttempts": 90})
        yield name
    finally:
        # A second Ctrl-C must not leave a stream behind that is billed.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        client.delete_stream(StreamName=name)
        print(f"deleted {name}")


def put_load(producer: Producer, stream: str, options: argparse.Namespace, load: Load) -> None:
    """Put at the rate asked for; what is answered is looked at on the way, the rest after a flush."""
    pending: deque[tuple[RecordFuture, bytes]] = deque()  # a future that is answered has let go of its data
    run = secrets.token_hex(4).encode()
    started, done = time.monotonic(), 0
    try:
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


def tell(load: Load, totals_by_stream: Mapping[str, StreamTotals], shards: int, options: argparse.Namespace) -> None:
    rate, volume = load.confirmed / load.seconds, load.confirmed_bytes / load.seconds
    print(f"confirmed      {load.confirmed:,} records in {load.seconds:.1f} s: {rate:,.0f}/s, {volume / 1e6:.2f} MB/s")
    print(f"of the limit   {volume / (shards << 20):.0%} of {shards} shards' 1 MiB/s")
    print(f"failed         {dict(load.failed) or 'none'}")
    print(f"errors on the way, of a sample of one in {SAMPLE_EVERY}: {dict(load.errors) or 'none'}")
    for totals in totals_by_stream.values():
        print(
            f"requests       {totals.put_records_requests:,}, {totals.requests_failed} failed; Kinesis records "
            f"{totals.kinesis_records_put:,}, {totals.entries_throttled:,} throttled on the way"
        )
    if load.latencies:
        load.latencies.sort()
        last = len(load.latencies) - 1
        shown = (load.latencies[min(last, int((last + 1) * share))] for share in (0.5, 0.9, 0.99, 1))
        print("latency        p50, p90, p99, most: " + ", ".join(f"{each * 1e3:.0f} ms" for each in shown))
    if load.confirmed:
        per_unit = max(1.0, UNIT / (load.confirmed_bytes / load.confirmed + 64))
        hours, units = prices(options, shards, load.confirmed, per_unit)
        steady = units + hours * min(1.0, load.seconds / 3600)
        print(f"cost           ${steady / load.confirmed * 1e6:.4f} a million records, shard-hours in proportion")


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
        if options.stream:
            summary = client.describe_stream_summary(StreamName=options.stream)
            shards = summary["StreamDescriptionSummary"]["OpenShardCount"]
        if not agreed(options, shards):
            return 1
        stream = stack.enter_context(stream_for(client, options))
        load = Load()
        with Producer(session=session, verify=options.verify, **where) as producer:
            try:
                put_load(producer, stream, options, load)
            except KeyboardInterrupt:
                print("interrupted: this is what was done until then")
            tell(load, producer.metrics(), shards, options)
        missing = verify(client, stream, load.places, options.sample)
        print(f"read back      {min(options.sample, len(load.places))} records, {missing} of them not there")
    return 1 if missing or load.failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", help="one that exists; it is left as it is. Otherwise one is made, and deleted")
    parser.add_argument("--shards", type=int, default=2, help="of the stream that is made")
    parser.add_argument("--rate", type=float, default=2000, help="records a second")
    parser.add_argument("--size", type=int, default=500, help="bytes, at least 22")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--sample", type=int, default=50, help="records to read back")
    parser.add_argument("--region", help="None: boto's own")
    parser.add_argument("--endpoint-url")
    parser.add_argument("--verify", help="a CA bundle")
    parser.add_argument("--local", action="store_true", help="against a local Kinesis with limits, over HTTPS")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--shard-hour-price", type=float, default=0.015)
    parser.add_argument("--unit-price", type=float, default=0.014, help="of a million PUT payload units of 25 KB")
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
