"""`kplpy spool`: shows, checks, sends and exports what producers left in a spool."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kplpy.cli.connection import Connection, connection_options
from kplpy.cli.progress import duration, say, show_progress, show_warnings, size
from kplpy.cli.settings import build_config, producer_options
from kplpy.cli.stop import Interrupted, Stop
from kplpy.errors import FlushTimeoutError, SpoolError

if TYPE_CHECKING:
    from kplpy.spool.directory import FoundPart
    from kplpy.spool.part import StreamTotals

# A flush waits for at most this long at a time, so that the rate is measured and a signal is noticed.
_WAIT_S = 0.5

_directory = click.argument("directory", metavar="PATH", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group()
def spool() -> None:
    """Show, check, send or export the records that producers left in a spool."""


@spool.command()
@_directory
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each part.")
def ls(directory: Path, as_json: bool) -> None:
    """Print the parts of the spool at PATH: who uses them, and what each stream has in them.

    A part is "left" if its process is gone. The next producer with this spool sends its records.
    """
    from kplpy.spool.directory import list_parts
    from kplpy.spool.inspection import totals_of

    unreadable = False
    for part in list_parts(directory):
        try:
            streams, fault = totals_of(part.path), None
        except SpoolError as error:
            streams, fault, unreadable = {}, str(error), True
        if as_json:
            click.echo(json.dumps(_as_json(part, streams, fault)))
        else:
            for line in _as_text(part, streams, fault):
                click.echo(line)
    damaged = sorted(directory.glob("*.spool.damaged"))
    if not as_json:
        for path in damaged:
            click.echo(f"{path.name}  damaged; its sound rows are in another part")
    sys.exit(1 if unreadable else 0)


def _as_text(part: FoundPart, streams: dict[str, StreamTotals], fault: str | None) -> Iterator[str]:
    state = "left" if part.holder is None else f"in use by process {part.holder}"
    if fault is not None:
        yield f"{part.path.name}  {state}  cannot be read: {fault}"
        return
    records = sum(each.records for each in streams.values())
    yield f"{part.path.name}  {state}  {records:,} records, {size(sum(each.bytes for each in streams.values()))}"
    for name, totals in sorted(streams.items()):
        age = duration(max(0.0, time.time() - totals.oldest))
        yield f"  {name}  {totals.records:,} records, {size(totals.bytes)}, the oldest {age} old"


def _as_json(part: FoundPart, streams: dict[str, StreamTotals], fault: str | None) -> dict[str, Any]:
    return {
        "path": str(part.path),
        "process": part.holder,
        "streams": {name: totals._asdict() for name, totals in sorted(streams.items())},
        **({} if fault is None else {"error": fault}),
    }


@spool.command()
@_directory
def verify(directory: Path) -> None:
    """Read all of the spool at PATH and print what is damaged. The exit code is 1 if anything is."""
    from kplpy.spool.directory import list_parts
    from kplpy.spool.inspection import faults_of

    parts = list_parts(directory)
    count = 0
    for part in parts:
        faults = faults_of(part.path)
        for fault in faults:
            click.echo(f"{part.path}: {fault}")
        count += len(faults)
    for path in sorted(directory.glob("*.spool.damaged")):
        click.echo(f"{path}: damaged; its sound rows are in another part")
        count += 1
    if not count:
        click.echo(f"{len(parts)} part{'' if len(parts) == 1 else 's'}: sound")
    sys.exit(1 if count else 0)


@spool.command()
@_directory
@click.option("--all", "with_used", is_flag=True, help="Export the records of running producers, too.")
def export(directory: Path, with_used: bool) -> None:
    """Print the records that were left in the spool at PATH as JSON lines, which `kplpy put --from-failed` reads.

    Nothing is removed. A record of a running producer (--all) may be delivered before it is printed.
    """
    from kplpy.dead_letters.entry import describe_data, describe_headers, line_of
    from kplpy.spool.directory import list_parts
    from kplpy.spool.inspection import rows_of
    from kplpy.wire.tags import decode_tags

    failed = False
    output = sys.stdout.buffer
    for part in list_parts(directory):
        if part.holder is not None and not with_used:
            say(f"{part.path.name} is in use by process {part.holder} and left out (--all)")
            continue
        try:
            for row in rows_of(part.path):
                for index, (data, key, hash_key, tags) in enumerate(row.records):
                    if row.answered is None or not row.answered[index]:
                        entry: dict[str, Any] = {"stream": row.stream, **describe_data(data)}
                        entry |= {"partition_key": key, "explicit_hash_key": hash_key}
                        output.write(line_of(entry | describe_headers(decode_tags(tags))))
        except SpoolError as error:
            say(str(error))
            failed = True
    output.flush()
    sys.exit(1 if failed else 0)


@spool.command()
@_directory
@click.option("--failed", metavar="FILE", type=click.Path(dir_okay=False), help="Append failed records to FILE.")
@producer_options
@connection_options
def send(
    connection: Connection,
    directory: Path,
    failed: str | None,
    config: str | None,
    settings: tuple[str, ...],
    quiet: bool,
) -> None:
    """Send what was left in the spool at PATH, and wait until all is answered.

    Ctrl-C ends the command. Records without an answer stay in the spool. The exit code is 1 if any record failed.
    """
    from kplpy import Producer
    from kplpy.cli.failed import Failures

    show_warnings()
    producer_config = build_config(connection, config, settings, {})
    with Failures(failed) as failures, Stop().handled() as stop:
        producer = Producer(
            replace(producer_config, spool=directory, on_failure=failures.record_failed, close_timeout_ms=0)
        )
        began, total, left = time.monotonic(), producer.recovered, producer.recovered
        try:
            with show_progress(lambda: f"{total - left:,} of {total:,} records sent", quiet=quiet):
                while left and not stop.signal:
                    try:
                        stop.waiting = True
                        producer.flush(timeout=_WAIT_S)
                        left = 0
                    except FlushTimeoutError as error:
                        left = error.remaining
        except (Interrupted, KeyboardInterrupt):
            pass
        finally:
            stop.waiting = False
            producer.close()
    if not quiet:
        sent = total - left - failures.count
        say(f"sent {sent:,} of {total:,} records in {time.monotonic() - began:.1f} s")
    if left:
        say(f"{left:,} records stay in the spool")
    for line in [f"{failures.count:,} records failed:"] * bool(failures.count) + failures.report():
        say(line)
    sys.exit(stop.exit_code if stop.signal else 1 if failures.count or left else 0)
