"""kplpy top: how running producers stand, shard by shard."""

from __future__ import annotations

import glob
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import compress
from typing import Any

import click
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from kplpy.cli.progress import size
from kplpy.escaping import escape_controls

PATIENCE = 3.0
"""Seconds that a producer may take to tell how it stands."""
BAR, NARROW_BAR, NARROW_NAME = 20, 10, 16
UNCUT = 10_000
"""Columns where there is no terminal: nothing is cut or broken for a width that nobody has."""
NOT_COUNTED = "–"


@click.command()
@click.argument("path")
@click.option("--once", is_flag=True, help="Print how things stand now, and end; so it is without a terminal.")
@click.option("--interval", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="Seconds.")
def top(path: str, once: bool, interval: float) -> None:
    """Show running producers made with stats_path=PATH; q or Ctrl-C ends it.

    For each shard: how much of its limit is used, throttled Kinesis records, retries and the time to answer.
    """
    console = Console() if sys.stdout.isatty() else Console(width=UNCUT)
    if once or not console.is_terminal:
        found = producers(path)
        if not found:
            raise click.ClickException(
                f"no producer is to be found at {path}: one that was made with stats_path={path!r} is from its first "
                "record until it is closed"
            )
        console.print(drawn(path, found))
        return
    # A shell starts what runs in its background with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _keys() as pressed, Live(drawn(path, producers(path)), console=console, screen=True) as live:
            while pressed(interval) not in ("q", "Q"):
                live.update(drawn(path, producers(path)), refresh=True)
    except KeyboardInterrupt:
        pass


def producers(path: str) -> dict[int, dict[str, Any]]:
    """By process id what the producers at `path` tell. The files of processes that are gone are removed."""
    found: dict[int, dict[str, Any]] = {}
    for name in sorted(glob.glob(f"{glob.escape(path)}.*")):
        process = name[len(path) + 1 :]
        if not process.isdecimal():
            continue
        try:
            found[int(process)] = json.loads(_read(name))
        except ConnectionRefusedError:
            with suppress(OSError):  # another one that looks was faster
                os.unlink(name)
        except (OSError, ValueError):  # it ended just now, or is not ours, or no socket
            continue
    return found


def _read(name: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(name)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def drawn(path: str, found: dict[int, dict[str, Any]]) -> Group:
    if not found:
        return Group(Text(f"no producer at {path}"))
    return Group(*(part for process, told in found.items() for part in _producer(process, told)))


def _producer(process: int, told: dict[str, Any]) -> Iterator[Text | ShardTable]:
    yield Text(
        f"process {process}: {told['buffered_records']:,} of {told['max_buffered_records']:,} records and "
        f"{size(told['buffered_bytes'])} of {size(told['max_buffered_bytes'])} buffered; "
        f"the last {told['seconds']} s"
    )
    yield ShardTable(told)


HEADINGS = ("records/s", "bytes/s", "throttled", "retries", "mean ms", "p50 ms", "p99 ms", "max ms")
NARROW_HEADINGS = ("rec/s", *HEADINGS[1:])
DISPENSABLE = ("p50 ms", "mean ms", "retries", "p99 ms", "max ms", "records/s")
"""The columns that are left out where the terminal is too narrow, the first one first."""


class ShardTable:
    """What a producer tells of its streams, shard by shard, as wide as it may be.

    Where that is too narrow for all, the bars are shorter, then columns are left out. Names are broken into lines, and
    numbers are never cut.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbound = options.update(width=UNCUT)
        table = self._table(BAR, ())
        for hidden in range(len(DISPENSABLE) + 1):
            if Measurement.get(console, unbound, table).maximum <= options.max_width:
                break
            table = self._table(NARROW_BAR, DISPENSABLE[:hidden])
        yield table

    def _table(self, bar: int, hidden: Collection[str]) -> Table:
        narrow = bar < BAR
        table = Table(box=None, pad_edge=False)
        table.add_column(
            "stream, shards", no_wrap=not narrow, overflow="fold", max_width=NARROW_NAME if narrow else None
        )
        table.add_column("used limit", no_wrap=not narrow, min_width=bar + 6, max_width=bar + 6 if narrow else None)
        shown = [each not in hidden for each in HEADINGS]
        for heading in compress(NARROW_HEADINGS if narrow else HEADINGS, shown):
            table.add_column(heading, justify="right", no_wrap=True)
        for name, stream in self._told["streams"].items():
            waiting = f"{stream['outstanding_records']:,} waiting, {stream['oldest_ms'] / 1000:.1f} s"
            table.add_row(
                Text(escape_controls(name), style="bold"), Text(waiting), *compress(_cells(stream["counts"]), shown)
            )
            for shard, use in stream["shards"].items():
                used = _bar(use["used_percent"], use["limit_percent"], bar)
                short = shard.removeprefix("shardId-").lstrip("0") or "0"
                table.add_row(Text(f"  {escape_controls(short)}"), used, *compress(_cells(use["counts"]), shown))
        return table


def _cells(counts: dict[str, float | None] | None) -> list[str]:
    if counts is None:
        return [NOT_COUNTED] * len(HEADINGS)
    numbers = [counts["records_per_second"] or 0, counts["throttled"] or 0, counts["retries"] or 0]
    records, throttled, retries = (f"{number:,.0f}" for number in numbers)
    latencies = [counts[name] for name in ("average_ms", "p50_ms", "p99_ms", "max_ms")]
    times = [NOT_COUNTED if each is None else f"{each:,.0f}" for each in latencies]
    return [records, size(counts["bytes_per_second"] or 0), throttled, retries, *times]


def _bar(used: float, limit: float, width: int) -> Text:
    """What the shard takes of its own limit; red when that is nearly all that it is sent at most."""
    filled = min(width, round(used / 100 * width))
    style = "red" if used >= 0.9 * limit else "green"
    return Text.assemble(("█" * filled, style), ("░" * (width - filled), "dim"), f" {used:3.0f} %")


@contextmanager
def _keys() -> Iterator[Any]:
    """Yields a function that waits so many seconds for a key, and returns it, or "" when none was pressed."""
    if not sys.stdin.isatty():

        def sleep(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield sleep
        return
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        return os.read(keyboard, 1).decode("latin-1") if ready else ""

    try:
        tty.setcbreak(keyboard)
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
