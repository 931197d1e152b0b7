r"""Writes agent_java.jsonl: what the Kinesis Agent's log patterns, Jackson and Java's UTF-8 decoder answer.

`python -m tests.parity.agent_java CLASSPATH` asks the questions that the file has again, with the `java` on the PATH.
CLASSPATH: Jackson 2.17.2 (databind, core, annotations) and the class PatternConstants of awslabs/amazon-kinesis-agent.
A question is {"kind", "text"}; "kind" is the log format, "json" (an object read and written), or "utf8", whose text is
bytes in base64.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ANSWERS = Path(__file__).with_name("agent_java.jsonl")

# log format → the Agent's constant, and what its parser adds
CONSTANTS = {
    "COMMONAPACHELOG": ("COMMON_APACHE_LOG", ".*"),
    "COMBINEDAPACHELOG": ("COMBINED_APACHE_LOG", ".*"),
    "APACHEERRORLOG": ("APACHE_ERROR_LOG", ""),
    "SYSLOG": ("SYSLOG_BASE", ""),
    "RFC3339SYSLOG": ("RFC3339_SYSLOG_BASE", ""),
}


def questions() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]


def _encoded(question: dict[str, Any]) -> str:
    kind, text = question["kind"], question["text"]
    data = text if kind == "utf8" else base64.b64encode(text.encode()).decode()
    return "\t".join((kind, *CONSTANTS.get(kind, ()), data))


def main() -> None:
    asked = questions()
    command = ["java", "-cp", sys.argv[1], str(Path(__file__).with_name("AgentJava.java"))]
    lines = "\n".join(map(_encoded, asked))
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    for question, answer in zip(asked, done.stdout.splitlines(), strict=True):
        question["answer"] = json.loads(answer)
    text = "".join(json.dumps(question, separators=(",", ":")) + "\n" for question in asked)
    ANSWERS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
