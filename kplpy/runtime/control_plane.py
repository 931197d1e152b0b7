"""Control-plane calls for a stream's pipeline: making the client, listing shards, describing the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from kplpy.core.exchange import ListingError, RequestError
from kplpy.core.pipeline import Pipeline
from kplpy.core.routing.placement import Summary
from kplpy.core.shard_range import ShardRange

ApplyResponse = Callable[[float], None]
"""Hands a response to the pipeline. Takes the time, by time.monotonic()."""


class ControlPlane(Protocol):
    """Called by several sender threads at once."""

    def connect(self, arn: str | None) -> RequestError | None:
        """Make the client for this stream, unless it exists. Return the error that prevents that."""
        ...

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        """Return the open shards. Raises ListingError."""
        ...

    def describe(self, name: str, arn: str | None) -> Summary:
        """Call DescribeStreamSummary. The Summary says what it could not get, and why."""
        ...


class ControlPlaneCall:
    """One call to the control plane. Owned by the sender thread that makes it.

    description: what it does, for the log.
    ask: makes the call, and waits for its response.
    on_error: turns the text of an unexpected error into a response.
    arn: the stream's ARN, if the response has it.
    problem: why the call failed, if records have to wait for it; else empty.
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
    """Return the call that the pipeline needs now, and mark it there as started. Called under the stream's lock.

    The client comes first, because the other calls need it.
    """
    if pipeline.wants_client():
        pipeline.client_started()

        def made(error: RequestError | None) -> ApplyResponse:
            return lambda at: pipeline.client_made(at, error)

        return ControlPlaneCall("making the client", lambda: made(control_plane.connect(arn)), lambda _: made(None))
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
            return lambda at: pipeline.listing_succeeded(shards, at)

        control_call = ControlPlaneCall(f"listing the shards of {name}", ask, failed)
        return control_call
    return None
