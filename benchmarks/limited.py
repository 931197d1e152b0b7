"""A local Kinesis for measurements, with the service's limits and a latency, as a process that takes commands.

argv[1] is JSON: `streams` ({name: shards}), `store`, `latency` (seconds, from and to), `dead` (a stream without
responses), `updating` (seconds that a reshard takes), `denied` (operations without permission) and `poison` (a text
that makes a record invalid). It first prints its URL. Each line on stdin is a command, and the response a line of JSON:
`counts`, `split`, `merge`, `judge`, `outage` (only errors from now on) or `over` (the outage ends).
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from random import Random
from typing import Any

from kplpy.local import Limits, LocalKinesis, Phases
from kplpy.local.model.faults import Fault
from kplpy.local.model.limits import WriteRate
from kplpy.local.model.model import Model
from kplpy.wire.decode import decode_aggregate


class Counted:
    """A shard's write limit that counts refused records and bytes."""

    def __init__(self, rate: WriteRate) -> None:
        self._rate = rate
        self.refused = self.refused_bytes = 0

    def take(self, size: int, now: float) -> bool:
        if self._rate.take(size, now):
            return True
        self.refused += 1
        self.refused_bytes += size
        return False


def count_refusals(model: Model) -> None:
    for stream in model.streams.values():
        for shard in stream.shards.values():
            assert shard.write_rate is not None
            shard.write_rate = Counted(shard.write_rate)


def counts(model: Model) -> dict[str, int]:
    """Return the Kinesis records and their bytes (data and outer key), accepted and refused since the start."""
    shards = [shard for stream in model.streams.values() for shard in stream.shards.values()]
    refusing = [shard.write_rate for shard in shards if isinstance(shard.write_rate, Counted)]
    return {
        "accepted": sum(shard.accepted_records for shard in shards),
        "accepted_bytes": sum(shard.accepted_bytes for shard in shards),
        "refused": sum(each.refused for each in refusing),
        "refused_bytes": sum(each.refused_bytes for each in refusing),
    }


def reshard(model: Model, kind: str) -> dict[str, int]:
    """Split the widest shard, or merge the two narrowest neighbours."""
    (stream,) = model.streams.values()
    shards, now = list(stream.open), time.time()
    if kind == "split":
        widest = max(shards, key=lambda each: each.last - each.first)
        what = {"ShardToSplit": widest.id, "NewStartingHashKey": str((widest.first + widest.last + 1) // 2)}
        model.handle("SplitShard", {"StreamName": stream.name, **what}, now)
    else:
        pairs = list(pairwise(shards))
        left, right = min(pairs, key=lambda pair: pair[1].last - pair[0].first)
        what = {"ShardToMerge": left.id, "AdjacentShardToMerge": right.id}
        model.handle("MergeShards", {"StreamName": stream.name, **what}, now)
    return {"open": len(shards)}


def judge(model: Model) -> dict[str, int]:
    """Count the records that a KCL consumer gets. Each record begins with eight digits that identify it.

    The KCL drops an aggregate as a whole if one of its hash keys is outside the shard's range. `rewritten_a_split` and
    `rewritten_a_merge` are the most aggregates that were dropped on the children of one split or one merge.
    """
    (stream,) = model.streams.values()
    parents = {shard.id: shard.parents for shard in stream.shards.values()}
    readable: Counter[bytes] = Counter()
    dropped: Counter[tuple[str, ...]] = Counter()
    for entry in model.ledger():
        inner = decode_aggregate(entry.data)
        if inner is None:
            readable[entry.data[:8]] += 1
        elif not entry.dropped:
            readable.update(each.data[:8] for each in inner)
        else:
            dropped[parents[entry.shard_id]] += 1
    return {
        "read": len(readable),
        "read_twice": sum(each > 1 for each in readable.values()),
        "rewritten": sum(dropped.values()),
        "rewritten_a_split": max((many for of, many in dropped.items() if len(of) == 1), default=0),
        "rewritten_a_merge": max((many for of, many in dropped.items() if len(of) != 1), default=0),
        "splits": len({of for of in parents.values() if len(of) == 1}),
        "merges": len({of for of in parents.values() if len(of) == 2}),
    }


def main() -> None:
    given: dict[str, Any] = json.loads(sys.argv[1])
    random, (least, most) = Random(1), given["latency"]
    poison = given.get("poison", "").encode()
    refused: list[str] | None = None  # the refused operations during an outage, else None

    def plan(operation: str, params: Mapping[str, Any], _: float) -> Fault:
        if refused is not None:
            refused.append(operation)
            return Fault(code="ServiceUnavailable", status=503, delay=random.uniform(least, most))
        if operation == "PutRecords" and params.get("StreamName") == given.get("dead"):
            return Fault(transport="never")
        if operation in given.get("denied", ()):
            return Fault(code="AccessDeniedException", delay=random.uniform(least, most))
        if poison and operation == "PutRecords" and any(poison in record["Data"] for record in params["Records"]):
            return Fault(code="InvalidArgumentException", delay=random.uniform(least, most))
        return Fault(delay=random.uniform(least, most))

    def outage(_: Model) -> dict[str, int]:
        nonlocal refused
        refused = []
        return {}

    def over(_: Model) -> dict[str, int]:
        nonlocal refused
        operations, refused = refused or [], None
        return {"requests": operations.count("PutRecords"), "listings": operations.count("ListShards")}

    answers: dict[str, Callable[[Model], dict[str, int]]] = {
        "counts": counts,
        "judge": judge,
        "outage": outage,
        "over": over,
        "split": lambda model: reshard(model, "split"),
        "merge": lambda model: reshard(model, "merge"),
    }
    with LocalKinesis(
        streams=given["streams"],
        limits=Limits(),
        store=given.get("store", False),
        phases=Phases(updating=given.get("updating", 0.0)),
    ) as kinesis:
        kinesis.call(count_refusals)
        kinesis.faults.plan = plan
        print(json.dumps({"url": kinesis.endpoint_url}), flush=True)
        for line in sys.stdin:
            if line.strip() in ("split", "merge"):
                kinesis.faults.plan = None  # handle() would apply it
                result = kinesis.call(answers[line.strip()])
                kinesis.faults.plan = plan
            else:
                result = kinesis.call(answers[line.strip()])
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
