"""Progress on standard error: a live line on a terminal; in a pipe nothing, or a line every few seconds."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kplpy.escaping import escape_controls

if TYPE_CHECKING:
    from rich.console import RenderableType


def say(text: str) -> None:
    """Write a line to standard error, with control characters escaped. A closed standard error is ignored."""
    if sys.stderr is None:  # closed before this process began
        return
    try:
        sys.stderr.write(f"{escape_controls(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # a closed pipe, a closed file
        pass


class Speed:
    """Measures units a second over the last `seconds`."""

    def __init__(self, seconds: float = 3.0) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, float]] = deque([(time.monotonic(), 0.0)])

    def at(self, total: float) -> float:
        """Add a sample of the total, and return the speed in units a second."""
        now = time.monotonic()
        self._samples.append((now, total))
        while len(self._samples) > 2 and self._samples[1][0] <= now - self._seconds:
            self._samples.popleft()
        since, before = self._samples[0]
        return (total - before) / max(now - since, 1e-3)


@contextmanager
def show_progress(
    line: Callable[[], str],
    *,
    quiet: bool = False,
    plain_every: float | None = None,
    below: Callable[[], RenderableType] | None = None,
) -> Iterator[None]:
    """Show what `line` returns while the block runs.

    On a terminal the line is redrawn four times a second, with the result of `below` under it. In a pipe a line is
    written every `plain_every` seconds, or never if that is None. On a narrow terminal the line is broken only
    where it has two spaces.
    """
    if quiet:
        yield
    elif sys.stderr is not None and sys.stderr.isatty():
        with _live(line, below):
            yield
    elif plain_every is not None:
        with _write_periodically(line, plain_every):
            yield
    else:
        yield


@contextmanager
def _live(line: Callable[[], str], below: Callable[[], RenderableType] | None) -> Iterator[None]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)

    def render() -> RenderableType:
        text = Text(in_rows(line(), console.width))
        return text if below is None else Group(text, below())

    with Live(get_renderable=render, console=console, refresh_per_second=4, transient=True, redirect_stdout=False):
        yield


def in_rows(line: str, width: int) -> str:
    """Return the line wrapped to `width`, broken only where it has two spaces."""
    rows: list[str] = []
    for part in line.split("  "):
        if rows and len(rows[-1]) + 2 + len(part) <= width:
            rows[-1] += f"  {part}"
        else:
            rows.append(part)
    return "\n".join(rows)


@contextmanager
def _write_periodically(line: Callable[[], str], seconds: float) -> Iterator[None]:
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(seconds):
            say(line())

    thread = threading.Thread(target=report, name="kplpy-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class LogLines(logging.Handler):
    """Writes log messages to standard error, after `kplpy:`, or with their time (UTC) and level."""

    def __init__(self, level: int, with_time: bool = False) -> None:
        super().__init__(level)
        self._with_time = with_time

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if self._with_time:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
            say(f"{at} {record.levelname} {message}")
        else:
            say(f"kplpy: {message}")  # rich prints sys.stderr above the live line


def show_warnings() -> None:
    """Write kplpy's log messages of level WARNING and above to standard error."""
    logger = logging.getLogger("kplpy")
    if not any(isinstance(each, LogLines) for each in logger.handlers):
        logger.addHandler(LogLines(logging.WARNING))
    logger.propagate = False
    # The summary of `put` reports undelivered records itself.
    logging.getLogger("kplpy.producer").setLevel(logging.CRITICAL)


def duration(seconds: float) -> str:
    """Return seconds as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float) -> str:
    """Return bytes as text with a decimal unit: B, kB, MB or GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count:,.0f} B"
