"""`kplpy put`: puts lines as records."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from kplpy.cli import lines
from kplpy.cli.connection import Connection, check_stream, connection_options
from kplpy.cli.failed import Failures
from kplpy.cli.keys import KeyOf, json_key, regex_key
from kplpy.cli.progress import say, show_warnings
from kplpy.cli.sending import Sending
from kplpy.cli.settings import build_config, producer_options
from kplpy.cli.stop import Stop
from kplpy.errors import InvalidRecordError
from kplpy.headers import encode_headers

# Longer than the library's default of 30 s, because a command can wait for a slow shard, or for the end of an outage
# of some minutes. It is not None, so that the command ends.
_TTL_MS = 300_000


def _headers(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str | None] | None:
    """Parse NAME=VALUE and NAME. None without headers."""
    headers: dict[str, str | None] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if name in headers:
            raise click.BadParameter(f"header {name!r} is given twice")
        headers[name] = value if equals else None
    try:
        encode_headers(headers)
    except InvalidRecordError as error:
        raise click.BadParameter(str(error)) from None
    return headers or None


@click.command()
@click.argument("stream", required=False)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="[FILE]...")
@click.option("--key", metavar="TEXT", help="Use TEXT as the partition key of all records.")
@click.option("--random-key", is_flag=True, help="Give each record a random partition key (the default).")
@click.option(
    "--json-key", metavar="FIELD", help="Take the partition key from a field of JSON lines, such as customer.id."
)
@click.option(
    "--regex-key",
    metavar="PATTERN",
    help="Take the partition key from the first group of a regular expression, or from its whole match.",
)
@click.option(
    "--missing-key",
    type=click.Choice(["fail", "random", "skip"]),
    default="fail",
    show_default=True,
    help="A line without such a key fails, gets a random key, or is left out.",
)
@click.option(
    "--header",
    "headers",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_headers,
    help="Give each record this header. NAME alone is a header without a value. Repeat it for more headers.",
)
@click.option("--keep-newline", is_flag=True, help="Keep the newline at the end of each record.")
@click.option(
    "--skip",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Leave out the first N lines of all FILEs together, which an earlier run has put.",
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Put at most N records a second."
)
@click.option("--failed", metavar="FILE", type=click.Path(dir_okay=False), help="Append failed records to FILE.")
@click.option("--follow-symlinks", is_flag=True, help="Let --failed be a symbolic link, which is refused otherwise.")
@click.option(
    "--from-failed",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Put the records of a file that --failed (or tail --json) wrote. Without STREAM, each goes to its own stream.",
)
@producer_options
@connection_options
def put(
    connection: Connection,
    stream: str | None,
    files: tuple[str, ...],
    key: str | None,
    random_key: bool,
    json_key: str | None,
    regex_key: str | None,
    missing_key: str,
    headers: dict[str, str | None] | None,
    keep_newline: bool,
    skip: int,
    rate: float | None,
    failed: str | None,
    follow_symlinks: bool,
    from_failed: str | None,
    config: str | None,
    settings: tuple[str, ...],
    quiet: bool,
) -> None:
    """Put the lines of FILEs, or of standard input, as records on STREAM (a name or an ARN).

    Ctrl-C stops reading. The records read so far are delivered, within close_timeout_ms. A second Ctrl-C ends the
    command at once. The exit code is 1 if any record failed.
    """
    if from_failed and (files or key or random_key or json_key or regex_key or keep_newline or headers):
        raise click.UsageError(
            "--from-failed takes records with their keys and headers: give no FILE, key, header or newline option"
        )
    if stream is None and not from_failed:
        raise click.UsageError("STREAM is missing: give its name or ARN")
    if from_failed and failed and Path(from_failed).exists() and Path(from_failed).resolve() == Path(failed).resolve():
        raise click.UsageError("--from-failed and --failed must be different files")
    key_of = _key_option(key, random_key, json_key, regex_key)
    names = (from_failed,) if from_failed else files or ("-",)
    position = lines.Position(skip=skip, size_bytes=lines.size_of(names))
    given = (
        lines.read_failed(from_failed, position)
        if from_failed
        else lines.read_lines(names, key_of, missing_key, key, keep_newline, position, headers)
    )
    show_warnings()
    producer_config = build_config(connection, config, settings, {"record_ttl_ms": _TTL_MS})
    if stream is not None:
        check_stream(producer_config, stream)
    if not quiet and "-" in names and sys.stdin.isatty():
        say("reading lines from the terminal; Ctrl-D ends the input")
    with Failures(failed, follow_symlinks=follow_symlinks) as failures, Stop().handled() as stop:
        sending = Sending(producer_config, stream, failures, stop, position)
        sending.run(given, rate, quiet)
    for line in sending.summary(quiet):
        say(line)
    sys.exit(sending.exit_code)


def _key_option(key: str | None, random_key: bool, field: str | None, pattern: str | None) -> KeyOf | None:
    if sum((key is not None, random_key, field is not None, pattern is not None)) > 1:
        raise click.UsageError("choose one of --key, --random-key, --json-key and --regex-key")
    if key is not None and not 1 <= len(key) <= 256:
        raise click.BadParameter(f"must have 1 to 256 characters, got {len(key)}", param_hint="--key")
    if field is not None:
        return json_key(field)
    if pattern is None:
        return None
    try:
        return regex_key(re.compile(pattern))
    except re.error as error:
        raise click.BadParameter(
            f"{pattern!r} is not a regular expression: {error}", param_hint="--regex-key"
        ) from None
