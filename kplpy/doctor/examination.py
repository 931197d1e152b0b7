"""What an examination knows so far. The checks read it; connect.py and take_sample.py fill it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kplpy.config.options import Config
from kplpy.core.shard_range import ShardRange
from kplpy.doctor.calls import Answer, Calls
from kplpy.doctor.prices import Prices
from kplpy.doctor.sample import Sample
from kplpy.escaping import hide_sign_in
from kplpy.stream_names import name_of


@dataclass(frozen=True, slots=True)
class Options:
    """What to examine. See examine()."""

    put: bool
    sample: int
    since: float
    rate: float | None
    record_size: int | None
    prices: Prices


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials that the session found.

    method: botocore's name of their source.
    access_key: the access key ID.
    is_temporary: they have a session token.
    expires_at: Unix time, or None if nothing says when.
    problem: why there are none; "" if there are.
    """

    method: str = ""
    access_key: str = ""
    is_temporary: bool = False
    expires_at: float | None = None
    problem: str = ""


@dataclass(slots=True)
class Examination:
    """The state of one examination. Used by one thread.

    config: with a session.
    calls: None before there is a client; client_problem says why there is none, has_no_region that it is the region.
    listing, description: the answers of ListShards (a list of ShardRange) and of DescribeStreamSummary.
    obstacle: why further calls are useless; "" if they are not.
    put_answer: of the dry run of PutRecords.
    denied: the operations that were denied, in the order of their calls.
    denied_key: the operations that may not use the stream's KMS key.
    """

    stream: str
    arn: str | None
    config: Config
    options: Options
    deadline: float
    credentials: Credentials = field(default_factory=Credentials)
    calls: Calls | None = None
    client_problem: str = ""
    has_no_region: bool = False
    listing: Answer | None = None
    description: Answer | None = None
    obstacle: str = ""
    put_answer: Answer | None = None
    denied: list[Answer] = field(default_factory=list)
    denied_key: set[str] = field(default_factory=set)
    sample: Sample | None = None

    @property
    def name(self) -> str:
        return name_of(self.stream)

    @property
    def place(self) -> dict[str, str]:
        """The stream as an argument of an API call."""
        return {"StreamARN": self.arn} if self.arn else {"StreamName": self.stream}

    @property
    def summary(self) -> Mapping[str, Any] | None:
        """The StreamDescriptionSummary, if it could be had."""
        if self.description is None or not self.description.is_ok:
            return None
        found: Mapping[str, Any] = self.description.response["StreamDescriptionSummary"]
        return found

    @property
    def shards(self) -> list[ShardRange] | None:
        """The open shards by hash range, if they could be listed."""
        if self.listing is None or not self.listing.is_ok:
            return None
        return sorted(self.listing.response, key=lambda each: each.start)

    @property
    def is_on_demand(self) -> bool:
        return bool((self.summary or {}).get("StreamModeDetails", {}).get("StreamMode") == "ON_DEMAND")

    @property
    def open_shards(self) -> int | None:
        """The number of open shards, from either call."""
        if self.shards is not None:
            return len(self.shards)
        found = (self.summary or {}).get("OpenShardCount")
        return found if isinstance(found, int) and found > 0 else None

    @property
    def strategy(self) -> str | None:
        """Return the distribution strategy; None if it is unknown."""
        if self.summary is None or self.description is None:
            return None
        if not self.is_on_demand:  # only on-demand streams have one
            return "USER_PARTITION_KEY"
        found = self.description.response.get("RecordDistributionStrategy")
        return str(found or self.summary.get("RecordDistributionStrategy") or "") or None

    @property
    def is_auto(self) -> bool:
        return self.strategy == "AUTO"

    @property
    def service_time(self) -> float:
        """Return the service's Unix time, as far as it is known."""
        offset = None if self.calls is None else self.calls.clock_offset
        return time.time() + (offset or 0.0)

    @property
    def region(self) -> str | None:
        return None if self.calls is None else str(self.calls.client.meta.region_name)

    @property
    def partition(self) -> str:
        """The part of AWS that the region belongs to, as ARNs name it: "aws", "aws-cn"."""
        return "aws" if self.calls is None else str(self.calls.client.meta.partition)

    @property
    def endpoint(self) -> str | None:
        """The endpoint's URL, with *** for a user and password in it."""
        return None if self.calls is None else hide_sign_in(str(self.calls.client.meta.endpoint_url))
