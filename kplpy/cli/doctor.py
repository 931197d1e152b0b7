"""`kplpy doctor`: examines a stream and the way to it."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from kplpy.cli.connection import Connection, connection_options, explain
from kplpy.cli.settings import build_config, config_options
from kplpy.doctor.prices import PRICE_NAMES, Prices
from kplpy.errors import KplpyError
from kplpy.escaping import escape_controls

if TYPE_CHECKING:
    from kplpy.doctor import Finding, Report

_COLORS = {"ok": "green", "note": "cyan", "warning": "yellow", "failure": "red", "unchecked": "white"}
_MARGIN = 12
_COLUMNS = 100
# A wrong address shall be reported within seconds. --set changes them.
_DEFAULTS: dict[str, Any] = {"connect_timeout_ms": 3000, "request_timeout_ms": 5000}


def _seconds(context: click.Context, option: click.Parameter, text: str) -> float:
    """Parse an age: 90s, 15m, 2h, 1d."""
    found = re.fullmatch(r"(\d{1,8})([smhd])", text)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"must be an age like 15m (s, m, h, d); got {text!r}")
    return int(found[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[found[2]]


def _prices(context: click.Context, option: click.Parameter, given: Sequence[str]) -> Prices:
    """Parse NAME=DOLLARS."""
    prices = Prices()
    for each in given:
        name, _, text = each.partition("=")
        try:
            prices = prices.with_price(name, float(text))
        except ValueError:  # ConfigError is one too
            names = ", ".join(PRICE_NAMES)
            raise click.BadParameter(f"must be NAME=DOLLARS with one of {names}; got {each!r}") from None
    return prices


@click.command()
@click.argument("stream")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print only warnings and failures.")
@click.option("--put", is_flag=True, help="Put one record, with the partition key kplpy-doctor.")
@click.option(
    "--sample",
    type=click.IntRange(1, 100_000),
    default=2000,
    show_default=True,
    metavar="N",
    help="Read N Kinesis records, and at least a second of each busy shard.",
)
@click.option("--no-sample", is_flag=True, help="Read no records.")
@click.option(
    "--since", metavar="AGE", default="15m", show_default=True, callback=_seconds, help="Age of the oldest one to read."
)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="User records a second, for the advice."
)
@click.option(
    "--record-size",
    type=click.IntRange(1, 10 << 20),
    metavar="BYTES",
    help="Bytes of a user record with its key, for the advice without a sample.",
)
@click.option(
    "--price",
    "prices",
    multiple=True,
    metavar="NAME=DOLLARS",
    callback=_prices,
    help=f"A price of your region or contract: {', '.join(PRICE_NAMES)}.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Begin no further call after so long.",
)
@config_options
@connection_options
def doctor(
    connection: Connection,
    stream: str,
    as_json: bool,
    quiet: bool,
    put: bool,
    sample: int,
    no_sample: bool,
    since: float,
    rate: float | None,
    record_size: int | None,
    prices: Prices,
    timeout: float,
    config: str | None,
    settings: Sequence[str],
) -> None:
    """Examine STREAM (a name or an ARN): credentials, connection, permissions, shards, keys, cost.

    Nothing is written to the stream without --put. Exit code: 0 if there is no warning and no failure, 1 if there is
    one, 2 if the examination cannot begin.
    """
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    from kplpy.doctor import examine

    try:
        if connection.profile is not None:
            Session(profile=connection.profile).get_scoped_config()  # raises ProfileNotFound
        report = examine(
            stream,
            build_config(connection, config, settings, _DEFAULTS),
            put=put,
            sample=0 if no_sample else sample,
            since=since,
            rate=rate,
            record_size=record_size,
            prices=prices,
            timeout=timeout,
        )
    except KplpyError as error:
        raise click.UsageError(escape_controls(str(error))) from error
    except BotoCoreError as error:
        raise click.UsageError(explain(error)) from error
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        for line in lines_of(report, quiet, _width()):
            click.echo(encodable(line, encoding))
    if not report.is_sound:
        sys.exit(1)


def _width() -> int:
    return max(60, shutil.get_terminal_size((_COLUMNS, 24)).columns) if sys.stdout.isatty() else _COLUMNS


def encodable(text: str, encoding: str) -> str:
    """Return `text` without the characters that the output's encoding lacks, such as those of Windows' code pages."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace("→", "->").replace("…", "...")
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def lines_of(report: Report, quiet: bool, width: int) -> Iterator[str]:
    """Yield the report as text. quiet: only warnings and failures, and the policy."""
    shown = [each for each in report.findings if each.is_problem or not quiet]
    checked = [each for each in shown if each.level != "unchecked"]
    if not quiet:
        yield f"{report.stream}, {report.region or 'no region'}, {report.endpoint or 'no endpoint'}"
    for group, findings in _by_group(checked):
        if not quiet:
            yield f"\n{group}"
        for each in findings:
            yield from _lines_of_finding(each, width)
    unchecked = _by_reason([each for each in shown if each.level == "unchecked"])
    if unchecked:
        yield "\nnot checked"
        for reason, names in unchecked.items():
            yield from _wrapped(f"{', '.join(names)}: {reason}", "  ", "    ", width)
    if report.policy is not None:
        yield "\npolicy to add"
        yield textwrap.indent(json.dumps(report.policy, indent=2), "  ")
    if not quiet:
        yield f"\n{_summary(report)}"


def _by_group(findings: Sequence[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    from kplpy.doctor.catalogue import CHECKS

    for group in dict.fromkeys(each.group for each in CHECKS.values()):
        found = [each for each in findings if CHECKS[each.id].group == group]
        if found:
            yield group, found


def _by_reason(findings: Sequence[Finding]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in findings:
        found.setdefault(each.text, []).append(each.id)
    return found


def _lines_of_finding(finding: Finding, width: int) -> Iterator[str]:
    level = click.style(f"{finding.level:<8}", fg=_COLORS[finding.level])
    rest = " " * _MARGIN
    first, *more = _wrapped(f"{finding.id}: {finding.text}", rest, rest, width)
    yield f"  {level}  {first[_MARGIN:]}"
    yield from more
    if finding.id == "cost" and finding.level != "unchecked":
        yield from _cost_table(finding, rest)
    if finding.advice:
        yield from _wrapped(f"→ {finding.advice}", rest, f"{rest}  ", width)


def _cost_table(finding: Finding, margin: str) -> Iterator[str]:
    yield f"{margin}{'':<12}{'shards':>8}{'provisioned':>14}{'on-demand':>14}"
    for name, row in finding.figures["by_way"].items():
        yield f"{margin}{name:<12}{row['shards']:>8,}{row['provisioned']:>14,.2f}{row['on_demand']:>14,.2f}"


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    return textwrap.wrap(
        escape_controls(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def _summary(report: Report) -> str:
    counts = {level: sum(each.level == level for each in report.findings) for level in ("failure", "warning", "note")}
    parts = [f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items() if count]
    unchecked = sum(each.level == "unchecked" for each in report.findings)
    parts += [f"{unchecked} not checked"] if unchecked else []
    return f"{'sound' if report.is_sound else 'not sound'}: {', '.join(parts) or 'nothing to mend'}"
