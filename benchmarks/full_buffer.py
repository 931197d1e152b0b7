"""Keeps a producer's buffer full, for measurements of what the producer delivers then."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kplpy import Producer

PART = 500


@contextmanager
def always_putting(producer: Producer, stream: str, items: Sequence[tuple[bytes, str]]) -> Iterator[None]:
    """Put the items again and again on another thread, PART at a time, until the block ends."""
    ended = threading.Event()

    def put() -> None:
        at = 0
        while not ended.is_set():
            producer.put_records(stream, items[at : at + PART])
            at = (at + PART) % len(items)

    putting = threading.Thread(target=put)
    putting.start()
    try:
        yield
    finally:
        ended.set()
        putting.join()
