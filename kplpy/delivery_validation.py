"""Checks the arguments of puts to a delivery stream, and makes each record's future."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import SupportsIndex

from kplpy.config.options import Config
from kplpy.config.rules import DELIVERY_RECORD_BYTES
from kplpy.core.record import payload_size
from kplpy.errors import InvalidRecordError
from kplpy.futures.record_future import KeylessFuture, Origin, RecordFuture
from kplpy.hash_keys import MAX_KEY_CHARACTERS as _MAX_KEY
from kplpy.hash_keys import HashKeys, hash_of
from kplpy.headers import Headers, TracedHeaders, encode_headers
from kplpy.serialization import Serializers
from kplpy.validation import BytesLike, Checks, PutItem, as_bytes

_NO_HASH_KEY = "a delivery stream has no shards: put the record without explicit_hash_key"
_NO_HEADERS = "Firehose records have no headers: put the record without headers"


class DeliveryChecks(Checks):
    """The Checks of a delivery stream. A partition key is checked and kept, but not sent.

    All records have the same hash key, because there is one queue.

    max_size: limit in bytes of the data alone.
    """

    def __init__(self, max_size: int, hash_keys: HashKeys, serializers: Serializers | None = None) -> None:
        super().__init__(max_size, hash_keys, serializers=serializers)

    def record(
        self,
        origin: Origin,
        data: BytesLike,
        partition_key: str | None = None,
        explicit_hash_key: str | SupportsIndex | None = None,
    ) -> RecordFuture:
        """Return the future of one record. Raises InvalidRecordError."""
        if type(data) is not bytes:
            data = as_bytes(data)
        if len(data) > self._max_size:
            raise InvalidRecordError(
                f"a record of a delivery stream is at most {self._max_size} bytes of data (Firehose takes "
                f"{DELIVERY_RECORD_BYTES}, and max_user_record_size may be less); got {len(data)}"
            )
        if explicit_hash_key is not None:
            raise InvalidRecordError(_NO_HASH_KEY)
        if partition_key is None:
            return KeylessFuture(origin, data, "", None, 0, time.monotonic())
        if type(partition_key) is not str or not (partition_key.isascii() and 0 < len(partition_key) <= _MAX_KEY):
            hash_of(partition_key)  # raises for a bad key
        return RecordFuture(origin, data, partition_key, None, 0, time.monotonic())

    def _with_tags(self, origin: Origin, record: RecordFuture, headers: Headers | None) -> RecordFuture:
        if isinstance(headers, TracedHeaders):  # the context of a span cannot be sent
            headers = headers.own
        if headers is not None and encode_headers(headers):
            raise InvalidRecordError(_NO_HEADERS)
        return record

    def restored(
        self,
        origin: Origin,
        data: bytes,
        partition_key: str | None,
        explicit_hash_key: str | None,
        tags: bytes,
        arrival: float,
    ) -> RecordFuture:
        """Return the future of a record that was checked before. See Checks."""
        made = KeylessFuture if partition_key is None else RecordFuture
        return made(origin, data, partition_key or "", None, 0, arrival)

    def records(self, origin: Origin, items: Iterable[PutItem], first: int = 0) -> tuple[list[RecordFuture], int]:
        """Return the futures of put_records' items, and the bytes of their data and keys. See Checks."""
        records = self._each(origin, items, first)
        return records, payload_size(records)


def delivery_checks_of(config: Config, hash_keys: HashKeys) -> DeliveryChecks:
    """Return the Checks of the delivery streams with this Config."""
    max_size = min(config.max_user_record_size, DELIVERY_RECORD_BYTES)
    return DeliveryChecks(max_size, hash_keys, Serializers.of(config.value_serializer, config.key_serializer))
