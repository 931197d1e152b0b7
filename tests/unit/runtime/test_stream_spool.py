"""One stream's counts in the spool."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kplpy.runtime.stream_spool import SLOW, StreamSpool
from tests.inside import remembered_batches


def test_the_times_of_settled_batches_are_forgotten() -> None:
    """Also while memory is free, so that nobody asks if the pipeline is slow."""
    pipeline = SimpleNamespace(outstanding=0, in_outage=False)
    stream: Any = SimpleNamespace(pipeline=pipeline)
    spool = StreamSpool(stream, 0.01, lambda _: None, lambda: None)
    for number in range(1000):
        spool.note_accepted(10, float(number))
        pipeline.outstanding = 20
    assert remembered_batches(spool) <= 4
    assert not spool.is_slow(998.0 + SLOW)
    assert spool.is_slow(998.1 + SLOW)
    pipeline.outstanding = 0
    assert not spool.is_slow(998.1 + SLOW)
    assert remembered_batches(spool) == 0
