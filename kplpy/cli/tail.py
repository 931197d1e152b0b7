"""`kplpy tail`: prints the user records of a stream."""

from __future__ import annotations

import json
import re
import select
import signal
import sys
from datetime import datetime, timedelta, timezone
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from kplpy.cli.connection import Connection, connection_options, explain, make_client
from kplpy.cli.delivery_tail import DeliveryReader, delivery_encoder
from kplpy.cli.progress import say, show_warnings
from kplpy.dead_letters.entry import describe_data, describe_headers
from kplpy.errors import InvalidRecordError
from kplpy.escaping import escape_controls
from kplpy.stream_names import is_delivery_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kplpy.reading import ReadRecord

    Start = datetime | Literal["LATEST", "TRIM_HORIZON"]

T = TypeVar("T")


def _timestamp(context: click.Context, option: click.Parameter, text: str | None) -> datetime | None:
    """Parse ISO 8601 (UTC without an offset), seconds since 1970, or an age such as 90s, 15m, 2h, 1d."""
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
            # Python 3.10's fromisoformat does not accept Z.
            moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"must be like 2026-11-23T06:00:00Z, seconds since 1970, or an age like 15m (s, m, h, d); got {text!r}"
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    if moment > now:
        raise click.BadParameter(f"{text} lies in the future; leave the option out to read from now on")
    return moment


@click.command()
@click.argument("stream")
@click.option("--from-start", is_flag=True, help="Begin with the oldest record instead of records put from now on.")
@click.option(
    "--at-timestamp",
    metavar="TIME",
    callback=_timestamp,
    help="Begin with records since TIME: 2026-11-23T06:00:00Z, seconds since 1970, or an age like 15m.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON object for each record, with its key, headers, shard and sequence number.",
)
@click.option(
    "--headers",
    "with_headers",
    is_flag=True,
    help="Print each record's headers, as a JSON object and a tab, before it.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after N records.")
@click.option(
    "--until-idle", type=click.FloatRange(min=0), metavar="SECONDS", help="End when no record arrived for so long."
)
@click.option("--no-follow", is_flag=True, help="End when each shard was read up to its latest record.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two reads of a quiet shard. A shard allows 5 reads a second to all its readers together.",
)
@click.option("-q", "--quiet", is_flag=True, help="Write only errors to standard error.")
@connection_options
def tail(
    connection: Connection,
    stream: str,
    from_start: bool,
    at_timestamp: datetime | None,
    as_json: bool,
    with_headers: bool,
    limit: int | None,
    until_idle: float | None,
    no_follow: bool,
    interval: float,
    quiet: bool,
) -> None:
    """Read all shards of STREAM (a name or an ARN) and print its user records.

    The ARN of a delivery stream of Firehose works with `kplpy local` only: Firehose itself lets nobody read.

    Each record's data is a line, or with --json an object. On a terminal, control characters are escaped; in a pipe the
    data is as it was put. After a split or merge the children are read too. Ctrl-C ends the command.
    """
    if from_start and at_timestamp:
        raise click.UsageError("--from-start and --at-timestamp contradict each other: give one of them")
    if as_json and with_headers:
        raise click.UsageError("--json prints the headers already: give one of --json and --headers")
    if no_follow and not (from_start or at_timestamp):
        raise click.UsageError(
            "--no-follow needs --from-start or --at-timestamp: without them there is nothing to read"
        )
    signal.signal(signal.SIGTERM, _end)

    def notice(text: str) -> None:
        if not quiet:
            say(text)

    place = _describe_start(from_start, at_timestamp)
    start: Start = at_timestamp or ("TRIM_HORIZON" if from_start else "LATEST")
    if is_delivery_stream(stream):
        if with_headers:
            raise click.UsageError("--headers: records of a delivery stream have no headers")
        delivery = DeliveryReader(connection, stream, start, not no_follow, until_idle, interval)
        delivery.open()
        notice(f"reading {stream} {place}")
        line_of = _line_for_terminal if sys.stdout.isatty() else _line
        _print(delivery.batches(poll=0.5), delivery_encoder(stream, None if as_json else line_of), limit)
        return

    from botocore.exceptions import ClientError

    from kplpy.config.options import Config
    from kplpy.reading import StreamReader

    def skip(error: ValueError, record: Mapping[str, Any]) -> None:
        notice(f"sequence number {record['SequenceNumber']}: skipped: {error}")

    if not quiet:
        show_warnings()
    try:
        reader = StreamReader(
            stream,
            start=start,
            client=make_client(Config(**connection.fields())),
            follow=not no_follow,
            idle_timeout=until_idle,
            interval=interval,
            on_error=skip,
        )
    except InvalidRecordError as error:
        raise click.BadParameter(str(error)) from None
    try:
        shards = reader.open()
        notice(f"reading {shards} shard{'' if shards == 1 else 's'} of {stream} {place}")
        batches = (None if found is None else found.records for found in reader.batches(poll=0.5))
        _print(batches, _encoder(stream, as_json, with_headers), limit)
    except ClientError as error:
        raise click.ClickException(explain(error, stream)) from error
    finally:
        reader.close()


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _describe_start(from_start: bool, at_timestamp: datetime | None) -> str:
    if at_timestamp is not None:
        return f"since {at_timestamp.isoformat(timespec='seconds')}"
    return "from the oldest record on" if from_start else "from now on"


def _encoder(stream: str, as_json: bool, with_headers: bool) -> Callable[[ReadRecord], bytes]:
    """Return the function that makes a record's line."""
    line_of = _line_for_terminal if sys.stdout.isatty() else _line
    if as_json:
        return lambda record: _json_line(record, stream)
    if with_headers:
        return lambda record: _headers(record) + line_of(record.data)
    return lambda record: line_of(record.data)


def _print(batches: Iterable[Sequence[T] | None], encode: Callable[[T], bytes], limit: int | None) -> None:
    out = sys.stdout.buffer
    printed = 0
    for found in batches:
        if found:
            records = found if limit is None else found[: limit - printed]
            printed += len(records)
            # One write for all records, because with PYTHONUNBUFFERED each write is a system call.
            out.write(b"".join(map(encode, records)))
            out.flush()
            if printed == limit:
                return
        elif _output_is_closed():
            raise BrokenPipeError


def _headers(record: ReadRecord) -> bytes:
    return json.dumps(dict(record.headers or {})).encode() + b"\t"


def _line(data: bytes) -> bytes:
    return data + b"\n"


def _line_for_terminal(data: bytes) -> bytes:
    r"""Return a line with control characters and bytes that are not UTF-8 escaped, for example as \x1b."""
    return escape_controls(data.decode(errors="backslashreplace")).encode() + b"\n"


def _output_is_closed() -> bool:
    """Return True if the reader of the output pipe closed it. On a quiet stream no write would show that."""
    try:
        poll = select.poll()
    except AttributeError:  # Windows
        return False
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _json_line(record: ReadRecord, stream: str) -> bytes:
    arrival = record.approximate_arrival_timestamp
    described: dict[str, Any] = {
        "stream": stream,
        **describe_data(record.data),
        "partition_key": record.partition_key,
        "explicit_hash_key": record.explicit_hash_key,
        **describe_headers(record.headers),
        "shard": record.shard_id,
        "sequence_number": record.sequence_number,
        "sub_sequence_number": record.sub_sequence_number,
        "arrival": None if arrival is None else arrival.astimezone(timezone.utc).isoformat(timespec="milliseconds"),
    }
    return json.dumps(described).encode() + b"\n"
