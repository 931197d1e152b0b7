"""The compiled code neither keeps nor loses references. `RECORDS=1000000` makes the check longer."""

from __future__ import annotations

import gc
import json
import os
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable

import pyarrow as pa
import pytest

from kplpy import RecordFuture, accelerator
from kplpy.aws.kinesis.request_json import assemble_json, entry_of
from kplpy.aws.kinesis.response import read_accepted
from kplpy.aws.request_body import assemble
from kplpy.concurrency import has_gil
from kplpy.core.batching.limiter import Limiter
from kplpy.core.batching.shard_queue import Batch, ShardQueue, arrivals_of, batches_alone, take_run
from kplpy.core.exchange import Accepted
from kplpy.core.outcome import Delivered
from kplpy.core.record import SendAttempt, compute_hash_keys, payload_size
from kplpy.core.results.landed import add_up, group_predicted
from kplpy.core.routing.hash_key_ranges import HashKeyRanges
from kplpy.errors import InvalidRecordError
from kplpy.futures.record_future import HeadersFuture, Origin
from kplpy.futures.resolve import first_pending, resolve, resolve_each
from kplpy.futures.tally import count_delivered
from kplpy.hash_keys import HashKeys
from kplpy.integrations.arrow_values import payloads, texts
from kplpy.runtime.put_target import move_staged, new_staging
from kplpy.validation import Checks, Rows, RowValues
from kplpy.wire.encode import Packing
from tests.core_helpers import WHOLE, policy

RECORDS = int(os.environ.get("RECORDS", "20000"))
ROUND = 2000

ORIGIN = Origin("orders")
DELIVERED = Delivered("shardId-0", "1", SendAttempt(1.0, 1.0, 2.0))
DATA, SMALL = b"d" * 1000, b"s" * 50
CHECKS = Checks(1 << 20, HashKeys())
HASH_KEYS = HashKeys()
RANGES = HashKeyRanges([(1 << 127) - 1, (1 << 128) - 1], [0] * 128 + [1] * 128)
SHARED = (ORIGIN, DELIVERED, DATA, SMALL, RecordFuture, CHECKS)


def life(number: int) -> None:
    """Take records from the put to their outcome, with all that happens on the way."""
    keys = [f"key-{number}-{each % 300}" for each in range(ROUND)]
    records, _ = CHECKS.records(ORIGIN, [(DATA if each % 3 else SMALL, key) for each, key in enumerate(keys)])
    records.append(CHECKS.record(ORIGIN, SMALL, "explicit", 5))
    tagged = HeadersFuture(ORIGIN, SMALL, "tagged", None, 7, 1.0)
    tagged.tags = b"tags"
    staging = new_staging()
    staging.extend([*records, tagged])
    drained: list[RecordFuture] = []
    move_staged(staging, drained)
    compute_hash_keys(drained)
    payload_size(drained)
    groups, _, _ = RANGES.group(iter(drained), 0)
    entries = []
    for _, group in groups:
        packing = Packing()
        packing.add(group[:100], 1 << 20)
        packing.add(group[100:], 1 << 16)
        arrivals_of(list(group))
        packing.trim()
        entries.append((packing, b"before", b"after"))
    assemble(b"start", [*entries, (DATA, b"", b"")], b"end", number % 2 == 0)
    single_records(CHECKS.records(ORIGIN, [(SMALL, f"alone-{each}") for each in range(100)])[0])
    records[0].mine = records[0]  # type: ignore[attr-defined]  # a circle, for the garbage collector
    records[1].add_done_callback(print)
    resolve(drained, DELIVERED)
    first_pending(drained, 0)
    [each.result() for each in drained[:50]]


def of_arrays(number: int) -> None:
    """Make records of Arrow arrays, and of some that are not read to their end."""
    keys = pa.array([None, "ö", *(f"key-{number}-{each}" for each in range(ROUND - 2))])
    data = pa.array([SMALL] * ROUND)
    checks = Checks(1 << 20, HashKeys())  # the Python twin caches hash keys
    for of_keys in (keys, keys.cast(pa.large_binary()), None):
        records, _, _ = checks.rows(ORIGIN, rows(data, of_keys))
        resolve(records[:9], DELIVERED)
        count_delivered(records, 0, Delivered)
    for wrong in (pa.array([SMALL, None]), pa.array([SMALL, b"d" * (1 << 20)])):
        checks.rows(ORIGIN, rows(wrong, keys[:2]))
    damaged = pa.array([b"k", b"\xff"])
    checks.rows(ORIGIN, rows(data[:2], damaged))


def rows(data: pa.Array, keys: pa.Array | None) -> Rows:
    def values() -> RowValues:
        return RowValues(payloads(data), [None] * len(data) if keys is None else texts(keys))

    return Rows(values, (data, keys))


def single_records(records: list[RecordFuture]) -> None:
    """Take records through a request in which each travels alone."""
    compute_hash_keys(records)
    queue = ShardQueue(WHOLE, policy(), Limiter(1.0, 0.0))
    batches, _, _, _ = batches_alone(Batch, queue, [*records])
    taken: list[Batch] = []
    take_run(deque(batches), taken, 90, 1e9, 1e9, 1e9)
    assemble_json(b"", taken, entry_of)
    sent = [{"SequenceNumber": str(each), "ShardId": WHOLE.shard_id} for each in range(len(taken))]
    read_accepted(json.dumps({"Records": [*sent, {}]}).encode())
    if accelerator.accelerated:
        accepted = read_accepted(json.dumps({"Records": sent}).encode())
        assert accepted is not None
        entries = Accepted(*accepted)
        assert group_predicted(taken, entries, lambda _: None, DELIVERED.final) is None
        groups = group_predicted(taken, entries, {WHOLE.shard_id: WHOLE}.get, DELIVERED.final)
        assert groups is not None
        items, *_ = add_up(groups[0][1])
        resolve_each(items, groups[0][2])  # type: ignore[arg-type]


def mistakes(number: int) -> None:
    """Run into each error of the compiled code."""
    items = [(SMALL, "k")] * 5
    for wrong in ((SMALL, "\ud800"), (SMALL, ""), (DATA,), None, (7, "k")):
        with pytest.raises(InvalidRecordError):
            CHECKS.records(ORIGIN, [*items, wrong])  # type: ignore[list-item]
    packing = Packing()
    packing.add(CHECKS.records(ORIGIN, items)[0], 1 << 20)
    with pytest.raises((AttributeError, TypeError)):
        packing.add([7], 1 << 20)  # type: ignore[list-item]
    with pytest.raises((TypeError, ValueError)):
        assemble(b"", [(packing, b"")], b"", True)  # type: ignore[list-item]
    with pytest.raises((TypeError, AttributeError)):
        RANGES.group(iter([7]), 0)  # type: ignore[list-item]


@pytest.mark.skipif(not has_gil(), reason="without a GIL there is no compiled code, and counts are approximations")
@pytest.mark.parametrize("step", [life, of_arrays, mistakes])
def test_references_and_memory_stay_the_same(step: Callable[[int], None]) -> None:
    """tracemalloc counts Python's objects; the references to shared objects show each of a lost count."""
    for number in range(3):
        step(number)
    gc.collect()
    before = [sys.getrefcount(each) for each in SHARED]
    tracemalloc.start()
    try:
        step(0)
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        for number in range(max(1, RECORDS // ROUND)):
            step(number)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - size
    finally:
        tracemalloc.stop()
    assert [sys.getrefcount(each) for each in SHARED] == before
    # The Python twin caches hash keys and the pieces of the wire format.
    assert grown < (60_000 if accelerator.accelerated else 3_000_000)
