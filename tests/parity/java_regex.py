r"""Writes java_regex.jsonl: what java.util.regex of Java 17 answers for patterns and texts.

`python -m tests.parity.java_regex` runs the patterns and texts that the file has through JavaRegex.java, with the
`java` on the PATH. For another pattern, add a line as {"pattern": "a+", "answers": [{"text": "aa"}]} and run it.
An answer that is absent is None, or for "split" the text itself.
"""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

ANSWERS = Path(__file__).with_name("java_regex.jsonl")


def cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]


def _encoded(case: dict[str, Any]) -> str:
    texts = [answer["text"] for answer in case.get("answers", [])]
    return "\t".join(base64.b64encode(text.encode()).decode() for text in (case["pattern"], *texts))


def _short(case: dict[str, Any]) -> dict[str, Any]:
    for answer in case.get("answers", []):
        if answer["split"] == [answer["text"]]:
            del answer["split"]
        for key in [key for key, value in answer.items() if value is None]:
            del answer[key]
    return case


def main() -> None:
    program = Path(__file__).with_name("JavaRegex.java")
    lines = "\n".join(map(_encoded, cases()))
    done = subprocess.run(["java", str(program)], input=lines, capture_output=True, text=True, check=True)
    answers = [_short(json.loads(line)) for line in done.stdout.splitlines()]
    ANSWERS.write_text("".join(json.dumps(case, separators=(",", ":")) + "\n" for case in answers), encoding="utf-8")


if __name__ == "__main__":
    main()
