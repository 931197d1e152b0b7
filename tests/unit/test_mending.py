"""A stream's core made anew: the records keep the order in which they were put."""

from __future__ import annotations

from kplpy.core.pipeline import Pipeline
from kplpy.future import RecordFuture
from kplpy.runtime.admission import Room
from kplpy.runtime.mending import mend
from kplpy.runtime.stream import Stream
from tests.core_helpers import POLICY


def pipeline() -> Pipeline:
    return Pipeline(POLICY, lambda: 0.5)


def test_records_keep_their_order_though_they_arrived_at_once() -> None:
    stream = Stream("orders", None, pipeline(), lambda: None)
    # Made in another order than they were put, for they are found among the garbage collector's objects.
    made = [RecordFuture(stream.origin, b"x", "k", None, 0, 1.0) for _ in range(100)]
    put = made[::-1]
    stream.pipeline.accept(put[:30], 1.0)  # these have their numbers; the others were interrupted on their way
    stream.draining = put
    stream.broken = KeyboardInterrupt()
    fresh = pipeline()
    mend(stream, fresh, Room(1000, 1 << 20), 1.0)
    assert not stream.being_answered
    assert fresh.outstanding == 100
    assert [each.number for each in put] == list(range(100))
