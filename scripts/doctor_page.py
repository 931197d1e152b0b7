"""Prints the generated parts of docs/doctor.md: `python scripts/doctor_page.py`, or with `--write` writes them there.

The table is kplpy.doctor.catalogue. The outputs are those of `kplpy doctor`, run on set-ups of the local Kinesis. Ports
and times are replaced by fixed ones.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner

import kplpy.doctor
from kplpy.cli.app import cli
from kplpy.doctor import Report, examine
from kplpy.doctor.catalogue import CHECKS
from kplpy.local import Fault, LocalKinesis, Model

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/doctor.md"
BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"
ACCOUNT = "arn:aws:iam::123456789012:user/app"
ORDERS = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
# What differs from run to run, and what the page has instead.
_REPLACED = (
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:4567"),
    (re.compile(r"\b[01] s off"), "0 s off"),
    (re.compile(r"(?:(?<=after )|(?<=request of ))[\d,]+(?= ms)"), "9"),
    (re.compile(r" \(_ssl\.c:\d+\)"), ""),
)


def event(number: int) -> bytes:
    """Return a record's data: a JSON text of about 120 bytes, as events are."""
    return json.dumps(
        {"id": number, "customer": number * 7919 % 1000, "event": "page_view", "path": "/shop", "ms": number * 31 % 977}
    ).encode()


def put(kinesis: LocalKinesis, keys: Callable[[int], str], count: int = 2000, seconds: float = 800.0) -> None:
    """Put plain records as if over the last `seconds`."""

    def put_all(model: Model) -> None:
        model.now = 0.0  # the model's clock does not go back by itself
        now = time.time()
        for at in range(0, count, 10):
            entries = [{"Data": event(number), "PartitionKey": keys(number)} for number in range(at, at + 10)]
            moment = now - seconds * (1 - at / count)
            model.handle("PutRecords", {"StreamName": "orders", "Records": entries}, moment)

    kinesis.call(put_all)


def _many_keys(kinesis: LocalKinesis) -> None:
    put(kinesis, lambda number: f"customer-{number % 500}")


def _one_key(kinesis: LocalKinesis) -> None:
    middle = {"ShardToMerge": "shardId-000000000001", "AdjacentShardToMerge": "shardId-000000000002"}
    kinesis.handle("MergeShards", {"StreamName": "orders", **middle})
    put(kinesis, lambda number: "customer-1" if number % 3 else f"customer-{number % 500}")


def _denied(kinesis: LocalKinesis) -> None:
    for operation in ("PutRecords", "DescribeStreamSummary"):
        message = (
            f"User: {ACCOUNT} is not authorized to perform: kinesis:{operation} on resource: {ORDERS} because no "
            f"identity-based policy allows the kinesis:{operation} action"
        )
        kinesis.faults.outage(Fault(code="AccessDeniedException", message=message), operation=operation)


def _key_disabled(kinesis: LocalKinesis) -> None:
    _many_keys(kinesis)
    key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    summary = kinesis.handle("DescribeStreamSummary", {"StreamName": "orders"})["StreamDescriptionSummary"]
    answer = {"StreamDescriptionSummary": {**summary, "EncryptionType": "KMS", "KeyId": key}}
    kinesis.faults.outage(Fault(answer=answer), operation="DescribeStreamSummary")
    kinesis.faults.outage(Fault(code="KMSDisabledException", message=f"{key} is disabled."), operation="PutRecords")


@dataclass(frozen=True)
class Case:
    """One set-up: its heading, what is wrong, the options of the command, and how the local Kinesis gets there."""

    heading: str
    about: str
    options: tuple[str, ...] = ()
    set_up: Callable[[LocalKinesis], None] = lambda kinesis: None
    stream: str = "orders"
    kinesis: dict[str, Any] = field(default_factory=dict)


SOUND = Case("A sound stream", "", ("--put", "--rate", "2000"), _many_keys)
BROKEN = (
    Case("Missing permissions", "The identity may neither put nor describe the stream.", (), _denied),
    Case("A wrong name", "The stream is called `orders`.", ("--quiet",), stream="odrers"),
    Case("An untrusted certificate", "`--ca-bundle` is missing.", ("--quiet",), kinesis={"https": True}),
    Case("One hot key", "Two thirds of the records have one key, and the shards are uneven.", ("--quiet",), _one_key),
    Case(
        "A disabled key, and too few shards",
        "Somebody disabled the stream's KMS key. And 20,000 records a second are to come.",
        ("--quiet", "--rate", "20000"),
        _key_disabled,
    ),
)


def output(case: Case) -> tuple[str, str]:
    """Return the command line of a case, and its output with the exit code."""
    options = {"stream": "orders", "shards": 4, "limits": False, **case.kinesis}
    with LocalKinesis(**options) as kinesis:
        case.set_up(kinesis)
        arguments = ["doctor", case.stream, *case.options]
        environment: dict[str, str | None] = {name: None for name in os.environ if name.startswith("AWS_")}
        environment |= {"AWS_ENDPOINT_URL_KINESIS": kinesis.endpoint_url, "AWS_CONFIG_FILE": os.devnull}
        environment |= {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
        with patch.object(kplpy.doctor, "examine", _examine):
            result = CliRunner().invoke(cli, arguments, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    text = result.output.strip("\n")
    return " ".join(["kplpy", *arguments]), f"{text}\n\nexit code {result.exit_code}"


def _examine(*arguments: Any, **options: Any) -> Report:
    """Examine, and replace what differs, before the command breaks the lines."""
    report = examine(*arguments, **options)
    findings = tuple(replace(each, text=_steady(each.text)) for each in report.findings)
    return replace(report, findings=findings, endpoint=_steady(report.endpoint or ""))


def _steady(text: str) -> str:
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    return text


def case_text(case: Case, level: int = 3) -> str:
    command, text = output(case)
    about = f"{case.about} " if case.about else ""
    return f"{'#' * level} {case.heading}\n\n{about}`{command}` prints\n\n```text\n{text}\n```"


def sound() -> str:
    command, text = output(SOUND)
    return f"`{command}` prints, for a sound stream,\n\n```text\n{text}\n```"


def broken() -> str:
    return "\n\n".join(case_text(each) for each in BROKEN)


def table() -> str:
    lines = ["| check | looks at | finds |", "|---|---|---|"]
    for name, check in CHECKS.items():
        found = "<br>".join(f"**{level}**: {when}" for level, when in check.problems.items())
        lines.append(f"| `{name}` | {check.examines} | {found} |")
    return "\n".join(lines)


def figures() -> str:
    lines = ["| check | figures |", "|---|---|"]
    for name, check in CHECKS.items():
        # All calls have the same ones.
        label = "permission.…" if name == "permission.PutRecords" else name
        if check.figures and not (label == name and name.startswith("permission.")):
            about = "<br>".join(f"`{figure}`: {text}" for figure, text in check.figures.items())
            lines.append(f"| `{label}` | {about} |")
    return "\n".join(lines)


PARTS: dict[str, Callable[[], str]] = {"sound": sound, "broken": broken, "checks": table, "figures": figures}


def update(page: str) -> str:
    """Return the page with its generated parts as they are now."""
    for name, part in PARTS.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{part()}\n\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(update(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(part() for part in PARTS.values()))
