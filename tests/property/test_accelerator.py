"""The compiled code does what its Python twin does, for any input, byte for byte."""

from __future__ import annotations

import hashlib
import json
import sys
from base64 import b64encode
from collections import deque
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kplpy import accelerator
from kplpy.accelerator import twins
from kplpy.aws.kinesis import request_json
from kplpy.aws.kinesis import response as response_module
from kplpy.core.batching.limiter import Limiter
from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.exchange import Accepted
from kplpy.core.record import NO_HASH_KEY, SendAttempt, payload_size
from kplpy.core.routing.shard_map import ShardMap
from kplpy.core.shard_range import LAST_KEY, ShardRange
from kplpy.futures.record_future import Origin, RecordFuture
from kplpy.hash_keys import HashKeys
from kplpy.wire.encode import Entry
from tests.core_helpers import WHOLE, policy
from tests.wire_records import hash_keys, partition_keys

for each in ("kplpy.producer", "kplpy.aws.request_body", "kplpy.core.results.landed"):  # they name their twins
    import_module(each)

pytestmark = pytest.mark.skipif(not accelerator.accelerated, reason="the accelerator is off")
native = accelerator.native

# around the sizes at which MD5 has another block, and base64 other code
SIZES = st.one_of(
    st.integers(0, 300), st.sampled_from([n + d for n in (56, 64, 120, 128, 4096) for d in (-1, 0, 1)] + [70_000])
)


@pytest.fixture(params=[0, 1, 2], ids=["plain", "avx2", "avx512"], scope="module")
def vectors(request: pytest.FixtureRequest) -> Iterator[None]:
    best = ("plain code", "AVX2", "AVX-512").index(native.vectors())
    if not native.use_vectors(request.param):
        pytest.skip("this processor cannot")
    yield
    native.use_vectors(best)


def some_bytes(size: int, seed: int) -> bytes:
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


messages = st.builds(some_bytes, SIZES, st.integers(0, 1 << 31))


@pytest.mark.usefixtures("vectors")
@given(st.lists(messages, max_size=40))
@example([b""] * 9)
def test_md5s_of_many_messages(many: list[bytes]) -> None:
    assert native.md5_all(many) == b"".join(hashlib.md5(each).digest() for each in many)


@pytest.mark.usefixtures("vectors")
@given(messages)
def test_base64(data: bytes) -> None:
    assert native.base64(data) == b64encode(data)


# --- packing ---

entries = st.builds(
    Entry,
    st.one_of(st.binary(max_size=20), messages),
    partition_keys(),
    st.none() | hash_keys() | st.integers(0, 3).map(str),
    st.sampled_from([b"", b"", b"tags"]),
)
parts = st.lists(st.tuples(st.lists(entries, max_size=20), st.integers(-1, 3000) | st.just(sys.maxsize)), max_size=5)


@given(parts)
def test_packing(added: list[tuple[list[Entry], int]]) -> None:
    compiled, twin = native.Packing(), twins["Packing"]()
    for records, limit in added:
        max_size = limit if limit == sys.maxsize else twin.size + limit
        assert compiled.add(records, max_size) == twin.add(records, max_size)
        for name in ("size", "data_size", "other_size", "smallest", "largest"):
            assert getattr(compiled, name) == getattr(twin, name)
    for name in ("data", "message", "parts"):
        assert getattr(compiled, name)() == getattr(twin, name)()
    compiled.trim()
    assert compiled.data() == twin.data()


@given(st.lists(entries, min_size=1, max_size=5))
def test_packing_refuses_a_key_that_is_not_utf_8_and_changes_nothing(records: list[Entry]) -> None:
    packing = native.Packing()
    packing.add(records, sys.maxsize)
    before = packing.data()
    for bad in (Entry(b"x", "\ud800", None, b""), Entry(b"x", "k", "\ud800", b"")):
        with pytest.raises(UnicodeEncodeError):
            packing.add([bad], sys.maxsize)
    assert packing.data() == before


# --- bodies ---

contents = st.one_of(messages, st.lists(entries, max_size=20))
bodies = st.lists(st.tuples(contents, st.binary(max_size=9), st.binary(max_size=9)), max_size=20)


def packed(records: list[Entry], kind: Any) -> Any:
    made = kind()
    made.add(records, sys.maxsize)
    return made


