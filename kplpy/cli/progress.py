"""How far it is: a line that renews itself on a terminal, nothing (or a line now and then) in a pipe."""

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
    """A line on standard error, if anybody still reads it. Control characters in it are escaped."""
    if sys.stderr is None:  # closed before we began
        return
    try:
        sys.stderr.write(f"{escape_controls(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # a closed pipe, a closed file
        pass


class Speed:
    """Units a second over the last few seconds."""

    def __init__(self, seconds: float = 3.0) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, float]] = deque([(time.monotonic(), 0.0)])

    def at(self, total: float) -> float:
        """The speed, now that the total is this."""
        now = time.monotonic()
        self._seen.append((now, total))
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._seconds:
            self._seen.popleft()
        since, before = self._seen[0]
        return (total - before) / max(now - since, 1e-3)


@contextmanager
def shown(
    line: Callable[[], str],
    *,
    quiet: bool = False,
    plain_every: float | None = None,
    below: Callable[[], RenderableType] | None = None,
) -> Iterator[None]:
    """Show what `line` returns while the block runs, on a terminal with what `below` does; in a pipe every
    `plain_every` seconds, or not at all. Two spaces part what must not be torn by the edge of a terminal."""
    if quiet:
        yield
    elif sys.stderr is not None and sys.stderr.isatty():
        with _live(line, below):
            yield
    elif plain_every is not None:
        with _now_and_then(line, plain_every):
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
    """The line in as many rows as it takes, broken only where two spaces are."""
    rows: list[str] = []
    for part in line.split("  "):
        if rows and len(rows[-1]) + 2 + len(part) <= width:
            rows[-1] += f"  {part}"
        else:
            rows.append(part)
    return "\n".join(rows)


@contextmanager
def _now_and_then(line: Callable[[], str], seconds: float) -> Iterator[None]:
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(seconds):
            say(line())

    thread = threading.Thread(target=tell, name="kplpy-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"kplpy: {record.getMessage()}")  # sys.stderr goes above the live line


def show_warnings() -> None:
    """What kplpy logs as a warning or worse is said on standard error."""
    logger = logging.getLogger("kplpy")
    if not any(isinstance(each, _Log) for each in logger.handlers):
        logger.addHandler(_Log(logging.WARNING))
    logger.propagate = False
    # put says itself what an end before everything was delivered means.
    logging.getLogger("kplpy.producer").setLevel(logging.CRITICAL)


def duration(seconds: float) -> str:
    """As people read it: 0:07, 12:34, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count:,.0f} B"
