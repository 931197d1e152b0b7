"""The prices of Kinesis Data Streams, and what a month costs by them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from math import ceil, isfinite
from typing import Any

from kplpy.errors import ConfigError

MONTH_HOURS = 730
"""Hours of a month, as AWS's pricing calculator has them."""
UNIT_BYTES = 25 * 1024
"""Bytes of a PUT payload unit; each Kinesis record is rounded up to whole units."""
GB = 1 << 30


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars, without tax, discounts and free tiers. A negative value raises ConfigError.

    The defaults are the list prices of us-east-1 as of 2025, provisioned and on-demand standard. docs/doctor.md says
    where each one was found. Other regions differ. https://aws.amazon.com/kinesis/data-streams/pricing/

    shard_hour: one provisioned shard for an hour.
    million_put_units: a million PUT payload units of a provisioned stream.
    stream_hour: an on-demand stream for an hour.
    gb_in: a GB written to an on-demand stream, each Kinesis record rounded up to 1 KiB.
    gb_out: a GB read from an on-demand stream by one reader.
    source: where the prices are from; text.
    """

    shard_hour: float = 0.015
    million_put_units: float = 0.014
    stream_hour: float = 0.04
    gb_in: float = 0.08
    gb_out: float = 0.04
    source: str = "us-east-1, list prices as of 2025"

    def __post_init__(self) -> None:
        for name in PRICE_NAMES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
                raise ConfigError(f"{name} must be dollars, 0 or more; got {value!r}")

    def with_price(self, name: str, dollars: float) -> Prices:
        """Return these prices with another one. Raises ConfigError for an unknown name."""
        if name not in PRICE_NAMES:
            raise ConfigError(f"a price must be one of {', '.join(PRICE_NAMES)}; got {name!r}")
        source = self.source if "given" in self.source else f"{self.source}, some given"
        return replace(self, source=source, **{name: dollars})

    def provisioned(self, shards: int, put_units_per_second: float) -> float:
        """Return the dollars of a month on a provisioned stream."""
        units = put_units_per_second * MONTH_HOURS * 3600
        return shards * self.shard_hour * MONTH_HOURS + units / 1e6 * self.million_put_units

    def on_demand(self, billed_bytes_per_second: float, bytes_per_second: float, readers: int = 1) -> float:
        """Return the dollars of a month on an on-demand stream.

        billed_bytes_per_second: written, with each Kinesis record rounded up to 1 KiB.
        bytes_per_second: written, as it is. Each reader reads all of it.
        """
        seconds = MONTH_HOURS * 3600
        written, read = billed_bytes_per_second * seconds / GB, bytes_per_second * seconds / GB * readers
        return self.stream_hour * MONTH_HOURS + written * self.gb_in + read * self.gb_out

    def to_json(self) -> dict[str, Any]:
        """Return the prices by name."""
        return asdict(self)


PRICE_NAMES = tuple(each.name for each in fields(Prices) if each.name != "source")


def put_units(size: int) -> int:
    """Return the PUT payload units of a Kinesis record."""
    return max(1, ceil(size / UNIT_BYTES))


def billed_bytes(size: int) -> int:
    """Return the bytes of a Kinesis record that an on-demand stream bills: whole KiB."""
    return max(1, ceil(size / 1024)) * 1024
