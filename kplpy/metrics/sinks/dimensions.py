"""Adds the user's own dimensions to metrics, placed as in the KPL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from kplpy.metrics.sample import Dimensions, Sample, Sink, Window


class WithDimensions:
    """A sink that adds dimensions to each sample, then calls `sink`.

    The KPL's chain of dimensions is: those added to "global", ErrorCode, StreamName, those added to "stream", ShardId,
    those added to "shard". Each beginning of the chain is a metric of its own.

    added: (name, value, granularity) of each dimension.
    """

    def __init__(self, sink: Sink, added: Iterable[tuple[str, str, str]]) -> None:
        self._sink = sink
        self._added: dict[str, Dimensions] = {"global": (), "stream": (), "shard": ()}
        for name, value, granularity in added:
            self._added[granularity] += ((name, value),)

    def emit(self, window: Window) -> None:
        self._sink.emit(replace(window, samples=tuple(self._expanded(window.samples))))

    def _expanded(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        for sample in samples:
            before, added = self._places(sample.dimensions)
            for count in range(len(added) + 1):
                yield replace(sample, dimensions=before + added[:count])

    def _places(self, dimensions: Dimensions) -> tuple[Dimensions, Dimensions]:
        """Return the sample's own place in the chain, and the dimensions added behind it."""
        if not dimensions:
            return (), self._added["global"]
        chain = self._added["global"]
        added: Dimensions = ()
        for each in dimensions:
            chain += (*added, each)
            added = self._added[_GRANULARITIES[each[0]]] if each[0] in _GRANULARITIES else ()
        return chain, added


_GRANULARITIES = {"StreamName": "stream", "ShardId": "shard"}
