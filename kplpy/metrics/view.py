"""What Producer.metrics() returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kplpy.metrics.sample import Sample, Window
from kplpy.reports import StreamTotals
from kplpy.stream_names import parse_stream


class Metrics(Mapping[str, StreamTotals]):
    """By stream the counts since the producer was made; and `window`, the samples of the time that was asked for.

    `metrics["orders"].user_records_put`; `metrics.find("TimeToAnswer", stream="orders").percentile(99)`.

    A stream that is put by name and by ARN is there once, by what it was first put by, and is found by both.
    As with a Counter, a stream that was not put to has zeros, and is neither iterated over nor `in` it.
    InvalidRecordError: no stream can be called so.
    """

    def __init__(
        self, totals: Mapping[str, StreamTotals], window: Window, keys: Mapping[str, str] | None = None
    ) -> None:
        """keys: by other names and ARNs of the streams, those that `totals` has."""
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
        """All metrics that were counted, by their dimensions; none with metrics_level="none"."""
        return self.window.samples

    def find(
        self, name: str, stream: str | None = None, shard: str | None = None, error_code: str | None = None
    ) -> Sample:
        """The sample of exactly these dimensions, one over all streams without any: see Window.find."""
        return self.window.find(name, stream, shard, error_code)

    def __repr__(self) -> str:
        return f"<Metrics of {', '.join(sorted(self)) or 'no streams yet'}: {len(self.samples)} samples>"
