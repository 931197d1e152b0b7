"""Who counts what happens: handed to the engine, which knows nothing of metrics."""

from __future__ import annotations

from typing import Protocol

from kplpy.core.outcome import Completion
from kplpy.core.results.events import Events


class Meter(Protocol):
    """Told of each stream's answers on the thread that got them, before they are given. It must not raise."""

    def record(self, stream: str, events: Events, completions: list[Completion], accepted: int, now: float) -> None:
        """`stream`: its name, or the ARN that it is put by. `accepted`: its records so far. `now`: by
        time.monotonic()."""
        ...

    def awake(self) -> None:
        """There may be something to count again. Called often, by the scheduler; must return at once."""
        ...

    def abandon(self) -> None:
        """In a forked child: another thread may have held the locks."""
        ...


class NoMeter:
    """Counts nothing."""

    def record(self, stream: str, events: Events, completions: list[Completion], accepted: int, now: float) -> None:
        pass

    def awake(self) -> None:
        pass

    def abandon(self) -> None:
        pass
