"""In AWS Lambda: flush at the end of each invocation, before the environment is frozen; records, and metrics."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar

from kplpy.errors import FlushTimeoutError
from kplpy.logs import log
from kplpy.producer import Producer

__all__ = ["flush_after"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def flush_after(
    *producers: Producer, margin: float = 0.5, on_timeout: Literal["raise", "log"] = "raise"
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for a handler(event, context): when it has returned or raised, flush the producers, and let their
    metrics' sinks have what was counted.

    The flush may take what context.get_remaining_time_in_millis() says is left, but for `margin` seconds; without such
    a context (in a test), close_timeout_ms. What has no answer by then stays buffered while the environment is frozen:
    the next invocation goes on with it, but its time to live has passed by then if the freeze was long
    (RecordExpiredError, on_failure), and if there is none, it is lost.

    on_timeout: then "raise" FlushTimeoutError, so that the invocation fails and its event is tried again, or only
    "log" it. When the handler has raised itself, it is logged, and the handler's error goes on.
    """
    if not producers or not all(isinstance(each, Producer) for each in producers):
        raise TypeError(f"flush_after takes one or more Producers, got {producers!r:.80}")
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not margin >= 0:
        raise ValueError(f"margin must be 0 seconds or more, got {margin!r}")
    if on_timeout not in ("raise", "log"):
        raise ValueError(f"on_timeout must be 'raise' or 'log', got {on_timeout!r}")

    def decorate(handler: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(handler):
            raise TypeError(f"Lambda calls plain functions, and {handler!r:.80} is a coroutine function")

        @functools.wraps(handler)
        def flushing(*args: P.args, **kwargs: P.kwargs) -> R:
            context = args[1] if len(args) > 1 else kwargs.get("context")
            try:
                result = handler(*args, **kwargs)
            except BaseException:
                _log_what_is_left(_flush(producers, context, margin))
                raise
            late = _flush(producers, context, margin)
            if late is not None and on_timeout == "raise":
                raise late
            _log_what_is_left(late)
            return result

        return flushing

    return decorate


def _flush(producers: tuple[Producer, ...], context: Any, margin: float) -> FlushTimeoutError | None:
    """All of them, in the time that is left; the errors of several as one."""
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
    return FlushTimeoutError(f"{remaining} records were not answered by the end of the invocation", remaining)


def _seconds_left(producers: tuple[Producer, ...], context: Any, margin: float) -> float:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return max(producer.config.close_timeout_ms for producer in producers) / 1000
    return max(0.0, float(remaining()) / 1000 - margin)


def _log_what_is_left(late: FlushTimeoutError | None) -> None:
    if late is not None:
        log(logger, "invocation_ended_early", {"records": late.remaining})
