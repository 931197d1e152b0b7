"""Partition keys of a flow's records."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import md5
from typing import TypeAlias

from kplpy.agent.processing import json_text
from kplpy.agent.processing.java_regex import translate
from kplpy.agent.settings import FlowSettings
from kplpy.errors import ConfigError

KeysOf: TypeAlias = Callable[[list[bytes], list[bytes]], "list[str | None]"]
"""(raw records, processed records) → their partition keys. None: the record is put without a key."""

_bits = random.getrandbits
MAX_KEY = 256  # characters of a partition key, PutRecords' limit


def random_key() -> str:
    """Return a decimal fraction from 0 to 1,000,000, as the Agent's RANDOM."""
    # 0.24 µs a key, 0.62 with repr(random.random() * 1e6)
    return f"{(bits := _bits(50)) % 1_000_000}.{bits >> 20}"


def make_partition_keys(settings: FlowSettings) -> KeysOf:
    """Return the function that makes a flow's partition keys.

    partitionKey, partitionKeyField and partitionKeyPattern go before partitionKeyOption; at most one may be given. A
    record without the field or a match gets the key that RANDOM has. With aggregation, RANDOM is None: the producer
    fills aggregates better with records that have no key.

    Raises ConfigError.
    """
    keys = {
        "partitionKey": settings.partition_key,
        "partitionKeyField": settings.partition_key_field,
        "partitionKeyPattern": settings.partition_key_pattern,
    }
    given = [name for name, value in keys.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(f"flow {settings.id}: {' and '.join(given)} are given; a flow has at most one of them")
    for name in given:
        if not keys[name]:
            raise ConfigError(f"flow {settings.id}: {name} must not be empty")
    otherwise: Callable[[], str | None] = _no_key if settings.aggregation else random_key
    if settings.partition_key is not None:
        return _constant(settings)
    if settings.partition_key_field is not None:
        return _field(settings.partition_key_field, otherwise)
    if settings.partition_key_pattern is not None:
        return _pattern(settings, otherwise)
    if settings.partition_key_option == "DETERMINISTIC":
        return _of_content
    if settings.aggregation:
        return lambda raw, processed: [None] * len(processed)
    return _random


def _no_key() -> None:
    return None


def _random(raw: list[bytes], processed: list[bytes]) -> list[str | None]:
    return [f"{(bits := _bits(50)) % 1_000_000}.{bits >> 20}" for _ in processed]


def _of_content(raw: list[bytes], processed: list[bytes]) -> list[str | None]:
    return [md5(record, usedforsecurity=False).hexdigest() for record in processed]


def _constant(settings: FlowSettings) -> KeysOf:
    key = settings.partition_key or ""
    if len(key) > MAX_KEY:
        raise ConfigError(f"flow {settings.id}: partitionKey has {len(key)} characters, and may have {MAX_KEY}")
    return lambda raw, processed: [key] * len(processed)


def _field(name: str, otherwise: Callable[[], str | None]) -> KeysOf:
    """Return keys of a field of records that are JSON objects: a text as it is, other values as JSON."""

    def key(record: bytes) -> str | None:
        try:
            value = json_text.object_of(record.decode("utf-8", "replace")).get(name)
            if value is None or value == "":
                return otherwise()
            text = (value if isinstance(value, str) else json_text.compact(value))[:MAX_KEY]
        except (ValueError, RecursionError):  # no JSON object, or one that is nested too deeply
            return otherwise()
        # JSON can hold half a character ("\ud800"), which is no text that can be sent.
        return text if text.isascii() else text.encode("utf-8", "replace").decode()

    return lambda raw, processed: [key(record) for record in processed]


def _pattern(settings: FlowSettings, otherwise: Callable[[], str | None]) -> KeysOf:
    """Return keys of the first group, or of the match without a group, in the record as it was read."""
    where = f"flow {settings.id}: partitionKeyPattern"
    pattern = translate(settings.partition_key_pattern or "", where)
    search, groups_of = pattern.search, pattern.groups_of
    has_group = pattern.group_count > 0

    def key(record: bytes) -> str | None:
        match = search(record.decode("utf-8", "replace"))
        if match is None:
            return otherwise()
        value = groups_of(match)[0] if has_group else match[0]
        return value[:MAX_KEY] if value else otherwise()

    return lambda raw, processed: [key(record) for record in raw]
