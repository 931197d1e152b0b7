"""Makes the vectors that every decoder of kplpy's formats is tested with: decoders/vectors/vectors.jsonl.

`scripts/vectors.py --write` writes the file. decoders/vectors/README.md describes a line. Compressors differ between
versions, so a new file may have other bytes for the same records; tests/parity/test_vectors.py compares the messages.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kplpy.wire.compressed import MAGIC as BATCH_MAGIC
from kplpy.wire.compressed import MAX_UNCOMPRESSED, VERSION, Codec, pack_batch
from kplpy.wire.decode import InnerRecord
from kplpy.wire.encode import encode_aggregate
from kplpy.wire.envelope import DIGEST_SIZE, MAGIC, MAX_RECORDS
from kplpy.wire.schema import aggregated_record_class

FILE = Path(__file__).resolve().parent.parent / "decoders/vectors/vectors.jsonl"
EXPLICIT = 10  # a vector of more records has their digest instead
INLINE = 300  # bytes of data that stand in the file; longer data has its SHA-256 there
TOP = str(2**128 - 1)
CODECS: tuple[Codec, ...] = ("none", "gzip", "zstd")

Vector = dict[str, Any]
Records = Sequence[InnerRecord]


def vectors() -> list[Vector]:
    made = [
        *_contents(),
        *_levels(),
        *_other_writers(),
        *_large(),
        *_random(),
        *_limits(),
        *_unknown(),
        *_damaged_batches(),
        *_damaged_aggregates(),
        *_plain(),
    ]
    names = [each["name"] for each in made]
    assert len(set(names)) == len(names)
    return made


# --- messages ---


def user_record(
    data: bytes, key: str, hash_key: str | None = None, headers: dict[str, str | None] | None = None
) -> InnerRecord:
    return InnerRecord(data, key, hash_key, headers)


def message_of(records: Iterable[InnerRecord]) -> bytes:
    """Return the serialised AggregatedRecord, as kplpy writes it."""
    return encode_aggregate(records)[len(MAGIC) : -DIGEST_SIZE]


def aggregate_of(message: bytes) -> bytes:
    return MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()


def events(count: int) -> list[InnerRecord]:
    """Return JSON events of some 220 bytes, with numbers by chance in each."""
    chance = random.Random(20)
    found = []
    for number in range(count):
        event = {
            "event_id": f"{chance.getrandbits(24):06x}",
            "customer": f"customer-{chance.randrange(500)}",
            "type": chance.choice(["order_created", "order_paid", "order_sent"]),
            "price": round(chance.uniform(1, 500), 2),
            "at": 1_790_000_000_000 + number * 17 + chance.randrange(17),
            "description": "an event of the shop, as its customers' orders make them",
            "is_first_order": chance.random() < 0.2,
            "items": [chance.randrange(100)],
        }
        found.append(user_record(json.dumps(event).encode(), str(event["customer"])))
    return found


def contents() -> dict[str, list[InnerRecord]]:
    """Return the records that each format is tried with."""
    one = b'{"id": 7}'
    return {
        "one-record": [user_record(one, "customer-42")],
        "three-records": [user_record(each, "customer-1") for each in (b"first", b"second", b"third")],
        "empty-data": [user_record(b"", "a"), user_record(b"x", "b"), user_record(b"", "a")],
        "only-empty-data": [user_record(b"", "k")],
        "hash-keys": [user_record(b"%d" % n, f"k{n}", key) for n, key in enumerate(["0", TOP, str(2**127), "0"])],
        "mixed-hash-keys": [user_record(b"1", "a", TOP), user_record(b"2", "b"), user_record(b"3", "a", "0")],
        "unicode-keys": [
            user_record(key.encode(), key)
            for key in ("Ω", "🙂", "e\u0301", "\u00e9", "\0", "\u2028", "日本語", "\U0010ffff" * 256, " ", "ключ")
        ],
        "binary-data": [user_record(bytes(range(256)), "k"), user_record(b"\0" * 40, "k"), user_record(b"\xff", "k")],
        "data-with-magics": [
            user_record(BATCH_MAGIC + b"\1\2", "k"),
            user_record(MAGIC, "k"),
            user_record(b"\x1f\x8b", "k"),
        ],
        "aggregate-within": [user_record(encode_aggregate([user_record(b"inner", "i")]), "outer")],
        "batch-within": [user_record(pack_batch(message_of([user_record(b"inner", "i")]), "none", 0), "outer")],
        "sizes": [user_record((b"0123456789" * 13)[:n], f"size-{n}") for n in (0, 1, 2, 3, 126, 127, 128, 129)],
        "many-keys": [user_record(b"%d" % n, f"key-{n}", str(n) if n % 3 else None) for n in range(200)],
        "many-records": [user_record(b"%d" % n, f"key-{n % 7}") for n in range(400)],
        "incompressible": [user_record(random.Random(3).randbytes(2_000), "k")],
        "headers": [
            user_record(b"1", "a", headers={"content-type": "application/json"}),
            user_record(b"2", "a", headers={"no-value": None, "empty-value": "", "": "empty key", "é": "🙂"}),
            user_record(b"3", "b"),
            user_record(b"", "b", headers={"traceparent": "00-" + "0af7651916cd43dd" * 2 + "-b7ad6b7169203331-01"}),
        ],
        "headers-and-hash-keys": [user_record(b"x", "k", key, {"a": key}) for key in ("0", TOP)],
        "header-alone": [user_record(b"data", "k", headers={"a": "b"})],
        "long-header": [user_record(b"data", "k", headers={"h" * 128: "v" * 2_000})],
    }


def _contents() -> Iterator[Vector]:
    for name, records in contents().items():
        message = message_of(records)
        yield expect(f"aggregate-{name}", "aggregate", aggregate_of(message), records)
        for codec in CODECS:
            yield expect(f"batch-{codec}-{name}", "batch", pack_batch(message, codec, 3), records)


def _levels() -> Iterator[Vector]:
    records = events(12)
    message = message_of(records)
    for level in (1, 9):
        yield expect(f"batch-gzip-level-{level}", "batch", pack_batch(message, "gzip", level), records)
    for level in (-5, 1, 9, 19, 22):
        yield expect(f"batch-zstd-level-{level}", "batch", pack_batch(message, "zstd", level), records)


def _other_writers() -> Iterator[Vector]:
    """Yield what other writers may make of the same message, and is valid."""
    import zstandard

    records = events(12)
    message = message_of(records)
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    flushed = compressor.compress(message[:2000]) + compressor.flush(zlib.Z_FULL_FLUSH)
    flushed += compressor.compress(message[2000:]) + compressor.flush()
    streamed = zstandard.ZstdCompressor(level=3).compressobj()
    parts = streamed.compress(message[:2000]) + streamed.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    payloads = {
        "gzip-stored": (1, gzip.compress(message, 0, mtime=0)),
        "gzip-with-time": (1, gzip.compress(message, 6, mtime=1_790_000_000)),
        "gzip-flushed": (1, flushed),
        "zstd-without-size": (2, zstandard.ZstdCompressor(write_content_size=False).compress(message)),
        "zstd-with-checksum": (2, zstandard.ZstdCompressor(write_checksum=True).compress(message)),
        "zstd-in-blocks": (2, parts + streamed.compress(message[2000:]) + streamed.flush()),
    }
    for name, (codec, payload) in payloads.items():
        yield expect(f"batch-{name}", "batch", batch(message, codec, payload), records)

    yield expect("aggregate-unused-keys", "aggregate", aggregate_of(unused_keys()), [user_record(b"x", "used")])
    yield expect("batch-unused-keys", "batch", batch(unused_keys(), 0), [user_record(b"x", "used")])
    twice = [user_record(b"x", "k", headers={"a": "last", "b": None})]
    yield expect("aggregate-header-twice", "aggregate", aggregate_of(header_twice()), twice)
    yield expect("batch-header-twice", "batch", batch(header_twice(), 0), twice)
    later = message_of([user_record(b"x", "k")])
    # Fields that a later version may add: 15 as a varint, as bytes, and as 4 and 8 bytes.
    later += b"\x78\x05" + b"\x7a\x02hi" + b"\x7d1234" + b"\x7912345678"
    yield expect("aggregate-unknown-fields", "aggregate", aggregate_of(later), [user_record(b"x", "k")])
    yield expect("batch-unknown-fields", "batch", batch(later, 0), [user_record(b"x", "k")])


def unused_keys() -> bytes:
    message: Any = aggregated_record_class()()
    message.partition_key_table.extend([b"unused", b"used", b"unused too"])
    message.explicit_hash_key_table.append(b"5")
    message.records.add(partition_key_index=1, data=b"x")
    return bytes(message.SerializeToString())


def header_twice() -> bytes:
    message: Any = aggregated_record_class()()
    message.partition_key_table.append(b"k")
    record = message.records.add(partition_key_index=0, data=b"x")
    record.tags.add(key=b"a", value=b"first")
    record.tags.add(key=b"b", value=b"")
    record.tags.add(key=b"a", value=b"last")
    record.tags.add(key=b"b")
    return bytes(message.SerializeToString())


def _large() -> Iterator[Vector]:
    """Yield large messages. Only their rule is in the file, or what a compressor makes of them."""
    records = events(720)  # more than one block of zstd, and more than gzip's window
    message = message_of(records)
    assert len(message) > 128 * 1024
    yield expect("batch-gzip-blocks", "batch", pack_batch(message, "gzip", 6), records)
    yield expect("batch-zstd-blocks", "batch", pack_batch(message, "zstd", 9), records)
    for name, size in (("16383", 16_383), ("16384", 16_384), ("1-mib", 1 << 20), ("10-mib", 10 << 20)):
        pattern = b"kplpy " * 100
        data = (pattern * (size // len(pattern) + 1))[:size]
        records = [user_record(data, "large")]
        message = message_of(records)
        head = message[: -len(data)]
        by_rule = {"repeat": text(pattern), "size": size}
        codecs: list[tuple[Codec, int]] = [("gzip", 9), ("zstd", 1)]
        if name != "10-mib":  # of which a Kinesis record has no space for a header
            digest = hashlib.md5(message, usedforsecurity=False).digest()
            parts: list[Any] = [text(MAGIC + head), by_rule, text(digest)]
            yield expect(f"aggregate-{name}", "aggregate", parts, records)
            whole = pack_batch(message, "none", 0)
            yield expect(f"batch-none-{name}", "batch", [text(whole[: -len(data)]), by_rule], records)
            yield plain(f"plain-{name}", [by_rule])
            codecs.append(("zstd", 19))  # whose window is larger
        for codec, level in codecs:
            made = pack_batch(message, codec, level)
            yield expect(f"batch-{codec}-{level}-{name}", "batch", made, records)


def _random() -> Iterator[Vector]:
    chance = random.Random(15)
    for number in range(24):
        keys = [f"k{n}" for n in range(chance.randint(1, 5))] + ["ü", "🙂"]
        has_hash_keys = chance.random() < 0.3
        records = [
            user_record(
                chance.randbytes(chance.choice([0, 1, 5, 20])),
                chance.choice(keys),
                str(chance.getrandbits(128)) if has_hash_keys else None,
                headers={f"h{n}": chance.choice([None, "", "v"]) for n in range(chance.randint(1, 3))}
                if chance.random() < 0.3
                else None,
            )
            for _ in range(chance.randint(1, 12))
        ]
        message = message_of(records)
        codec = CODECS[number % 4 - 1]
        if number % 4 == 0:
            yield expect(f"aggregate-random-{number}", "aggregate", aggregate_of(message), records)
        else:
            made = pack_batch(message, codec, chance.randint(1, 9))
            yield expect(f"batch-{codec}-random-{number}", "batch", made, records)


# --- errors ---


def _limits() -> Iterator[Vector]:
    records = [user_record(b"x" * 91, "k")]
    message = message_of(records)
    for codec in CODECS:
        data = pack_batch(message, codec, 3)
        yield {**expect(f"batch-{codec}-at-the-limit", "batch", data, records), "max_uncompressed": len(message)}
        over = {**refuse(f"batch-{codec}-over-the-limit", "too_large", data), "max_uncompressed": len(message) - 1}
        yield over
    room = MAX_UNCOMPRESSED - len(message_of([user_record(b"x" * MAX_UNCOMPRESSED, "k")])) + MAX_UNCOMPRESSED
    for name, size in (("at", room), ("over", room + 1)):
        records = [user_record(b"x" * size, "k")]
        message = message_of(records)
        assert len(message) - MAX_UNCOMPRESSED == (name == "over")
        data = pack_batch(message, "zstd", 1)
        if name == "at":
            yield expect("batch-at-the-usual-limit", "batch", data, records)
        else:
            yield refuse("batch-over-the-usual-limit", "too_large", data)
    highest = header(2, 0, 2**35 - 1) + b"anything"
    yield refuse("batch-announces-2**35-1", "too_large", highest)
    yield refuse("batch-announces-2**32", "too_large", header(1, 0, 2**32) + b"anything")
    # The size of the content is not what the header says: nobody may decompress it all.
    bomb = message_of([user_record(b"\0" * (2 << 20), "k")])
    for codec in CODECS[1:]:
        payload = pack_batch(bomb, codec, 9)[10:]
        payload = payload[next(n for n, byte in enumerate(payload) if byte < 0x80) + 1 :]
        number = CODECS.index(codec)
        yield plain(f"plain-batch-{codec}-longer-than-announced", header(number, zlib.crc32(bomb), 1000) + payload)

    too_many = message_of([user_record(b"", "k")] * (MAX_RECORDS + 1))
    yield refuse("batch-over-the-usual-limit-of-records", "too_many_records", pack_batch(too_many, "zstd", 19))
    few: Records = [user_record(b"x", "k")] * 3
    yield {**expect("aggregate-at-a-limit-of-records", "aggregate", encode_aggregate(few), few), "max_records": 3}
    yield {**refuse("aggregate-over-a-limit-of-records", "too_many_records", encode_aggregate(few)), "max_records": 2}
    keys: Any = aggregated_record_class()()
    keys.partition_key_table.extend([b"a", b"b", b"c"])
    keys.records.add(partition_key_index=2, data=b"x")
    over_keys = batch(keys.SerializeToString(), 0)
    yield {**refuse("batch-over-a-limit-of-keys", "too_many_records", over_keys), "max_records": 2}
    records = [user_record(b"x", "k", headers={f"h{number}": None for number in range(4)})]
    for kind, data in (("aggregate", encode_aggregate(records)), ("batch", batch(message_of(records), 0))):
        yield {**expect(f"{kind}-at-a-limit-of-headers", kind, data, records), "max_records": 1}
    records = [user_record(b"x", "k", headers={f"h{number}": None for number in range(5)})]
    for kind, data in (("aggregate", encode_aggregate(records)), ("batch", batch(message_of(records), 0))):
        yield {**refuse(f"{kind}-over-a-limit-of-headers", "too_many_records", data), "max_records": 1}


def _unknown() -> Iterator[Vector]:
    good = pack_batch(message_of([user_record(b"x", "k")]), "none", 0)
    for version in (0, 2, 255):
        yield refuse(f"batch-version-{version}", "unreadable", good[:4] + bytes([version]) + good[5:])
    for codec in (3, 255):
        yield refuse(f"batch-codec-{codec}", "unreadable", good[:5] + bytes([codec]) + good[6:])
    yield refuse(
        "batch-version-2-and-large", "unreadable", BATCH_MAGIC + b"\x02\0" + b"\0" * 4 + b"\xff\xff\xff\xff\x7f"
    )
    yield refuse("batchs-magic-and-other-text", "unreadable", BATCH_MAGIC + b" is how a batch begins, whatever follows")
    yield plain("plain-version-2-cut-off", BATCH_MAGIC + b"\x02\0" + b"\0" * 4 + b"\xff")


# --- damage: plain records ---


def _damaged_batches() -> Iterator[Vector]:
    message = message_of(events(3))
    for number, codec in enumerate(CODECS):
        good = pack_batch(message, codec, 3)
        payload = good[12:]
        assert good == header(number, zlib.crc32(message), len(message)) + payload
        flipped = bytes([payload[100] ^ 1])
        damaged = {
            "wrong-crc": header(number, zlib.crc32(message) ^ 1, len(message)) + payload,
            "crc-in-other-order": header(number, int.from_bytes(good[6:10], "little"), len(message)) + payload,
            "size-too-small": header(number, zlib.crc32(message), len(message) - 1) + payload,
            "size-too-large": header(number, zlib.crc32(message), len(message) + 1) + payload,
            "flipped-bit": good[:112] + flipped + good[113:],
            "cut-in-half": good[: len(good) // 2],
            "no-payload": good[:12],
            "another-codecs-payload": header((number + 1) % 3, zlib.crc32(message), len(message)) + payload,
            "no-records": batch(message_of([]), number, _payload(b"", codec)),
            "only-keys": batch(b"\x0a\x01k", number, _payload(b"\x0a\x01k", codec)),
        }
        for name, data in damaged.items():
            yield plain(f"plain-batch-{codec}-{name}", data)
    good = batch(message, 0)
    for size in (4, 5, 6, 9, 10, 11):
        yield plain(f"plain-batch-cut-at-{size}", good[:size])
    yield plain(
        "plain-batch-size-of-6-bytes", BATCH_MAGIC + b"\x01\0" + good[6:10] + b"\x80\x80\x80\x80\x80\0" + message
    )
    for name, bad in _bad_messages().items():
        yield plain(f"plain-batch-{name}", batch(bad, 0))
    kept = [user_record(b"1", "k")]
    yield expect("batch-second-key-is-missing", "batch", batch(_bad_index(1), 0), kept)
    yield plain("plain-batch-first-key-is-missing", batch(_bad_index(0), 0))
    # Longer than it must be, and valid: 3 as a varint of 5 bytes.
    small = message_of([user_record(b"", "")])
    varint = bytes([len(small) | 0x80, 0x80, 0x80, 0x80, 0])
    longer = BATCH_MAGIC + b"\x01\0" + zlib.crc32(small).to_bytes(4, "big") + varint + small
    yield expect("batch-longer-varint", "batch", longer, [user_record(b"", "")])


def _bad_messages() -> dict[str, bytes]:
    good = message_of([user_record(b"data", "k")])
    return {
        "cut-message": good[:-1],
        "garbage": b"\xff" * 50,
        "record-without-data": b"\x0a\x01k\x1a\x02\x08\x00",
        "record-without-key": b"\x0a\x01k\x1a\x03\x1a\x01x",
        "tag-without-key": b"\x0a\x01k\x1a\x09\x08\x00\x1a\x01x\x22\x02\x12\x00",
        "field-number-0": good + b"\x00\x01",
    }


def _bad_index(good: int) -> bytes:
    message: Any = aggregated_record_class()()
    message.partition_key_table.append(b"k")
    for _ in range(good):
        message.records.add(partition_key_index=0, data=b"1")
    message.records.add(partition_key_index=1, data=b"2")
    message.records.add(partition_key_index=0, data=b"3")
    return bytes(message.SerializeToString())


def _damaged_aggregates() -> Iterator[Vector]:
    message = message_of(events(2))
    good = aggregate_of(message)
    for name, data in {
        "wrong-md5": good[:-1] + bytes([good[-1] ^ 1]),
        "flipped-bit": good[:100] + bytes([good[100] ^ 1]) + good[101:],
        "cut-off": good[:-1],
        "without-md5": good[:-16],
        "no-message": aggregate_of(b""),
    }.items():
        yield plain(f"plain-aggregate-{name}", data)
    for name, bad in _bad_messages().items():
        yield plain(f"plain-aggregate-{name}", aggregate_of(bad))
    kept = [user_record(b"1", "k")]
    yield expect("aggregate-second-key-is-missing", "aggregate", aggregate_of(_bad_index(1)), kept)


def _plain() -> Iterator[Vector]:
    for name, data in {
        "empty": b"",
        "one-byte": b"x",
        "json": b'{"id": 7}',
        "aggregates-magic": MAGIC,
        "aggregates-magic-and-text": MAGIC + b" is how an aggregate begins, and this is none",
        "batchs-magic-and-text": BATCH_MAGIC + b"\1\0 is how a batch begins, and this is none",
        "gzip": b"\x1f\x8b\x08" + bytes(7) + b"not compressed by kplpy",
        "message-alone": message_of([user_record(b"x", "k")]),
        "magic-later": b" " + BATCH_MAGIC + b"\x01\0",
    }.items():
        yield plain(f"plain-{name}", data)


# --- forms ---


def header(codec: int, crc: int, size: int) -> bytes:
    out = bytearray(BATCH_MAGIC + bytes([VERSION, codec]) + crc.to_bytes(4, "big"))
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(out) + bytes([size])


def batch(message: bytes, codec: int, payload: bytes | None = None) -> bytes:
    """Return a batch with a payload that kplpy does not make."""
    return header(codec, zlib.crc32(message), len(message)) + (message if payload is None else payload)


def _payload(message: bytes, codec: Codec) -> bytes:
    return pack_batch(message, codec, 3)[11:]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _data(data: bytes) -> str | dict[str, Any]:
    return text(data) if len(data) <= INLINE else {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def digest(records: Iterable[Any]) -> str:
    """Return the SHA-256 of the records' data, partition keys and explicit hash keys (decoders/vectors/README.md)."""
    whole = hashlib.sha256()
    for record in records:
        for part in (record.data, record.partition_key.encode(), (record.explicit_hash_key or "-").encode()):
            whole.update(b"%d:" % len(part) + part)
    return whole.hexdigest()


def expect(name: str, kind: str, data: bytes | list[Any], records: Records) -> Vector:
    vector: Vector = {"name": name, "kind": kind, "data": text(data) if isinstance(data, bytes) else data}
    if len(records) > EXPLICIT:
        return {**vector, "count": len(records), "digest": digest(records)}
    return {**vector, "records": [_record(each) for each in records]}


def _record(record: InnerRecord) -> dict[str, Any]:
    found: dict[str, Any] = {"data": _data(record.data), "partition_key": record.partition_key}
    if record.explicit_hash_key is not None:
        found["explicit_hash_key"] = record.explicit_hash_key
    if record.headers is not None:
        found["headers"] = dict(record.headers)
    return found


def plain(name: str, data: bytes | list[Any]) -> Vector:
    return {"name": name, "kind": "plain", "data": text(data) if isinstance(data, bytes) else data}


def refuse(name: str, error: str, data: bytes) -> Vector:
    kind = "batch" if data.startswith(BATCH_MAGIC) else "aggregate"
    return {"name": name, "kind": kind, "data": text(data), "error": error}


def lines(made: Iterable[Vector]) -> str:
    return "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in made)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: scripts/vectors.py --write")
    FILE.write_text(lines(vectors()), encoding="utf-8")
