"""Records what the KPL's configuration takes: names, defaults, bounds, and what it makes of some properties files.

`python -m tests.parity.kpl_options` gets the KPL that benchmarks/peers/kpl/pom.xml names from Maven Central, runs
KplOptions.java with it, and writes kpl_options.json. It needs Java 17 and Maven. For another file, add a text to FILES.
"""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.environments import kpl_version

ANSWERS = Path(__file__).with_name("kpl_options.json")
PROGRAM = Path(__file__).with_name("KplOptions.java")
POM = Path(__file__).parents[2] / "benchmarks/peers/kpl/pom.xml"

FILES = (
    "RecordDistributionStrategyDefault = AUTO",
    "RecordDistributionStrategyDefault = auto",
    "RecordDistributionStrategyDefault = User_Partition_Key",
    "RecordDistributionStrategyDefault = UNSET\nRateLimit = 7",
    "RecordDistributionStrategyDefault = SERVICE",
    "RecordDistributionStrategyDefault =",
    "DescribeStreamSummaryIntervalMs = 1",
    "DescribeStreamSummaryIntervalMs = 0",
    "DescribeStreamSummaryIntervalMs = 5m",
    "EnableDaemonHealthCheck = false\nDaemonHealthCheckTimeoutMs = 1000",
    "NoSuchKey = 1\nRateLimit = 7",
    "recordTtl = 60000",
    "RateLimit = fast",
    "RateLimit =",
    "RateLimit = +7",
    "RateLimit = 7  ",
    "RateLimit = 7 # percent",
    "FailIfThrottled = TRUE",
    "FailIfThrottled = yes",
    "FailIfThrottled =",
    "MetricsLevel = SUMMARY",
    "MetricsLevel = Summary",
    "MetricsGranularity = STREAM",
    "MetricsNamespace = AWS/Mine",
    "Region = eu-west-1\nRegion = eu-west-2",
    "Region =",
    "ThreadingModel = POOLED",
    "ThreadingModel = pooled",
    "UserRecordTimeout = 5",
    "CustomEndpoint = kinesis.local",
    "CaCertFile = /etc/ca.pem",
)
"""Properties files: the new options, and spellings and values that the KPL or kplpy may refuse."""


def recorded() -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(ANSWERS.read_text(encoding="utf-8"))
    return answers


def copied_kpl(folder: Path) -> Path:
    """Copy the jars of the KPL into the folder, from Maven Central or Maven's own store. Return the folder."""
    copy = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}", "-f", str(POM)]
    subprocess.run(["mvn", "-q", "-B", "-Dstyle.color=never", *copy], check=True)
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        copied_kpl(Path(folder))
        texts = "\n".join(base64.b64encode(text.encode()).decode() for text in FILES)
        command = ["java", "-cp", f"{folder}/*", str(PROGRAM)]
        done = subprocess.run(command, input=texts, capture_output=True, text=True, check=True)
    answers = {"version": kpl_version(), **json.loads(done.stdout)}
    lines = [f'{{"version": {json.dumps(answers["version"])}, "options": {{']
    lines.append(",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in answers["options"].items()))
    lines.append('}, "files": [')
    lines.append(",\n".join(map(json.dumps, answers["files"])))
    ANSWERS.write_text("\n".join(lines) + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
