"""flush_after: flushes at the end of each invocation of an AWS Lambda function.

Lambda freezes the environment after each invocation, so records and metrics must be sent before.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

from kplpy.errors import FlushTimeoutError
from kplpy.escaping import brief_repr
from kplpy.logs import log
from kplpy.producer import Producer

__all__ = ["flush_after"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def flush_after(
    *producers: Producer, margin: float = 0.5, on_timeout: Literal["raise", "log"] = "raise"
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a handler(event, context): after it returns or raises, flush the producers and their metrics.

    margin: seconds that the flush leaves of context.get_remaining_time_in_millis(), 0 or more. Without such a context,
    as in a test, the flush takes at most close_timeout_ms.
    on_timeout: what to do when the flush runs out of time. "raise": raise FlushTimeoutError, so that the invocation
    fails and its event is retried. "log": only log it. If the handler itself raised, its error is raised in any case.

    Records without an outcome stay buffered while the environment is frozen, and the next invocation sends them. If
    the freeze was long, their time to live has passed, and they fail with RecordExpiredError (see on_failure). If no
    invocation follows, they are lost.

    Raises TypeError or ValueError for arguments that are not valid, and TypeError for a coroutine function.
    """
    if not producers or not all(isinstance(each, Producer) for each in producers):
        raise TypeError(f"flush_after takes one or more Producers, got {brief_repr(producers)}")
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not margin >= 0:
        raise ValueError(f"margin must be 0 seconds or more, got {margin!r}")
    if on_timeout not in ("raise", "log"):
        raise ValueError(f"on_timeout must be 'raise' or 'log', got {on_timeout!r}")

    def decorate(handler: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(handler):
            raise TypeError(f"Lambda calls plain functions, and {brief_repr(handler)} is a coroutine function")

        @functools.wraps(handler)
        def flushing(*args: P.args, **kwargs: P.kwargs) -> R:
            context = args[1] if len(args) > 1 else kwargs.get("context")
            try:
                result = handler(*args, **kwargs)
            except BaseException:
                _log_late(_flush(producers, context, margin))
                raise
            late = _flush(producers, context, margin)
            if late is not None and on_timeout == "raise":
                raise late
            _log_late(late)
            return result

        return flushing

    return decorate


def _flush(producers: tuple[Producer, ...], context: Any, margin: float) -> FlushTimeoutError | None:
    """Flush all producers in the time that is left. Return one error for all that ran out of time, or None."""
    deadline = time.monotonic() + _seconds_left(producers, context, margin)
    left = []
    for producer in producers:
        try:
            producer.flush(timeout=max(0.0, deadline - time.monotonic()))
        except FlushTimeoutError as error:
            left.append(error)
    for producer in producers:
        producer._hand_over_metrics(max(0.0, deadline - time.monotonic()))
    if not left:
        return None
    remaining = sum(error.remaining for error in left)
    return FlushTimeoutError(f"{remaining} records had no outcome by the end of the invocation", remaining)


def _seconds_left(producers: tuple[Producer, ...], context: Any, margin: float) -> float:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return max(producer.config.close_timeout_ms for producer in producers) / 1000
    return max(0.0, float(remaining()) / 1000 - margin)


def _log_late(late: FlushTimeoutError | None) -> None:
    if late is not None:
        log(logger, "invocation_ended_early", {"records": late.remaining})
