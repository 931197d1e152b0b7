"""`kplpy top`: shows the state of running producers, shard by shard."""

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

READ_TIMEOUT_S = 3.0
"""Timeout of each read from a producer's socket, in seconds."""
BAR, NARROW_BAR, NARROW_NAME = 20, 10, 16
UNLIMITED = 10_000
"""Width in columns without a terminal, so that nothing is cut or wrapped."""
NOT_COUNTED = "–"


@click.command()
@click.argument("path")
@click.option("--once", is_flag=True, help="Print the state once and end. This is the default without a terminal.")
@click.option(
    "--interval", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="Seconds between updates."
)
def top(path: str, once: bool, interval: float) -> None:
    """Show running producers made with stats_path=PATH. q or Ctrl-C ends the command.

    For each shard it shows the used part of the limit, throttled Kinesis records, retries, and the time from put to
    result.
    """
    console = Console() if sys.stdout.isatty() else Console(width=UNLIMITED)
    if once or not console.is_terminal:
        found = read_producers(path)
        if not found:
            raise click.ClickException(
                f"no producer found at {path}: a producer with stats_path={path!r} can be seen from its first record "
                "until it is closed"
            )
        console.print(render(path, found))
        return
    # A shell starts background commands with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with (
            _keyboard() as wait_for_key,
            Live(render(path, read_producers(path)), console=console, screen=True) as live,
        ):
            while wait_for_key(interval) not in ("q", "Q"):
                live.update(render(path, read_producers(path)), refresh=True)
    except KeyboardInterrupt:
        pass


def read_producers(path: str) -> dict[int, dict[str, Any]]:
    """Return the statistics of the producers at `path` by process id. Files of ended processes are removed."""
    found: dict[int, dict[str, Any]] = {}
    for name in sorted(glob.glob(f"{glob.escape(path)}.*")):
        process = name[len(path) + 1 :]
        if not process.isdecimal():
            continue
        try:
            found[int(process)] = json.loads(_read(name))
        except ConnectionRefusedError:
            with suppress(OSError):  # another `kplpy top` removed it
                os.unlink(name)
        except (OSError, ValueError):  # it just ended, belongs to another user, or is no socket
            continue
    return found


def _read(name: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(READ_TIMEOUT_S)
        connection.connect(name)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def render(path: str, found: dict[int, dict[str, Any]]) -> Group:
    if not found:
        return Group(Text(f"no producer at {path}"))
    return Group(*(part for process, stats in found.items() for part in _producer(process, stats)))


def _producer(process: int, stats: dict[str, Any]) -> Iterator[Text | ShardTable]:
    yield Text(
        f"process {process}: {stats['buffered_records']:,} of {stats['max_buffered_records']:,} records and "
        f"{size(stats['buffered_bytes'])} of {size(stats['max_buffered_bytes'])} buffered; "
        f"the last {stats['seconds']} s"
    )
    if spool := stats.get("spool"):
        yield Text(_spool_line(spool))
    yield ShardTable(stats)


def _spool_line(spool: dict[str, float | None]) -> str:
    text = (
        f"spool: {spool['records']:,} records, {size(spool['bytes'] or 0)}, "
        f"the oldest {(spool['oldest_ms'] or 0) / 1000:.1f} s old"
    )
    if spool["syncs_per_second"] is not None:
        text += f"; {spool['syncs_per_second']:,.0f} syncs/s, {spool['errors']:,.0f} errors"
    return text


HEADINGS = ("records/s", "bytes/s", "throttled", "retries", "mean ms", "p50 ms", "p99 ms", "max ms")
NARROW_HEADINGS = ("rec/s", *HEADINGS[1:])
DISPENSABLE = ("p50 ms", "mean ms", "retries", "p99 ms", "max ms", "records/s")
"""Columns to leave out on a narrow terminal, in this order."""


class ShardTable:
    """A table of a producer's streams and shards, fitted to the console's width.

    On a narrow console the bars get shorter, then columns are left out. Names are wrapped. Numbers are never cut.

    stats: what the producer's stats socket sends.
    """

    def __init__(self, stats: dict[str, Any]) -> None:
        self._stats = stats

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbound = options.update(width=UNLIMITED)
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
        for name, stream in self._stats["streams"].items():
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
    """Return a bar of the used part of the shard's limit.

    used: percent of the shard's limit that the shard accepted. limit: percent that the rate limiter allows at present.
    The bar is red from 90 % of `limit` on.
    """
    filled = min(width, round(used / 100 * width))
    style = "red" if used >= 0.9 * limit else "green"
    return Text.assemble(("█" * filled, style), ("░" * (width - filled), "dim"), f" {used:3.0f} %")


@contextmanager
def _keyboard() -> Iterator[Any]:
    """Yield a function that waits some seconds for a key and returns the key, or "" if none was pressed."""
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

    def wait_for_key(seconds: float) -> str:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        return os.read(keyboard, 1).decode("latin-1") if ready else ""

    try:
        tty.setcbreak(keyboard)
        yield wait_for_key
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
