"""`kplpy tail`: what is on a stream, record by record, as it was put."""

from __future__ import annotations

import json
import re
import select
import signal
import sys
import time
from datetime import datetime, timedelta, timezone
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from kplpy.cli.connection import Connection, connection_options, explain, make_client, place
from kplpy.cli.progress import say
from kplpy.dead_letters.entry import describe_data
from kplpy.escaping import escape_controls

if TYPE_CHECKING:
    from kplpy import UserRecord
    from kplpy.cli.reader import Start, StreamReader


def _timestamp(context: click.Context, option: click.Parameter, text: str | None) -> datetime | None:
    """ISO 8601 (UTC unless it says otherwise), seconds since 1970, or an age such as 90s, 15m, 2h, 1d."""
    if text is None:
        return None
    now = datetime.now(timezone.utc)
    age = re.fullmatch(r"(\d{1,9})([smhd])", text)
    try:
        if age:
            moment = now - timedelta(seconds=int(age[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[age[2]])
        elif re.fullmatch(r"\d{1,11}(\.\d+)?", text):
            moment = datetime.fromtimestamp(float(text), timezone.utc)
        else:
            # Python 3.10 reads no Z.
            moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"must be like 2026-11-23T06:00:00Z, seconds since 1970, or an age like 15m (s, m, h, d); got {text!r}"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    if moment > now:
        raise click.BadParameter(f"{text} lies in the future; what comes from now on needs no option")
    return moment


@click.command()
@click.argument("stream")
@click.option(
    "--from-start", is_flag=True, help="Begin with the oldest record; without it, with what comes from now on."
)
@click.option(
    "--at-timestamp",
    metavar="TIME",
    callback=_timestamp,
    help="Begin with the records that arrived since: 2026-11-23T06:00:00Z, seconds since 1970, or an age like 15m.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a record, with its key, shard and numbers.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after N records.")
@click.option(
    "--until-idle", type=click.FloatRange(min=0), metavar="SECONDS", help="End when nothing came for so long."
)
@click.option("--no-follow", is_flag=True, help="End when each shard was read up to its latest record.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two reads of a quiet shard; a shard takes 5 reads a second from all its readers together.",
)
@click.option("-q", "--quiet", is_flag=True, help="Nothing on standard error but errors.")
@connection_options
def tail(
    connection: Connection,
    stream: str,
    from_start: bool,
    at_timestamp: datetime | None,
    as_json: bool,
    limit: int | None,
    until_idle: float | None,
    no_follow: bool,
    interval: float,
    quiet: bool,
) -> None:
    """Read all shards of STREAM (a name or an ARN) and print its records, aggregated ones taken apart.

    A line for each record's data, or with --json an object. On a terminal control characters of the data are shown
    escaped, in a pipe they are as they were put. Shards that are split or merged are followed into their
    children. Ctrl-C ends it.
    """
    from botocore.exceptions import ClientError

    from kplpy.cli.reader import Start, StreamReader
    from kplpy.config.options import Config

    if from_start and at_timestamp:
        raise click.UsageError("--from-start and --at-timestamp contradict each other: give one of them")
    start = Start("AT_TIMESTAMP", at_timestamp) if at_timestamp else Start("TRIM_HORIZON" if from_start else "LATEST")
    if no_follow and start.kind == "LATEST":
        raise click.UsageError("--no-follow needs --from-start or --at-timestamp: from now on there is nothing to read")
    signal.signal(signal.SIGTERM, _end)

    def notice(text: str) -> None:
        if not quiet:
            say(text)

    client = make_client(Config(**connection.fields()))
    reader = StreamReader(client, place(stream), start, follow=not no_follow, idle=interval, notice=notice)
    try:
        shards = reader.open()
        notice(f"reading {shards} shard{'' if shards == 1 else 's'} of {stream} {_words(start)}")
        _print(reader, stream, as_json, limit, until_idle)
    except ClientError as error:
        raise click.ClickException(explain(error, stream)) from error
    finally:
        reader.close()


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _words(start: Start) -> str:
    if start.timestamp is not None:
        return f"since {start.timestamp.isoformat(timespec='seconds')}"
    return "from the oldest record on" if start.kind == "TRIM_HORIZON" else "from now on"


def _print(reader: StreamReader, stream: str, as_json: bool, limit: int | None, until_idle: float | None) -> None:
    out = sys.stdout.buffer
    line_of = _line_for_terminal if sys.stdout.isatty() else _line
    printed = 0
    last = time.monotonic()
    # Looked at often enough that an end is not much later than asked for.
    for found in reader.batches(poll=0.5 if until_idle is None else min(0.5, max(0.05, until_idle / 4))):
        if found is not None and found.records:
            last = time.monotonic()
            records = found.records if limit is None else found.records[: limit - printed]
            printed += len(records)
            # In one piece: under PYTHONUNBUFFERED every write goes out by itself.
            if as_json:
                out.write(b"".join(_object(each, stream, found.shard_id) for each in records))
            else:
                out.write(b"".join(line_of(each.data) for each in records))
            out.flush()
            if printed == limit:
                return
        elif _nobody_reads():
            raise BrokenPipeError
        if until_idle is not None and reader.caught_up and time.monotonic() - last >= until_idle:
            return


def _line(data: bytes) -> bytes:
    return data + b"\n"


def _line_for_terminal(data: bytes) -> bytes:
    r"""The data without what would command the terminal: control characters, and bytes that are no UTF-8, as \x1b."""
    return escape_controls(data.decode(errors="backslashreplace")).encode() + b"\n"


def _nobody_reads() -> bool:
    """Is the other end of our pipe closed? On a quiet stream no write would tell."""
    try:
        looking = select.poll()
    except AttributeError:  # Windows
        return False
    looking.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in looking.poll(0))


def _object(record: UserRecord, stream: str, shard_id: str) -> bytes:
    arrival = record.approximate_arrival_timestamp
    described: dict[str, Any] = {
        "stream": stream,
        **describe_data(record.data),
        "partition_key": record.partition_key,
        "explicit_hash_key": record.explicit_hash_key,
        "shard": shard_id,
        "sequence_number": record.sequence_number,
        "sub_sequence_number": record.sub_sequence_number,
        "arrival": None if arrival is None else arrival.astimezone(timezone.utc).isoformat(timespec="milliseconds"),
    }
    return json.dumps(described).encode() + b"\n"
