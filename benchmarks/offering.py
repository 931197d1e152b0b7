"""A process that offers records at a steady rate from a given moment on, with kplpy or a loop around boto3.

argv[1] is JSON: `kind` ("kplpy" or "boto3"), `url`, `rate` (records a second), `size`. For kplpy also `config`,
`keyless` (put without a key) and `flush` (wait for all records at the end). For boto3 also the `hash_key` of all
records, if any. A line `start begin end seconds` on stdin (Unix time, then seconds after it) is one run. The response
has the counts between begin and end.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kplpy import Producer

if TYPE_CHECKING:
    from mypy_boto3_kinesis.type_defs import PutRecordsRequestEntryTypeDef

STREAM = "bench"
STEP = 0.005  # seconds between two looks at the clock

Counts = dict[str, int]


def between(put: Callable[[int], None], counts: Callable[[], Counts], rate: float, line: str, step: float) -> Counts:
    """Call `put(n)` for n = 0, 1, … at this rate. Return the growth of the counts between begin and end.

    The item `put` of the result is the number of calls in the whole run.
    """
    start, begin, end, seconds = map(float, line.split())
    time.sleep(max(0.0, start - time.time()))
    done = 0
    before: Counts = {}
    after: Counts = {}
    while (now := time.time() - start) < seconds:
        if not before and now >= begin:
            before = counts()
        if not after and now >= end:
            after = counts()
        due = int(now * rate) - done
        for _ in range(min(due, max(1, int(rate)))):  # a call may wait for buffer space, so the time is checked below
            put(done)
            done += 1
            if time.time() - start > now + 0.25:
                break
        time.sleep(step)
    after = after or counts()
    return {name: after[name] - before.get(name, 0) for name in after} | {"put": done}


def kplpy(given: Mapping[str, Any], line: str) -> Counts:
    pad = b"x" * (given["size"] - 8)
    with Producer(endpoint_url=given["url"], region_name="us-east-1", **given["config"]) as producer:

        def put(number: int) -> None:
            key = None if given.get("keyless") else f"key-{number}"
            producer.put_record(STREAM, b"%08d" % number + pad, key)  # waits while the buffer is full

        def counts() -> Counts:
            totals = producer.metrics().get(STREAM)
            if totals is None:
                return {"delivered": 0, "taken": 0, "taken_bytes": 0, "sent": 0, "throttled": 0}
            return {
                "delivered": totals.user_records_put,
                "taken": totals.kinesis_records_put,
                "taken_bytes": totals.kinesis_bytes_put,
                "sent": totals.kinesis_records_sent,
                "throttled": totals.entries_throttled,
            }

        counted = between(put, counts, given["rate"], line, STEP)
        if given.get("flush"):
            producer.flush(timeout=60)
            totals = producer.metrics()[STREAM]
            counted |= {"delivered": totals.user_records_put, "failed": totals.user_records_failed}
    return counted


def boto3_loop(given: Mapping[str, Any], line: str) -> Counts:
    """Send the due records in requests, and discard refused records."""
    import boto3

    client = boto3.client("kinesis", endpoint_url=given["url"], region_name="us-east-1")
    counted = {"taken_bytes": 0, "sent": 0, "throttled": 0, "throttled_bytes": 0}
    waiting: list[PutRecordsRequestEntryTypeDef] = []

    def put(number: int) -> None:
        entry: PutRecordsRequestEntryTypeDef = {
            "Data": b"%08d" % number + b"x" * (given["size"] - 8),
            "PartitionKey": f"other-{number}",
        }
        if "hash_key" in given:
            entry["ExplicitHashKey"] = given["hash_key"]
        waiting.append(entry)

    def send() -> Counts:
        while waiting:
            records, waiting[:500] = waiting[:500], []
            answer = client.put_records(StreamName=STREAM, Records=records)
            counted["sent"] += len(records)
            for record, entry in zip(records, answer["Records"], strict=True):
                size = given["size"] + len(record["PartitionKey"])
                counted["throttled"] += "ErrorCode" in entry
                counted["throttled_bytes" if "ErrorCode" in entry else "taken_bytes"] += size
        return dict(counted)

    def put_and_send(number: int) -> None:
        put(number)
        if len(waiting) >= given["rate"] / 20:
            send()

    return between(put_and_send, lambda: dict(counted), given["rate"], line, STEP)


def main() -> None:
    given: dict[str, Any] = json.loads(sys.argv[1])
    run = kplpy if given["kind"] == "kplpy" else boto3_loop
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(given, line)), flush=True)


if __name__ == "__main__":
    main()
