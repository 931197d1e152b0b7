"""kplpy decodes every message alike with protobuf's two implementations for Python, broken messages included."""

from __future__ import annotations

import subprocess
import sys

import google.protobuf
import pytest

from kplpy.concurrency import has_gil

# Prints the result of decoding each of many damaged aggregates: None for a plain record, else the user records.
PROGRAM = """
import hashlib, logging, random
from google.protobuf.internal import api_implementation
from kplpy.records import UserRecord
from kplpy.wire.decode import decode_aggregate
from kplpy.wire.encode import encode_aggregate
from kplpy.wire.envelope import MAGIC
logging.disable()
chance = random.Random(20261123)
for _ in range(3000):
    records = [
        UserRecord(chance.randbytes(chance.randrange(20)), chance.choice("aé€🙂"), chance.choice([None, "0", "7"]))
        for _ in range(chance.randrange(1, 5))
    ]
    message = bytearray(encode_aggregate(records)[4:-16])
    for _ in range(chance.randrange(4)):
        what, at = chance.randrange(3), chance.randrange(len(message))
        if what == 0:
            message[at] = chance.randrange(256)
        elif what == 1:
            message.insert(at, chance.randrange(256))
        elif len(message) > 1:
            del message[at]
    print(decode_aggregate(MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()))
print(api_implementation.Type())
"""


def run(implementation: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation, "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *lines, used = done.stdout.splitlines()
    assert used == implementation
    return lines


@pytest.mark.skipif(not has_gil(), reason="protobuf 7.36 has no upb for Python without a GIL")
def test_upb_and_pure_python_agree() -> None:
    upb, python = run("upb"), run("python")
    differences = {(a, b) for a, b in zip(upb, python, strict=True) if a != b}
    if google.protobuf.__version__.startswith("4."):
        differences.discard(("None", "[]"))  # protobuf 4 in pure Python accepts a group that never ends
    assert not differences
    assert 300 < sum(line == "None" for line in upb) < 2700  # some messages parse and some do not