@pytest.mark.usefixtures("vectors")
@given(st.binary(max_size=9), bodies, st.binary(max_size=9), st.booleans())
@example(b"", [([Entry(b"x" * 200_000, "k", None, b"")] * 4, b"", b"")] * 3, b"", True)
def test_bodies(start: bytes, items: list[tuple[Any, bytes, bytes]], end: bytes, in_base64: bool) -> None:
    def of(kind: Any) -> list[tuple[Any, bytes, bytes]]:
        return [
            (content if isinstance(content, bytes) else packed(content, kind), before, after)
            for content, before, after in items
        ]

    expected = start
    for content, before, after in of(twins["Packing"]):
        data = content if isinstance(content, bytes) else content.data()
        expected += before + (b64encode(data) if in_base64 else data) + after
    assert native.assemble(start, of(native.Packing), end, in_base64) == expected + end
    assert twins["assemble"](start, of(native.Packing), end, in_base64) == expected + end


@pytest.mark.parametrize(
    ("entry", "error"),
    [((b"", b""), ValueError), (("x", b"", b""), TypeError), ((b"", None, b""), TypeError), ([], TypeError)],
)
def test_a_body_of_other_things_is_refused(entry: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        native.assemble(b"", [entry], b"", True)


# --- records ---

ORIGIN = Origin("orders")
good = st.tuples(st.binary(max_size=30), partition_keys())
bad = st.sampled_from(
    [(b"x" * 101, "k"), (b"", ""), (b"", "k" * 257), (b"", "\ud800"), ("", "k"), (b"", b"k"), (b"",), [b"", "k"], None]
)


@given(st.lists(good, max_size=40), st.none() | bad)
def test_the_records_of_a_list(items: list[Any], other: Any) -> None:
    if other is not None:
        items = [*items, other]
    compiled, twin = (make(ORIGIN, items, 100, HashKeys()) for make in (native.plain_records, twins["plain_records"]))
    assert (compiled is None, twin is None) == (other is not None,) * 2
    if compiled is not None:
        for one, another in zip(*(records for records, _ in (compiled, twin)), strict=True):
            for name in ("data", "partition_key", "explicit_hash_key", "hash_key", "tries", "tags", "maybe_written"):
                assert getattr(one, name) == getattr(another, name)
            assert abs(one.arrival - another.arrival) < 10
        assert compiled[1] == twin[1] == payload_size(compiled[0]) == twins["payload_size"](compiled[0])
        assert list(native.arrivals_of(compiled[0])) == list(twins["arrivals_of"](compiled[0]))


keys = st.integers(0, LAST_KEY) | st.builds(
    lambda byte, near: min(max((byte << 120) + near, 0), LAST_KEY), st.integers(0, 256), st.integers(-2, 2)
)


@given(st.sets(keys, max_size=20), st.lists(keys | st.just(NO_HASH_KEY), max_size=30))
def test_grouping(cuts: set[int], hash_keys: list[int]) -> None:
    starts = sorted({0, *cuts})
    shards = ShardMap()
    ends = [*(start - 1 for start in starts[1:]), LAST_KEY]
    shards.update([ShardRange(f"shardId-{n}", *each) for n, each in enumerate(zip(starts, ends, strict=True))], 0.0)
    found = []
    for kind in (native.HashKeyRanges, twins["HashKeyRanges"]):
        ranges = kind(shards.ends, shards.by_first_byte)
        records = [RecordFuture(ORIGIN, b"", str(n), None, key, 1.0) for n, key in enumerate(hash_keys)]
        rest, number, steps = iter(records), 5, []
        while True:
            groups, number, keyless = ranges.group(rest, number)
            steps.append([(index, [(each.partition_key, each.number) for each in group]) for index, group in groups])
            if keyless is None:
                break
            steps.append(keyless.partition_key)
        found.append((steps, number))
        for index, names in (each for step in steps if isinstance(step, list) for each in step):
            assert all(shards.open[index].holds(hash_keys[int(name)]) for name, _ in names)
    assert found[0] == found[1]


class FewQueue:
    """A ShardQueue as far as HashKeyRanges.append knows it. It opens a batch, and packs its few into it."""

    def __init__(self) -> None:
        self.few: list[Any] = []
        self.open: list[Any] | None = None

    def add(self, items: list[Any]) -> list[list[Any]]:
        is_new = self.open is None
        packed = self.open = [*(self.open or ()), *self.few, *items]
        self.few = []
        return [packed] if is_new else []


@given(st.sets(keys, max_size=5), st.lists(keys | st.just(NO_HASH_KEY), max_size=40))
def test_few_records_for_many_shards(cuts: set[int], hash_keys: list[int]) -> None:
    shards = ShardMap()
    starts = sorted({0, *cuts})
    ends = [*(start - 1 for start in starts[1:]), LAST_KEY]
    shards.update([ShardRange(f"shardId-{n}", *each) for n, each in enumerate(zip(starts, ends, strict=True))], 0.0)
    found = []
    for kind in (native.HashKeyRanges, twins["HashKeyRanges"]):
        records = [RecordFuture(ORIGIN, b"", str(n), None, key, 1.0) for n, key in enumerate(hash_keys)]
        queues = [FewQueue() for _ in shards.open]
        routed: list[Any] = []
        opened: list[Any] = []
        number = kind(shards.ends, shards.by_first_byte).append(records, 7, queues, 3, routed.append, opened.append)
        assert number == 7 + len(records)
        assert [each.number for each in records] == [*range(7, number)]
        names = [[[each.partition_key for each in part] for part in (queue.few, queue.open or ())] for queue in queues]
        found.append((names, [each.partition_key for each in routed], len(opened)))
    assert found[0] == found[1]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_arrivals_are_sorted(arrivals: list[float]) -> None:
    records: list[Any] = [RecordFuture(ORIGIN, b"", "k", None, 0, arrival) for arrival in arrivals]
    assert list(native.arrivals_of(records)) == list(twins["arrivals_of"](records)) == sorted(arrivals)


# --- requests of single records ---

keys_of_all_kinds = st.one_of(partition_keys(), st.text(st.characters(max_codepoint=0x7F), min_size=1, max_size=20))


def batches_of(records: list[tuple[bytes, str, int, bytes]], shards: int = 1) -> list[Batch]:
    """Return batches of one record each. Those with tags are aggregates."""
    starts = [-(-(shard << 128) // shards) for shard in range(shards + 1)]
    ranges = [ShardRange(f"shardId-{shard:012}", starts[shard], starts[shard + 1] - 1) for shard in range(shards)]
    queues = [ShardQueue(each, policy(), Limiter(1.0, 0.0)) for each in ranges]
    made = []
    for data, key, hash_key, tags in records:
        kind = RecordWithTags if tags else RecordFuture
        record = kind(ORIGIN, data, key, None, hash_key, 0.0)
        record.number = 0
        if tags:
            record.tags = tags
        made.append(Batch.alone(queues[hash_key * shards >> 128], record))
    return made


class RecordWithTags(RecordFuture):
    """A future that is not a plain one."""

    tags = b""


ORIGIN = Origin("stream")
singles = st.tuples(
    messages,
    keys_of_all_kinds,
    st.integers(0, LAST_KEY) | st.integers(0, 2000),
    st.sampled_from([b"", b"", b"\x22\x00"]),
)


@pytest.mark.usefixtures("vectors")
@given(st.lists(singles, max_size=20))
@example([(b"x", "key", 10**power - below, b"") for power in range(39) for below in (0, 1)])
@example([(b"x", "key", LAST_KEY, b""), (b"x", '"\\\x7f\x00\u00e9', 0, b"")])
def test_bodies_of_single_records(records: list[tuple[bytes, str, int, bytes]]) -> None:
    batches = batches_of(records)
    start, entry_of = b'{"StreamName":"stream","Records":[', request_json.entry_of
    body = native.assemble_json(start, batches, entry_of)
    assert body == twins["assemble_json"](start, batches, entry_of)
    assert len(json.loads(body)["Records"]) == len(records)


numbers = st.integers(1, 10**56).map(str)
accepted = st.builds(
    lambda number, shard: {"SequenceNumber": number, "ShardId": f"shardId-{shard:012}"}, numbers, st.integers(0, 3)
)
texts = st.sampled_from(["", "1", "\u00e9", '"', "\\", "\x7f", "\n"]) | st.text(max_size=3)
unusual = st.dictionaries(
    st.sampled_from(["SequenceNumber", "ShardId", "ErrorCode", "ErrorMessage", "Other"]), texts | st.none(), max_size=4
)
responses = st.fixed_dictionaries(
    {"Records": st.lists(accepted, min_size=1, max_size=8) | st.lists(accepted | unusual | texts, max_size=4)},
    optional={"FailedRecordCount": st.integers(-3, 600) | st.floats(), "EncryptionType": texts, "Other": texts},
)


@given(responses, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r")]), st.data())
def test_accepted_entries(response: dict[str, Any], is_ascii: bool, separators: Any, data: st.DataObject) -> None:
    members = [*response]
    response = {name: response[name] for name in data.draw(st.permutations(members))}
    body = json.dumps(response, ensure_ascii=is_ascii, separators=separators).encode()
    check_accepted(body, must_read=False)
    usual = [each for each in response["Records"] if is_usual(each)]
    if usual:
        check_accepted(json.dumps({"Records": usual}, separators=separators).encode(), must_read=True)
    # What is no JSON, or no JSON any more.
    place = data.draw(st.integers(0, len(body)))
    check_accepted(body[:place], must_read=False)
    check_accepted(
        body[:place] + data.draw(st.sampled_from([b"", b" ", b"}", b",", b'"', b"0", b"\0", b"\xff"])) + body[place:],
        False,
    )


@pytest.mark.parametrize("end", [b"\0", b" \0", b"x", b"}"])
def test_nothing_may_follow_an_accepted_response(end: bytes) -> None:
    body = b'{"Records":[{"SequenceNumber":"1","ShardId":"shardId-0"}]}'
    assert native.read_accepted(body + b" \n") == (["shardId-0"], ["1"])
    assert native.read_accepted(body + end) is None


def is_usual(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and len(entry) == 2
        and str(entry.get("SequenceNumber")).isdigit()
        and str(entry.get("ShardId")).startswith("shardId-")
    )


def check_accepted(body: bytes, must_read: bool) -> None:
    found = native.read_accepted(body)
    if found is None:
        assert not must_read
        return
    expected = json.loads(body)["Records"]
    assert response_module.read_entries(expected) == expected
    assert Accepted(*found) == expected


@given(
    st.lists(singles, min_size=1, max_size=20),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 19), st.integers(0, 4), texts), max_size=2),
    st.booleans(),
)
def test_batches_that_landed_as_predicted(
    records: list[tuple[bytes, str, int, bytes]], shards: int, elsewhere: list[tuple[int, int, str]], as_lists: bool
) -> None:
    batches = batches_of(records, shards)
    ids = [batch.queue.shard_id or "" for batch in batches]
    sequence_numbers = [str(number) for number in range(len(batches))]
    for place, shard, number in elsewhere:
        if place < len(batches):
            ids[place], sequence_numbers[place] = f"shardId-{shard:012}", number
    accepted_entries: Any = Accepted(ids, sequence_numbers)
    entries = accepted_entries if as_lists else [*accepted_entries]
    ranges = {batch.queue.shard_id: batch.queue.shard for batch in batches}
    final = SendAttempt(1.0, 2.0, 3.0)
    assert native.group_predicted(batches, entries, ranges.get, final) == twins["group_predicted"](
        batches, entries, ranges.get, final
    )
    assert native.add_up(batches) == twins["add_up"](batches)


@given(st.lists(singles, min_size=1, max_size=10), st.booleans())
def test_batches_of_records_alone(records: list[tuple[bytes, str, int, bytes]], wraps: bool) -> None:
    queue = ShardQueue(WHOLE, policy(aggregate_single_records=wraps), Limiter(1.0, 0.0))
    items = [batch.items[0] for batch in batches_of(records)]
    for item in items[1:4]:
        item.tries = (SendAttempt(1.0, 2.0, 3.0),)
    for place, item in enumerate(items):
        item.arrival = float(place * 7 % 5)
    made, *sums, oldest = native.batches_alone(Batch, queue, items)
    expected, *expected_sums, expected_oldest = twins["batches_alone"](Batch, queue, items)
    assert sums == expected_sums
    assert made.index(oldest) == expected.index(expected_oldest)
    assert [fields_of(each) for each in made] == [fields_of(each) for each in expected]


def fields_of(batch: Batch) -> list[Any]:
    names = "aggregated arrival closed data_size items payload queue tried wire_size is_sealed outer_key packed"
    return [getattr(batch, name) for name in names.split()] + [batch.arrivals(), batch.sizes()]


limits = st.integers(-1, 400)


@given(st.lists(singles, max_size=10), st.integers(-1, 11), limits, limits, limits)
def test_taking_a_run(
    records: list[tuple[bytes, str, int, bytes]], count: int, size: float, largest: int, data_size: int
) -> None:
    batches = batches_of(records)
    queues = [deque(batches), deque(batches)]
    takens: list[list[Batch]] = [[], []]
    ends = [
        take(queue, taken, count, size + 0.5, largest, data_size)
        for take, queue, taken in zip((native.take_run, twins["take_run"]), queues, takens, strict=True)
    ]
    assert (ends[0], queues[0], takens[0]) == (ends[1], queues[1], takens[1])
