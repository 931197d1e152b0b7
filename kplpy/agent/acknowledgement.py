"""What the service has accepted of each file: the contiguous part from the file's beginning."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from kplpy import RecordFuture

if TYPE_CHECKING:
    from kplpy.agent.tailing import TailedFile

_done, _exception = RecordFuture.done, RecordFuture.exception

Failed = Callable[["Part", int, RecordFuture, Exception], object]
"""Called with a part, the index of its record that failed, its future and the error."""


class Part:
    """Records of one file that were put together, in the file's order.

    file: where they are from.
    end: the offset behind the part, with all that is not sent between its records.
    futures: one for each record; None: the record waits to be put again, or was dropped.
    open: indexes of the records that failed and have no new future yet.
    raw_bytes: of the records, as they were read.
    charge: bytes counted as outstanding.
    """

    __slots__ = ("charge", "end", "file", "futures", "open", "passed", "raw_bytes")

    def __init__(
        self, file: TailedFile, end: int, futures: list[RecordFuture | None], raw_bytes: int, charge: int
    ) -> None:
        self.file = file
        self.end = end
        self.futures = futures
        self.open: set[int] = set()
        self.passed = 0  # so many of the first records need no other look
        self.raw_bytes = raw_bytes
        self.charge = charge

    def settle(self, failed: Failed) -> bool:
        """Look at the outcomes. Return True if no record is left to wait for.

        failed: called once for each failure.
        """
        futures, at = self.futures, self.passed
        if at == 0 and futures:
            last = futures[-1]
            if last is not None and last.done():
                rest: list[RecordFuture] = futures  # type: ignore[assignment]
                # 0.1 µs a record, with C's loops; most parts are done as a whole
                if None not in futures and all(map(_done, rest)) and not any(map(_exception, rest)):
                    self.passed = len(futures)
                    return True
        while at < len(futures) and at not in self.open:
            future = futures[at]
            if future is not None:
                if not future.done():
                    break
                if (error := future.exception()) is not None:
                    self._fail(at, future, error, failed)
                    break
            at += 1
        self.passed = at
        return at == len(futures)

    def collect_failed(self, failed: Failed) -> None:
        """Report all failures in the part, also behind records without an outcome."""
        for at in range(self.passed, len(self.futures)):
            future = self.futures[at]
            if future is not None and future.done() and (error := future.exception()) is not None:
                self._fail(at, future, error, failed)

    def _fail(self, at: int, future: RecordFuture, error: Exception, failed: Failed) -> None:
        self.futures[at] = None
        self.open.add(at)
        failed(self, at, future, error)

    def put_again(self, at: int, future: RecordFuture) -> None:
        """Note the new future of a record that had failed."""
        self.futures[at] = future
        self.open.discard(at)

    def drop(self, at: int) -> None:
        """Give a record up that had failed."""
        self.open.discard(at)


class Frontier:
    """The parts of one file without an outcome, oldest first."""

    __slots__ = ("file", "parts")

    def __init__(self, file: TailedFile) -> None:
        self.file = file
        self.parts: deque[Part] = deque()

    def advance(self, failed: Failed) -> list[Part]:
        """Remove the parts that need no more waiting from the beginning, and return them."""
        passed = []
        parts = self.parts
        while parts and parts[0].settle(failed):
            passed.append(parts.popleft())
        return passed
