"""What is asked of the control plane for a stream's core: its shards, and who chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from kplpy.core.exchange import ListingError, RequestError
from kplpy.core.pipeline import Pipeline
from kplpy.core.routing.placement import Summary
from kplpy.core.shard_range import ShardRange

ApplyResponse = Callable[[float], None]
"""Tells the core what was answered; takes the time."""


class ControlPlane(Protocol):
    """Called from several threads at once."""

    def connect(self) -> RequestError | None:
        """Make the client, unless it is there; what stops that is returned."""
        ...

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        """The open shards; raises ListingError."""
        ...

    def describe(self, name: str, arn: str | None) -> Summary:
        """DescribeStreamSummary; what could not be learnt is said in the Summary."""
        ...


class ControlPlaneCall:
    """One that is under way. `ask` waits for the answer; `failed` makes one of whatever else it raised.

    arn: the stream's, if the answer told it.
    problem: why records suffer from there being no answer, once it was asked; empty: they do not.
    """

    arn: str | None = None
    problem = ""

    def __init__(
        self, description: str, ask: Callable[[], ApplyResponse], on_error: Callable[[str], ApplyResponse]
    ) -> None:
        self.description = description
        self.ask = ask
        self.on_error = on_error


def next_call(
    pipeline: Pipeline, control_plane: ControlPlane, name: str, arn: str | None, now: float
) -> ControlPlaneCall | None:
    """What the core wants to know now, noted there as being asked. First of all it wants a client that can ask."""
    if pipeline.wants_client():
        pipeline.client_started()

        def made(error: RequestError | None) -> ApplyResponse:
            return lambda at: pipeline.client_made(at, error)

        return ControlPlaneCall("making the client", lambda: made(control_plane.connect()), lambda _: made(None))
    if pipeline.wants_description(now):
        pipeline.description_started(now)

        def described(summary: Summary) -> ApplyResponse:
            control_call.arn = summary.arn
            return lambda at: pipeline.described(summary, at)

        control_call = ControlPlaneCall(
            f"describing {name}",
            lambda: described(control_plane.describe(name, arn)),
            lambda problem: described(Summary(None, problem=problem)),
        )
        return control_call
    if pipeline.wants_listing(now):
        pipeline.listing_started(now)

        def failed(problem: str, error: RequestError | None = None) -> ApplyResponse:
            control_call.problem = problem
            return lambda at: pipeline.listing_failed(problem, at, error)

        def ask() -> ApplyResponse:
            try:
                shards = control_plane.list_shards(name, arn)
            except ListingError as failure:
                return failed(str(failure), failure.error)
            return lambda at: pipeline.listed(shards, at)

        control_call = ControlPlaneCall(f"listing the shards of {name}", ask, failed)
        return control_call
    return None
