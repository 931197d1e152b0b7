"""What the tests of RecordFuture make futures and outcomes with."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from kplpy import RecordFuture
from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.record import SendAttempt
from kplpy.futures.record_future import Origin
from kplpy.futures.resolve import resolve, run_callbacks
from tests.integration.reading import wait_until

PATIENCE = 30.0
ORIGIN = Origin("orders")


def pending(data: bytes = b"secret payload", key: str = "customer-7", origin: Origin = ORIGIN) -> RecordFuture:
    return RecordFuture(origin, data, key, None, 7, time.monotonic())


def delivered(sequence_number: str = "4711") -> Delivered:
    return Delivered("shardId-000000000003", sequence_number, SendAttempt(1000.0, 50.0, 50.5))


def failed(reason: Reason = Reason.REJECTED) -> Failed:
    return Failed(reason, "ValidationException: no", code="ValidationException")


def log_error(text: str, error: BaseException) -> None:
    logging.getLogger("kplpy.test").error(text, exc_info=error)


def give(outcome: Delivered | Failed, *futures: RecordFuture) -> None:
    """Set the outcome and run the callbacks, as a sender does."""
    run_callbacks(resolve(futures, outcome), log_error)


def until(reached: Callable[[], bool]) -> None:
    """Wait for something within concurrent.futures, which gives no signal."""
    wait_until(reached, PATIENCE)


async def in_thread(call: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, call)
