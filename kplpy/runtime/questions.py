"""What is asked of the control plane for a stream's core: its shards, and who chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from kplpy.core.distribution import Summary
from kplpy.core.notice import Notice
from kplpy.core.pipeline import Pipeline
from kplpy.core.shard_map import ListingError, ShardRange

Answer = Callable[[float], None]
"""Tells the core what was answered; takes the time."""


class ControlPlane(Protocol):
    """Called from several threads at once."""

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        """The open shards; raises ListingError."""
        ...

    def describe(self, name: str, arn: str | None) -> Summary:
        """DescribeStreamSummary; what could not be learnt is said in the Summary."""
        ...


class Question:
    """One that is under way. `ask` waits for the answer; `failed` makes one of whatever else it raised."""

    def __init__(self, what: str, ask: Callable[[], Answer], failed: Callable[[str], Answer]) -> None:
        self.what = what
        self.ask = ask
        self.failed = failed


def next_question(
    pipeline: Pipeline, control_plane: ControlPlane, name: str, arn: str | None, now: float
) -> Question | None:
    """What the core wants to know now, noted there as being asked."""
    if pipeline.wants_description(now):
        pipeline.description_started(now)

        def described(summary: Summary) -> Answer:
            return lambda at: pipeline.described(summary, at)

        return Question(
            f"describing {name}",
            lambda: described(control_plane.describe(name, arn)),
            lambda problem: described(Summary(None, problem=problem)),
        )
    if pipeline.wants_listing(now):
        pipeline.listing_started(now)

        def failed(problem: str, cause: Notice | None = None) -> Answer:
            return lambda at: pipeline.listing_failed(problem, at, cause)

        def ask() -> Answer:
            try:
                shards = control_plane.list_shards(name, arn)
            except ListingError as failure:
                fields = {"operation": "ListShards", "code": failure.code, "reason": failure.reason}
                return failed(str(failure), Notice("requests_failed", fields))
            return lambda at: pipeline.listed(shards, at)

        return Question(f"listing the shards of {name}", ask, failed)
    return None
