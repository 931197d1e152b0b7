"""The interface of what counts events. The engine gets an implementation, and knows nothing of metrics."""

from __future__ import annotations

from typing import Protocol

from kplpy.core.gauges import SpoolEvent
from kplpy.core.outcome import Completion
from kplpy.core.results.events import Events


class Meter(Protocol):
    """Called on the thread that delivers a stream's results, before it sets the outcomes. Must not raise."""

    def record(self, stream: str, events: Events, completions: list[Completion], accepted: int, now: float) -> None:
        """Count a stream's events and completions.

        stream: the name or ARN that it is put by. accepted: its records so far. now: by time.monotonic().
        """
        ...

    def spool(self, event: SpoolEvent, amount: float) -> None:
        """Count what happened in the spool. Called on any thread of kplpy. amount: see SpoolEvent."""
        ...

    def awake(self) -> None:
        """Note that there may be something to count again. Called often by the scheduler; must return at once."""
        ...

    def abandon(self) -> None:
        """Replace the locks in a forked child, because another thread may have held them."""
        ...


class NoMeter:
    """Counts nothing. Called on any thread."""

    def record(self, stream: str, events: Events, completions: list[Completion], accepted: int, now: float) -> None:
        pass

    def spool(self, event: SpoolEvent, amount: float) -> None:
        pass

    def awake(self) -> None:
        pass

    def abandon(self) -> None:
        pass
