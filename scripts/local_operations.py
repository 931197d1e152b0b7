"""Holds the local Kinesis to botocore's model of the API: `python scripts/local_operations.py`, or with `--write`.

Writes the rules for requests of Kinesis and CloudWatch (kplpy/local/model/kinesis_shapes.py, cloudwatch_shapes.py) and
the list of operations in docs/local.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

ROOT = Path(__file__).parents[1]
SHAPES = {
    "kinesis": ROOT / "kplpy/local/model/kinesis_shapes.py",
    "cloudwatch": ROOT / "kplpy/local/model/cloudwatch_shapes.py",
}
CLOUDWATCH = ("PutMetricData", "GetMetricStatistics", "GetMetricData", "ListMetrics")
"""The operations of CloudWatch that are served."""
PAGE = ROOT / "docs/local.md"
BEGIN, END = "<!-- operations: begin -->", "<!-- operations: end -->"

HEAD = '''"""The members of requests of {service} and their rules, from botocore's model of the API.

`python scripts/local_operations.py --write` makes this file; do not edit it. tests/unit/local/model/test_operations.py
compares it with botocore.
"""

from __future__ import annotations

from collections.abc import Mapping

from kplpy.local.model.rules import {rules}

'''

FAMILIES: dict[str, tuple[str, str]] = {
    "streams": (
        """CreateStream DeleteStream DescribeStream DescribeStreamSummary ListStreams UpdateStreamMode
        UpdateMaxRecordSize UpdateStreamRecordDistributionStrategy""",
        "on-demand streams have 4 shards and do not grow",
    ),
    "shards": ("ListShards SplitShard MergeShards UpdateShardCount", "at once, or spread over `Phases.updating`"),
    "records": ("PutRecord PutRecords GetShardIterator GetRecords", ""),
    "fan-out": (
        """RegisterStreamConsumer DeregisterStreamConsumer DescribeStreamConsumer ListStreamConsumers
        SubscribeToShard""",
        "consumers are ACTIVE at once",
    ),
    "tags": (
        """AddTagsToStream ListTagsForStream RemoveTagsFromStream TagResource UntagResource ListTagsForResource""",
        "both families set the same tags",
    ),
    "retention": ("IncreaseStreamRetentionPeriod DecreaseStreamRetentionPeriod", "records age out by it"),
    "monitoring": ("EnableEnhancedMonitoring DisableEnhancedMonitoring", "kept and shown; no metrics are measured"),
    "encryption": (
        "StartStreamEncryption StopStreamEncryption",
        "EncryptionType in responses and records; any key is taken, nothing is encrypted",
    ),
    "policies": ("PutResourcePolicy GetResourcePolicy DeleteResourcePolicy", "kept and shown, not enforced"),
    "queues": (
        """CreateQueue UpdateQueue DeleteQueue DescribeQueue ListQueues ReceiveQueueRecords AcknowledgeQueueRecords
        UpdateQueueRecordsVisibility ReceiveDeadLetterQueueRecords AcknowledgeDeadLetterQueueRecords
        UpdateDeadLetterQueueRecordsVisibility RestoreDeadLetterQueueRecords""",
        "on on-demand streams; a queue delivers in the order of acceptance, first those that it delivers again",
    ),
    "channels": (
        "CreateChannel UpdateChannel DeleteChannel DescribeChannel ListChannels",
        """files in a folder stand for S3; channels to S3 Tables, with ZSTD, or without a folder are FAILED with a
        reason""",
    ),
    "account": (
        "DescribeLimits DescribeAccountSettings UpdateAccountSettings UpdateStreamWarmThroughput",
        """warm throughput needs the account's MinimumThroughputBillingCommitment, as in the service; the stream then
        has a shard for each MiB/s""",
    ),
}
"""By family: its operations, and what is special about them here."""


def operations(service: str = "kinesis") -> dict[str, Any]:
    """Return the operations of botocore's model of a service, by name."""
    model = ServiceModel(Loader().load_service_model(service, "service-2"), service)
    names = CLOUDWATCH if service == "cloudwatch" else model.operation_names
    return {name: model.operation_model(name) for name in names}


