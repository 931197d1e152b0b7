"""Prints the tables of docs/kpl.md: `python scripts/kpl_page.py`, or with `--write` writes them into the page.

The KPL's options come from tests/parity/kpl_options.json, their places in kplpy from kplpy/config/kpl_properties.py,
and the outcomes of records without keys from tests/parity/kpl_keyless.json.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kplpy import Config
from kplpy.config.kpl_properties import UNUSED, field_of
from tests.parity import kpl_keyless, kpl_options

PAGE = Path(__file__).resolve().parent.parent / "docs/kpl.md"
# Options that a program sets, because a file cannot.
BY_PROGRAM = {
    "CredentialsProvider": "`session`",
    "GlueSchemaRegistryConfiguration": "`value_serializer` ([serializers](serializers.md))",
    "GlueSchemaRegistryCredentialsProvider": "`value_serializer`",
    "MetricsCredentialsProvider": "`metrics_session`",
}
NOTES = {
    "CaCertPath": "a file, not a directory; `CaCertFile` and `VerifyCertificate = false` win over it",
    "CloudwatchPort": "only with `CloudwatchEndpoint`",
    "CollectionMaxSize": "kplpy takes up to 10,485,760, the service's limit",
    "KinesisPort": "only with `KinesisEndpoint`",
    "MetricsGranularity": "kplpy: stream, because CloudWatch bills each shard ([cost](metrics-cost.md))",
    "MetricsLevel": "kplpy: summary, because CloudWatch bills each metric",
    "RateLimit": "kplpy: 100, so that one process alone is not throttled",
    "RecordDistributionStrategyDefault": "UNSET is `None`; [see below](#records-without-a-key-and-auto-streams)",
    "VerifyCertificate": "kplpy: as boto decides",
}
STREAMS = {"keyed": "by key", "auto": "AUTO"}


def options() -> str:
    """Return the table of all options of the KPL."""
    rows = ["| KPL option | default | values | kplpy | note |", "|---|---|---|---|---|"]
    for name, each in kpl_options.recorded()["options"].items():
        place, note = BY_PROGRAM.get(name, ""), NOTES.get(name, "")
        if each["in_file"]:
            field = field_of(name)
            place = f"`{field}`" if field else "no effect"
            note = UNUSED[name].why if field is None else note
        rows.append(f"| `{name}` | {_default(each)} | {_values(each)} | {place} | {note} |")
    return "\n".join(rows)


def _default(option: dict[str, Any]) -> str:
    value = option["default"]
    return str(value).lower() if isinstance(value, bool) else f"{value:,}" if isinstance(value, int) else value or ""


def _values(option: dict[str, Any]) -> str:
    if "values" in option:
        return ", ".join(option["values"])
    if "least" in option:
        least, greatest = option["least"], option["greatest"]
        return f"{least:,} or more" if greatest is None else f"{least:,} to {greatest:,}"
    pattern = (option.get("rule") or "").partition("the pattern ")[2].partition(",")[0]
    return pattern.replace("|", ", ") if pattern and pattern[0] != "^" else ""


def own_options() -> str:
    """Return the names of kplpy's options that the KPL does not have."""
    known = {field_of(name) for name, each in kpl_options.recorded()["options"].items() if each["in_file"]}
    known |= {"additional_metrics_dimensions", "metrics_session", "session", "value_serializer"}
    return ", ".join(f"`{each.name}`" for each in fields(Config) if each.name not in known)


def keyless() -> str:
    """Return the table of what became of records with and without keys."""
    cases = kpl_keyless.recorded()["cases"]
    rows = [
        "| records | stream | default | DescribeStreamSummary | the KPL | kplpy |",
        "|---|---|---|---|---|---|",
    ]
    for case in sorted(kpl_keyless.CASES, key=lambda each: (not each.keys, each.stream != "keyed")):
        outcomes = [_outcome(cases[case.name][producer]) for producer in ("kpl", "kplpy")]
        keys = "with keys" if case.keys else "without"
        denied = "denied" if case.denied else "allowed"
        rows.append(f"| {keys} | {STREAMS[case.stream]} | {case.setting} | {denied} | {' | '.join(outcomes)} |")
    return "\n".join(rows)


def _outcome(found: dict[str, Any]) -> str:
    """Return a cell: what became of the records of both rounds, and how many Kinesis records they made."""
    rounds = [", ".join(f"{count} {_named(outcome)}" for outcome, count in each.items()) for each in found["outcomes"]]
    delivered = sum(each.get("delivered", 0) for each in found["outcomes"])
    text = rounds[0] if rounds[0] == rounds[1] else " / ".join(rounds)
    if delivered:
        text += f", in {' and '.join(map(str, found['kinesis_records']))} Kinesis records"
    if found["readable"] != delivered:
        text += f"; **a KCL consumer gets {found['readable'] or 'none'} of the {delivered}**"
    elif found["copies"] > found["readable"]:
        text += f"; {found['copies'] - found['readable']} a second time"
    return text


def _named(outcome: str) -> str:
    """Return the outcome without the error's message."""
    return outcome.partition(":")[0]


TABLES = {"options": options, "own options": own_options, "keyless": keyless}


def update(page: str) -> str:
    """Return the page with the current tables between their marks."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{table()}\n\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(update(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(table() for table in TABLES.values()))
