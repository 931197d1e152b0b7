"""The producer's transport: chooses the service, and Firehose's region, by a stream's ARN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from kplpy.aws.firehose.transport import FirehoseTransport
from kplpy.concurrency import new_lock
from kplpy.config.options import Config
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.routing.placement import Summary
from kplpy.core.shard_range import ShardRange
from kplpy.stream_names import is_delivery_stream, region_of


class StreamTransport(Protocol):
    """The transport to the streams (see KinesisTransport)."""

    @property
    def was_used(self) -> bool: ...

    def connect(self) -> RequestError | None: ...

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange: ...

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]: ...

    def describe(self, name: str, arn: str | None) -> Summary: ...

    def is_regional(self) -> bool: ...

    def hurry(self, seconds: float) -> None: ...

    def close(self) -> None: ...


class Services:
    """Implements the engine's Transport, for any thread.

    streams: the transport to Kinesis. It makes its client when it is first used.
    """

    def __init__(self, config: Config, streams: StreamTransport) -> None:
        self._config = config
        self.streams = streams
        self._lock = new_lock()
        self._by_region: dict[str, FirehoseTransport] = {}
        self._hurry: float | None = None

    def connect(self, arn: str | None) -> RequestError | None:
        """Make the client for this stream, unless it exists. Return the error that prevents that."""
        return self._of(arn).connect()

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        """Send the request. See Transport."""
        return self._of(arn).put_records(name, arn, request)

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        """Return the open shards; none of a delivery stream. Raises ListingError."""
        return self._of(arn).list_shards(name, arn)

    def describe(self, name: str, arn: str | None) -> Summary:
        """Describe the stream. See ControlPlane."""
        return self._of(arn).describe(name, arn)

    def is_regional(self) -> bool:
        """Return True if all clients use AWS's own endpoints. Makes the client of Kinesis if there is none."""
        used = [each for each in self._all() if each.was_used]
        return all(each.is_regional() for each in used or [self.streams])

    def hurry(self, seconds: float) -> None:
        """Shorten the timeouts of later requests, as KinesisTransport does."""
        with self._lock:
            self._hurry = seconds
        for each in self._all():
            each.hurry(seconds)

    def close(self) -> None:
        """Close idle connections."""
        for each in self._all():
            each.close()

    def _all(self) -> list[StreamTransport]:
        with self._lock:
            return [self.streams, *self._by_region.values()]

    def _of(self, arn: str | None) -> StreamTransport:
        if arn is None or not is_delivery_stream(arn):
            return self.streams
        region = region_of(arn)
        found = self._by_region.get(region)
        return self._made(region) if found is None else found

    def _made(self, region: str) -> FirehoseTransport:
        with self._lock:
            found = self._by_region.get(region)
            if found is None:
                found = FirehoseTransport(replace(self._config, region_name=region))
                if self._hurry is not None:
                    found.hurry(self._hurry)
                self._by_region[region] = found
            return found
