"""The vectors of decoders/vectors/ are what scripts/vectors.py makes, and deaggregate() reads them as they say."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from aws_kinesis_agg.deaggregator import iter_deaggregate_records

from kplpy.errors import AggregateTooLargeError, BatchTooLargeError, UnreadableBatchError
from kplpy.records import UserRecord
from kplpy.wire.compressed import MAX_UNCOMPRESSED, unpack_batch
from kplpy.wire.deaggregate import deaggregate
from kplpy.wire.envelope import MAX_RECORDS
from scripts import vectors

LINES = vectors.FILE.read_text(encoding="utf-8").splitlines()
VECTORS: dict[str, dict[str, Any]] = {vector["name"]: vector for vector in map(json.loads, LINES)}
ERRORS = {
    "too_large": BatchTooLargeError,
    "too_many_records": AggregateTooLargeError,
    "unreadable": UnreadableBatchError,
}


def data_of(vector: dict[str, Any]) -> bytes:
    parts = vector["data"] if isinstance(vector["data"], list) else [vector["data"]]
    return b"".join(_part(each) for each in parts)


def _part(part: str | dict[str, Any]) -> bytes:
    if isinstance(part, str):
        return base64.b64decode(part)
    pattern = base64.b64decode(part["repeat"])
    size: int = part["size"]
    return (pattern * (size // len(pattern) + 1))[:size]


def read(vector: dict[str, Any]) -> list[UserRecord]:
    return deaggregate(
        data_of(vector),
        max_uncompressed=vector.get("max_uncompressed", MAX_UNCOMPRESSED),
        max_records=vector.get("max_records", MAX_RECORDS),
    )


@pytest.mark.parametrize("name", VECTORS)
def test_deaggregate_gives_what_the_vector_says(name: str) -> None:
    vector = VECTORS[name]
    if "error" in vector:
        with pytest.raises(ERRORS[vector["error"]]):
            read(vector)
        return
    found = read(vector)
    assert [each.sub_sequence_number for each in found] == list(range(len(found)))
    if vector["kind"] == "plain":
        assert [(each.data, each.partition_key, each.headers) for each in found] == [(data_of(vector), None, None)]
    elif "digest" in vector:
        assert (len(found), vectors.digest(found)) == (vector["count"], vector["digest"])
    else:
        assert len(found) == len(vector["records"])
        for each, expected in zip(found, vector["records"], strict=True):
            assert _is(each.data, expected["data"])
            assert each.partition_key == expected["partition_key"]
            assert each.explicit_hash_key == expected.get("explicit_hash_key")
            assert each.headers == expected.get("headers")


def _is(data: bytes, expected: str | dict[str, Any]) -> bool:
    if isinstance(expected, str):
        return data == base64.b64decode(expected)
    return (len(data), hashlib.sha256(data).hexdigest()) == (expected["size"], expected["sha256"])


@functools.cache
def made() -> dict[str, dict[str, Any]]:
    return {vector["name"]: vector for vector in json.loads(json.dumps(vectors.vectors()))}


def test_the_file_has_the_vectors_that_the_script_makes() -> None:
    pytest.importorskip(
        "zstandard", reason="compression.zstd of Python 3.14 cannot write in blocks as another writer may"
    )
    assert list(VECTORS) == list(made()), "run: python scripts/vectors.py --write"
    for name, vector in VECTORS.items():
        other = made()[name]
        assert {**vector, "data": None} == {**other, "data": None}
        assert _content(vector) == _content(other), name


def _content(vector: dict[str, Any]) -> bytes:
    """Return the vector's data, or the message within: compressors' versions differ in their bytes."""
    data = data_of(vector)
    is_damaged = vector["kind"] == "plain" and "-batch-" in vector["name"]
    if vector["kind"] != "batch" and not is_damaged:
        return data
    if vector.get("error") in (None, "too_many_records"):
        return unpack_batch(data) or data[:12]
    return data[:12]


def test_the_file_stays_small() -> None:
    assert vectors.FILE.stat().st_size < 300_000


def test_the_vectors_cover_the_formats() -> None:
    names = " ".join(VECTORS)
    assert all(word in names for word in ("gzip", "zstd", "none", "headers", "unicode", "hash-keys", "1-mib"))
    assert {vector.get("error") for vector in VECTORS.values()} == {None, *ERRORS}
    assert Path(vectors.FILE).with_name("README.md").exists()


# --- other readers of the KPL's format ---

RECORDED = {name: Path(__file__).with_name(f"aggregates_{name}.txt") for name in ("kcl", "npm")}
AGGREGATES = [name for name, vector in VECTORS.items() if vector["kind"] == "aggregate" and "error" not in vector]
# AWS's decoders give a record without an explicit hash key the first one of the aggregate's table.
HASH_KEYS = {f"aggregate-{name}" for name in ("mixed-hash-keys", "many-keys", "unused-keys")}
OTHERWISE: dict[str, set[str]] = {
    "kcl": set(),
    "npm": HASH_KEYS | {"aggregate-second-key-is-missing"},  # an error
    "pypi": HASH_KEYS,
}


def answer(name: str, records: list[UserRecord]) -> str:
    return f"{name} {len(records)} {vectors.digest(records)}"


def by_pypi(name: str) -> str:
    record = {
        "Data": data_of(VECTORS[name]),
        "PartitionKey": "a",
        "SequenceNumber": "1",
        "ApproximateArrivalTimestamp": datetime(2026, 11, 29, tzinfo=timezone.utc),
    }
    found = [each["kinesis"] for each in iter_deaggregate_records([record], data_format="Boto3")]
    assert [each["subSequenceNumber"] for each in found] == list(range(len(found)))
    records = [UserRecord(base64.b64decode(e["data"]), e["partitionKey"], e["explicitHashKey"]) for e in found]
    return answer(name, records)


@pytest.mark.parametrize("reader", OTHERWISE)
def test_other_readers_read_the_aggregates(reader: str) -> None:
    """The answers of the KCL and of npm's aws-kinesis-agg are recorded; `decoders/test` compares them with new ones."""
    if reader == "pypi":
        theirs = [by_pypi(name) for name in AGGREGATES]
    else:
        theirs = RECORDED[reader].read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in theirs] == AGGREGATES
    expected = [answer(name, read(VECTORS[name])) for name in AGGREGATES]
    different = {line.split()[0] for line in set(theirs) - set(expected)}
    assert different == OTHERWISE[reader]
