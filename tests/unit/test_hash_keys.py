"""Hash keys of partition keys and explicit hash keys."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Any

import pytest

from kplpy import hash_keys
from kplpy.errors import InvalidRecordError
from kplpy.hash_keys import HashKeys, hash_of, parse_explicit_hash_key

LARGEST = 340282366920938463463374607431768211455

FOUR_BYTES = "🙂"


@pytest.mark.parametrize(
    ("key", "digest"),
    [
        # RFC 1321's own test suite
        ("a", "0cc175b9c0f1b6a831c399e269772661"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ("1234567890" * 8, "57edf4a22be3c955ac49da2e2107b67a"),
        ("ü", None),
        (FOUR_BYTES * 256, None),
        ("\x00", None),
    ],
)
def test_the_hash_key_is_the_md5_of_the_utf8_key(key: str, digest: str | None) -> None:
    digest = digest or hashlib.md5(key.encode("utf-8")).hexdigest()
    assert hash_of(key) == int(digest, 16)
    assert HashKeys().compute(key) == int(digest, 16)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "partition_key must have 1 to 256 characters, got 0: ''"),
        ("x" * 257, "partition_key must have 1 to 256 characters, got 257: 'xxx"),
        (FOUR_BYTES * 257, "partition_key must have 1 to 256 characters, got 257"),
        ("lone \ud800", "partition_key must be encodable as UTF-8, got 'lone \\ud800'"),
        (b"bytes", "partition_key must be a str, got bytes: b'bytes'"),
        (7, "partition_key must be a str, got int: 7"),
        (None, "partition_key must be a str, got NoneType"),
        (["k"], "partition_key must be a str, got list"),
    ],
)
def test_a_bad_partition_key(key: Any, said: str) -> None:
    keys = HashKeys()
    for compute in (hash_of, keys.compute):
        with pytest.raises(InvalidRecordError) as raised:
            compute(key)
        assert str(raised.value).startswith(said)
        assert len(str(raised.value)) < 300  # a long key is not shown in full
    if isinstance(key, str):
        assert keys.cached(key) is None


def test_a_computed_key_is_cached() -> None:
    keys = HashKeys()
    assert keys.cached("k") is None
    assert keys.compute("k") == keys.cached("k") == hash_of("k")


def test_the_cache_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_keys, "_CACHE_LIMIT", 10)
    keys = HashKeys()
    names = [f"key-{n}" for n in range(95)]
    for name in names:
        assert keys.compute(name) == hash_of(name)
        assert sum(keys.cached(each) is not None for each in names) <= 10
    # The cache is full with ten keys, and is emptied after forty that it does not have.
    assert [each for each in names if keys.cached(each) is not None] == names[50:60]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        ("0", 0),
        (LARGEST, LARGEST),
        (str(LARGEST), LARGEST),
        ("007", 7),
        ("0" * 25 + str(LARGEST), LARGEST),
        (2**64, 2**64),
    ],
)
def test_explicit_hash_key(value: str | int, number: int) -> None:
    parsed = parse_explicit_hash_key(value)
    assert parsed == number
    assert type(parsed) is int


class Plan(IntEnum):
    GOLD = 3

    def __str__(self) -> str:
        return "gold"


def test_a_number_of_another_class_becomes_a_plain_one() -> None:
    assert str(parse_explicit_hash_key(Plan.GOLD)) == "3"


class Integral:
    """An integral type that is no int, like numpy's."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __index__(self) -> Any:
        return self.value


@pytest.mark.parametrize("value", [0, 7, 2**64 - 1, LARGEST])
def test_a_number_of_any_integral_type(value: int) -> None:
    parsed = parse_explicit_hash_key(Integral(value))
    assert parsed == value
    assert type(parsed) is int


@pytest.mark.parametrize("value", [-1, 2**128, 1.5, "7", None])
def test_an_integral_type_out_of_range_or_of_no_integer(value: Any) -> None:
    with pytest.raises(InvalidRecordError, match=r"from 0 to 2\*\*128 - 1, got <"):
        parse_explicit_hash_key(Integral(value))


@pytest.mark.parametrize(
    "value",
    [
        2**128,
        str(2**128),
        -1,
        "-1",
        "+1",
        "1.0",
        1.0,
        "1e3",
        "0x10",
        "",
        " 1",
        "1 ",
        "1_000",
        "\u0661\u0662",  # Arabic-Indic digits: int() accepts them
        "\u00b2",  # superscript two: isdigit() accepts it
        "\uff11",  # full-width one: int() accepts it
        True,
        False,
        b"1",
        "9" * 5000,  # int() would raise another error
        [1],
        float("nan"),
    ],
)
def test_a_bad_explicit_hash_key(value: Any) -> None:
    with pytest.raises(InvalidRecordError) as raised:
        parse_explicit_hash_key(value)
    said = str(raised.value)
    assert said.startswith("explicit_hash_key must be a decimal integer from 0 to 2**128 - 1, got ")
    assert len(said) < 200


def test_a_number_too_long_to_be_printed() -> None:
    with pytest.raises(InvalidRecordError, match="must be a decimal integer"):
        parse_explicit_hash_key(10**5000)


@pytest.mark.parametrize("has_gil", [True, False])
def test_keys_that_were_computed_are_cached(monkeypatch: pytest.MonkeyPatch, has_gil: bool) -> None:
    """Without a GIL, puts of several threads must not wait for one dict's lock."""
    monkeypatch.setattr(hash_keys, "has_gil", lambda: has_gil)
    keys = HashKeys()
    assert keys.cached("abc") is None
    assert keys.cached("abc") is None
    assert keys.compute("abc") == keys.cached("abc") == hash_of("abc")
