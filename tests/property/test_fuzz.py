"""Random input for the packer, the request body and the decoders, also broken input: equal results, and no crash.

Each case has its own seed, which a failure shows. FUZZ_SECONDS makes the tests longer, FUZZ_SEED gives other cases.
scripts/sanitize runs them with AddressSanitizer.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from kplpy import accelerator
from kplpy.accelerator import twins
from kplpy.aws.request_body import assemble
from kplpy.errors import AggregateTooLargeError, BatchTooLargeError, UnreadableBatchError
from kplpy.futures.record_future import HeadersFuture, Origin, RecordFuture
from kplpy.wire.compressed import Codec, check_codec, pack_batch, unpack_batch
from kplpy.wire.decode import InnerRecord, decode_aggregate
from kplpy.wire.encode import Entry, Packing
from kplpy.wire.envelope import MAGIC
from kplpy.wire.tags import decode_tags, encode_tags

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
CASES = 150

ORIGIN = Origin("orders")
# around those at which a varint grows, compiled code refers to data instead of copying it, MD5 has another block
SIZES = [n + d for n in (1, 56, 64, 128, 256, 4096, 16_384) for d in (-1, 0, 1)] + [70_000]
LAST_KEY = (1 << 128) - 1
CODECS: list[Codec] = ["none", "gzip", "zstd"]
try:
    check_codec("zstd")
except ImportError:
    CODECS.remove("zstd")


def run(case: Callable[[Random], None]) -> None:
    end = time.monotonic() + SECONDS
    number = 0
    while number < CASES or time.monotonic() < end:
        seed = f"{SEED}-{number}"
        try:
            case(Random(seed))
        except BaseException as failure:
            raise AssertionError(f"seed {seed}: {failure!r}") from failure
        number += 1


def some_text(random: Random, longest: int) -> str:
    letters = random.choice(["ab", "é", "Ω語", "🙂x"])
    return "".join(random.choices(letters, k=random.randint(1, longest)))


def some_record(random: Random, with_bad_keys: bool) -> Any:
    """Return a record of one of the kinds that a packing is given."""
    data: Any = random.randbytes(random.choice(SIZES) if random.random() < 0.3 else random.randint(0, 200))
    key = random.choice(["a", "customer-7"]) if random.random() < 0.5 else some_text(random, 256)
    hash_key = str(random.choice([0, 1, LAST_KEY, random.getrandbits(128)])) if random.random() < 0.2 else None
    if with_bad_keys and random.random() < 0.05:
        if hash_key is None or random.random() < 0.5:
            key = "\ud800" + key
        else:
            hash_key = "\ud800"
    tags = encode_tags({some_text(random, 20): random.choice([None, "", some_text(random, 300)])})
    kind = random.randrange(4)
    if kind == 0:
        tagged = HeadersFuture(ORIGIN, data, key, hash_key, 0, 1.0)
        tagged.tags = tags
        return tagged
    if kind == 1:
        return RecordFuture(ORIGIN, data, key, hash_key, 0, 1.0)
    if kind == 2 and type(data) is bytes:
        data = random.choice([bytearray, memoryview])(data)
    return Entry(data, key, hash_key, random.choice([b"", tags]))


def add(packing: Any, records: list[Any], max_size: int) -> int | type[BaseException]:
    try:
        return packing.add(records, max_size)  # type: ignore[no-any-return]
    except UnicodeEncodeError as error:
        return type(error)


def pack(random: Random) -> tuple[Any, Any, list[Any]]:
    """Fill a packing and its Python twin, compare them at each step, and return them with their records."""
    packing, twin = Packing(), twins["Packing"]()
    packed: list[Any] = []
    with_bad_keys = random.random() < 0.2
    for _ in range(random.randint(0, 6)):
        records = [some_record(random, with_bad_keys) for _ in range(random.choice([0, 1, 5, 40]))]
        max_size = sys.maxsize if random.random() < 0.5 else packing.size + random.randint(-1, 3000)
        added = add(packing, records, max_size)
        assert added == add(twin, records, max_size)
        if not isinstance(added, int):  # neither packing may be used after an error, but it must not crash
            for each in (packing, twin):
                each.data()
            return Packing(), twins["Packing"](), []
        packed += records[:added]
        for name in ("size", "data_size", "other_size", "smallest", "largest"):
            assert getattr(packing, name) == getattr(twin, name)
        if random.random() < 0.3:
            name = random.choice(["data", "message", "parts"])
            assert getattr(packing, name)() == getattr(twin, name)()
    if random.random() < 0.5:
        packing.trim()
        twin.trim()
    return packing, twin, packed


def pack_and_read_back(random: Random) -> None:
    packing, twin, packed = pack(random)
    data = packing.data()
    assert data == twin.data()
    expected = [
        InnerRecord(
            bytes(each.data), each.partition_key, each.explicit_hash_key, decode_tags(each.tags) if each.tags else None
        )
        for each in packed
    ]
    assert (decode_aggregate(data) or []) == expected


def assemble_bodies(random: Random) -> None:
    entries: list[Any] = []
    same: list[Any] = []
    for _ in range(random.randint(0, 6)):
        around = random.randbytes(random.randint(0, 9)), random.randbytes(random.randint(0, 9))
        if random.random() < 0.3:
            data = random.randbytes(random.choice(SIZES))
            entries.append((data, *around))
            same.append((data, *around))
        else:
            packing, twin, _ = pack(random)
            entries.append((packing, *around))
            same.append((twin, *around))
    in_base64 = random.random() < 0.5
    made = assemble(b"start", entries, b"end", in_base64)
    if accelerator.accelerated:  # the twin of `assemble` takes both kinds of packings
        assert made == twins["assemble"](b"start", entries, b"end", in_base64)
    assert made == twins["assemble"](
        b"start", [(d if isinstance(d, bytes) else d.data(), *a) for d, *a in same], b"end", in_base64
    )


def broken(random: Random, data: bytes) -> bytes:
    """Return the data with some bytes changed, cut out, doubled or put in."""
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.randint(0, 20))
        piece = random.choice(
            [b"", data[at:end] * 2, random.randbytes(end - at), b"\xff" * random.randint(0, 12), b"\x00"]
        )
        data = data[:at] + piece + data[end:]
    return data


def decode_broken_aggregates(random: Random) -> None:
    packing, _, _ = pack(random)
    message = broken(random, packing.message())
    data = MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()
    if random.random() < 0.1:
        data = broken(random, data)
    starting = random.choice([0, 0, random.getrandbits(128)])
    ending = random.choice([LAST_KEY, LAST_KEY, random.getrandbits(128)])
    limit = random.choice([None, 1, 10, 1000])
    try:
        found = decode_aggregate(data, starting, ending, limit)
    except AggregateTooLargeError:
        assert limit is not None
        return
    for each in found or ():
        assert each.data in data
        assert isinstance(each.partition_key, str)
    assert limit is None or len(found or ()) <= limit


def unpack_broken_batches(random: Random) -> None:
    message = random.choice([random.randbytes(500), b"abc" * 2000, b""])
    codec: Codec = random.choice(CODECS)
    data = pack_batch(message, codec, 1)
    assert unpack_batch(data) == message
    limit = random.choice([None, 100, 1 << 20])
    try:
        found = unpack_batch(broken(random, data), limit)
    except (BatchTooLargeError, UnreadableBatchError):
        return
    assert found is None or limit is None or len(found) <= limit


@pytest.mark.parametrize("case", [pack_and_read_back, assemble_bodies, decode_broken_aggregates, unpack_broken_batches])
def test_random_input(case: Callable[[Random], None]) -> None:
    run(case)