def source(service: str = "kinesis") -> str:
    """Return the source of a service's file in SHAPES, not formatted."""
    done: dict[str, str] = {}
    tables = []
    for name, operation in sorted(operations(service).items()):
        shape = operation.input_shape
        tables.append(f'"{name}": {_members(shape, done) if shape is not None else "{}"},\n')
    rules = "".join(f"{constant} = {rule}\n" for constant, rule in done.items())
    times = sorted({each for operation in operations(service).values() for each in _times(operation.output_shape, ())})
    body = (
        f"{rules}\nOPERATIONS: Mapping[str, Mapping[str, Member]] = {{\n{''.join(tables)}}}\n"
        f'"""By operation: the members of its request."""\n\nTIMES = frozenset({times})\n'
        '"""The members of responses that are times."""\n'
    )
    known = ("BLOB", "FLAG", "NUMBER", "ListOf", "MapOf", "Member", "Structure", "Text", "Time", "Whole")
    used = ", ".join(each for each in known if re.search(rf"\b{each}\b", body))
    return HEAD.format(service={"kinesis": "Kinesis", "cloudwatch": "CloudWatch"}[service], rules=used) + body


def _constant(shape: Shape, done: dict[str, str]) -> str:
    """Return the name of the constant for a shape, after adding it to `done`."""
    if shape.type_name == "boolean":
        return "FLAG"
    if shape.type_name == "blob":
        return "BLOB"
    if shape.type_name == "double":
        return "NUMBER"
    if shape.type_name == "timestamp":
        return "Time()"
    name = "_" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", shape.name).upper()
    if name not in done:
        rule = _rule(shape, done)
        done[name] = rule
    return name


def _rule(shape: Any, done: dict[str, str]) -> str:
    limits = shape.metadata
    low, high = limits.get("min"), limits.get("max")
    if shape.type_name == "structure":
        return f"Structure({_members(shape, done)})"
    if shape.type_name == "list":
        return f"ListOf({', '.join([_constant(shape.member, done), *_bounds(low, high)])})"
    if shape.type_name == "map":
        parts = [_constant(shape.key, done), _constant(shape.value, done), *_bounds(low, high)]
        return f"MapOf({', '.join(parts)})"
    if shape.type_name in ("integer", "long"):
        return f"Whole({', '.join(_bounds(-(1 << 31) if low is None else low, high))})"
    parts = _bounds(low, high)
    if "pattern" in limits:
        parts.append(f"pattern={limits['pattern']!r}")
    if shape.enum:
        parts.append(f"choices={tuple(shape.enum)!r}")
    return f"Text({', '.join(parts)})"


def _bounds(low: int | None, high: int | None) -> list[str]:
    return [*([] if low is None else [f"low={low}"]), *([] if high is None else [f"high={high}"])]


def _members(shape: Any, done: dict[str, str]) -> str:
    parts = []
    for name, each in shape.members.items():
        required = ", required=True" if name in shape.required_members else ""
        parts.append(f'"{name}": Member({_constant(each, done)}{required}),')
    return f"{{{''.join(parts)}}}"


def _times(shape: Any, above: tuple[str, ...]) -> Iterator[str]:
    if shape is None or shape.name in above:
        return
    above = (*above, shape.name)
    if shape.type_name == "list":
        yield from _times(shape.member, above)
    elif shape.type_name == "structure":
        for name, each in shape.members.items():
            if each.type_name == "timestamp" or (each.type_name == "list" and each.member.type_name == "timestamp"):
                yield name
            yield from _times(each, above)


def table() -> str:
    """Return the list of operations for docs/local.md."""
    from kplpy.local.model.model import SERVED

    rows = []
    for family, (names, note) in FAMILIES.items():
        served = [each for each in names.split() if each in SERVED]
        rows.append(f"| {family} | {', '.join(served)} | {' '.join(note.split())} |")
    missing = sorted(set(operations()) - SERVED)
    rows.append(f"\nNot served (UnknownOperationException): {', '.join(missing) or 'none'}.")
    served_count = len(set(operations()) & SERVED)
    head = f"{served_count} of the {len(operations())} operations of Kinesis are served:\n\n"
    return head + "\n".join(["| family | operations | here |", "|---|---|---|", *rows])


def page(text: str) -> str:
    """Return docs/local.md with the list of today."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def main(arguments: list[str]) -> int:
    if arguments == ["--write"]:
        for service, path in SHAPES.items():
            path.write_text(source(service))
            subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(path)], check=True)
        subprocess.run([sys.executable, str(Path(__file__)), "--write-page"], check=True)
        return 0
    if arguments == ["--write-page"]:
        PAGE.write_text(page(PAGE.read_text()))
        return 0
    sys.stdout.write(f"botocore {botocore.__version__}\n{table()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
