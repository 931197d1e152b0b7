"""The mapping that Producer.metrics() returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kplpy.metrics.sample import Sample, Window
from kplpy.reports import StreamTotals
from kplpy.stream_names import parse_stream


class Metrics(Mapping[str, StreamTotals]):
    """Counts of each stream since the producer was made, and `window`: the samples of the requested time.

    `metrics["orders"].user_records_put`; `metrics.find("TimeToAnswer", stream="orders").percentile(99)`.

    A stream that is put to by name and by ARN is one entry. Its key is the one that was used first; both find it.
    As in a Counter, a stream without records has zeros. Iteration and `in` leave it out.
    InvalidRecordError: the key is neither a stream name nor an ARN.
    """

    def __init__(
        self, totals: Mapping[str, StreamTotals], window: Window, keys: Mapping[str, str] | None = None
    ) -> None:
        """keys: further names and ARNs of streams, each with the key that `totals` has."""
        self._totals = dict(totals)
        self._keys = dict(keys or {})
        self.window = window

    def __getitem__(self, stream: str) -> StreamTotals:
        totals = self._totals.get(self._keys.get(stream, stream))
        if totals is not None:
            return totals
        parse_stream(stream)
        return StreamTotals()

    def __contains__(self, stream: object) -> bool:
        return stream in self._totals or stream in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._totals)

    def __len__(self) -> int:
        return len(self._totals)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples of the window: one a metric and set of dimensions. Empty with metrics_level="none"."""
        return self.window.samples

    def find(
        self, name: str, stream: str | None = None, shard: str | None = None, error_code: str | None = None
    ) -> Sample:
        """Return the sample of exactly these dimensions; without any, of all streams. See Window.find."""
        return self.window.find(name, stream, shard, error_code)

    def __repr__(self) -> str:
        return f"<Metrics of {', '.join(sorted(self)) or 'no streams yet'}: {len(self.samples)} samples>"
