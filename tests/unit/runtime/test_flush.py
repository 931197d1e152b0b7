"""What a flush counts that did not begin, or not end, within its timeout."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from kplpy import FlushTimeoutError, RecordFuture
from kplpy.core.pipeline import Pipeline
from kplpy.hash_keys import HashKeys
from kplpy.runtime.engine import Engine
from kplpy.runtime.flush import FlushWait, count_accepted
from kplpy.runtime.stream import Flush, Stream
from kplpy.validation import Checks
from tests.core_helpers import policy
from tests.stub_service import PATIENCE


class Idle:
    """An engine whose scheduler begins no flush."""

    def begin_flush(self, flushes: Sequence[tuple[Stream, Flush]]) -> None:
        self.flushes = flushes


def flush_of(stream: Stream) -> FlushWait:
    engine: Any = Idle()
    return FlushWait(cast(Engine, engine), [stream], lambda: None)


@pytest.fixture
def stream() -> Stream:
    return Stream("orders", None, Pipeline(policy(), lambda: 0.5), Checks(1 << 20, HashKeys()), lambda: None)


def test_one_without_records_is_over_whether_it_began_or_not(stream: Stream) -> None:
    flush_of(stream).finish(0)


def test_a_record_that_is_being_drained_counts(stream: Stream) -> None:
    """It is neither staged nor in the pipeline. close() once took this for the end, and lost the record."""
    stream.staging.append(RecordFuture(stream.origin, b"x", "k", None, 0, 1.0))
    taken, counted = threading.Event(), threading.Event()

    def drain() -> None:
        with stream.lock:
            records = stream.take_staged()
            taken.set()
            counted.wait(0.05)
            stream.pipeline.accept(records, 1.0)

    thread = threading.Thread(target=drain)
    wait = flush_of(stream)
    thread.start()
    assert taken.wait(PATIENCE)
    with pytest.raises(FlushTimeoutError, match="1 records had no outcome within 0 s") as raised:
        wait.finish(0)
    counted.set()
    thread.join()
    assert raised.value.remaining == 1


def test_accepted_records_are_counted_staged_and_drained(stream: Stream) -> None:
    """close() compares the count, because a callback may put between the begins of one flush on two streams."""
    records = [RecordFuture(stream.origin, b"x", "k", None, 0, 1.0) for _ in range(3)]
    stream.staging.extend(records)
    assert count_accepted([stream, stream]) == 6
    with stream.lock:
        stream.pipeline.accept(stream.take_staged(), 1.0)
    stream.staging.append(records[0])
    assert count_accepted([stream]) == 4
