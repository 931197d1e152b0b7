"""The cost of a load on a real stream, with consent before it, and a stream that is deleted in any case."""

from __future__ import annotations

import argparse
import math
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

SOURCE = "https://aws.amazon.com/kinesis/data-streams/pricing/, us-east-1, as of 2025; look up your own"
OVERHEAD = 64  # bytes: an upper bound of what a key and the aggregated format add to a record here
DELETE_WITHIN = 180.0  # seconds for which a stream may be CREATING, which cannot be deleted


@dataclass(frozen=True)
class Tariff:
    """Prices in dollars. Each started hour and each started unit of a Kinesis record is billed.

    an_hour: dollars an hour.
    a_million: dollars a million units.
    unit: bytes of a unit.
    units: what a unit is called.
    """

    an_hour: float
    a_million: float
    unit: int
    units: str

    def units_of(self, kinesis_records: float, size: float) -> float:
        return kinesis_records * math.ceil(size / self.unit)

    def estimate(self, records: float, size: int, seconds: float) -> tuple[float, float, float]:
        """Return dollars for the started hours, for the units if records are packed well, and if each is sent alone."""
        alone = self.units_of(records, size + OVERHEAD)
        packed = min(alone, records * (size + OVERHEAD) / self.unit)
        hours = math.ceil(seconds / 3600) * self.an_hour
        return hours, packed / 1e6 * self.a_million, alone / 1e6 * self.a_million

    def paid(self, kinesis_records: int, size: float, seconds: float) -> float:
        """Return dollars for Kinesis records of this average size, with hours in proportion."""
        return self.units_of(kinesis_records, size) / 1e6 * self.a_million + seconds / 3600 * self.an_hour


def provisioned(shards: int, options: argparse.Namespace) -> Tariff:
    return Tariff(shards * options.shard_hour_price, options.unit_price, 25 * 1024, "PUT payload units of 25 KiB")


def on_demand(options: argparse.Namespace) -> Tariff:
    a_million = options.gigabyte_price * 1e6 / (1 << 20)  # a GB of the price has 2**30 bytes
    return Tariff(options.stream_hour_price, a_million, 1024, "KiB written, each record rounded up")


def add_prices(parser: argparse.ArgumentParser) -> None:
    prices = parser.add_argument_group("prices, in dollars", SOURCE)
    prices.add_argument("--shard-hour-price", type=float, default=0.015)
    prices.add_argument("--unit-price", type=float, default=0.014, help="for a million PUT payload units of 25 KiB")
    prices.add_argument("--stream-hour-price", type=float, default=0.04, help="on demand")
    prices.add_argument("--gigabyte-price", type=float, default=0.08, help="on demand, for data written")


def agreed(tariff: Tariff, options: argparse.Namespace, shards: int) -> bool:
    """Print the possible cost of the run and ask for consent, except with --yes or --local."""
    records = options.rate * options.seconds
    hours, packed, alone = tariff.estimate(records, options.size, options.seconds)
    print(
        f"{records:,.0f} records of {options.size:,} bytes in {options.seconds:g} s on {shards} shards may cost\n"
        f"  ${hours:.3f} for the started hours, at ${tariff.an_hour:g} an hour, and\n"
        f"  ${packed:.4f} (packed well) to ${alone:.4f} (each alone) at ${tariff.a_million:.4g} a million "
        f"{tariff.units}\n  ({SOURCE})"
    )
    if options.local:
        print("(a local Kinesis: nothing is billed)")
        return True
    if options.yes:
        return True
    try:
        return input("Continue? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:  # there is no terminal
        return False


@contextmanager
def stream_for(client: Any, options: argparse.Namespace) -> Iterator[str]:
    """Yield the given stream, or a new one that is deleted afterwards in any case."""
    if options.stream:
        yield options.stream
        return
    name = f"kplpy-bench-{secrets.token_hex(4)}"
    try:
        print(f"creating {name}", flush=True)
        client.create_stream(StreamName=name, ShardCount=options.shards)
        client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 2, "MaxAttempts": 90})
        yield name
    finally:
        # A second Ctrl-C must not leave a stream behind, because it is billed.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        delete(client, name)


def delete(client: Any, name: str) -> None:
    """Delete the stream as soon as it is ACTIVE. Raises ClientError if that takes longer than DELETE_WITHIN."""
    deadline = time.monotonic() + DELETE_WITHIN
    while True:
        try:
            client.delete_stream(StreamName=name)
            print(f"deleted {name}", flush=True)
            return
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ResourceNotFoundException":
                return  # the stream was never created
            if code != "ResourceInUseException" or time.monotonic() > deadline:
                print(f"COULD NOT DELETE {name}, which is billed: delete it yourself", flush=True)
                raise
        time.sleep(1)
