"""Runs a stream's serializers on what is put, before the record is checked and hashed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from kplpy.errors import InvalidRecordError
from kplpy.escaping import brief_repr
from kplpy.records import UserRecord

T = TypeVar("T")


class Serializers:
    """The serializers of one stream. They run on the putting thread, once for each record.

    value, key: as in Config; None: data or keys are used as they are. A partition key of None is no key, and is not
    serialized.
    """

    def __init__(self, value: Callable[[Any], Any] | None, key: Callable[[Any], Any] | None) -> None:
        self._value = value
        self._key = key

    @classmethod
    def of(cls, value: Callable[[Any], Any] | None, key: Callable[[Any], Any] | None) -> Serializers | None:
        """Return the Serializers. None if there is neither of the two."""
        return None if value is None and key is None else cls(value, key)

    def apply(self, data: Any, partition_key: Any) -> tuple[Any, Any]:
        """Return both, serialized. Raises InvalidRecordError with the serializer's error as its cause."""
        if self._value is not None:
            data = _serialize("value_serializer", self._value, data)
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise InvalidRecordError(f"value_serializer must return bytes, got {_shown(data)}")
        if self._key is not None and partition_key is not None:
            partition_key = _serialize("key_serializer", self._key, partition_key)
            if not isinstance(partition_key, str):
                raise InvalidRecordError(f"key_serializer must return a str, got {_shown(partition_key)}")
        return data, partition_key

    def before(self, check: Callable[..., T]) -> Callable[..., T]:
        """Return a function that does as `check`, but serializes the data and the partition key first."""

        def checked(origin: object, data: Any, partition_key: Any = None, *rest: Any) -> T:
            return check(origin, *self.apply(data, partition_key), *rest)

        return checked

    def items(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield the items of put_records, serialized. InvalidRecordError names the number of a bad item.

        An item that is none is yielded as it is. The check of the items refuses it.
        """
        for number, item in enumerate(items):
            try:
                serialized = self._item(item)
            except InvalidRecordError as error:
                raise InvalidRecordError(f"item {number}: {error}") from error.__cause__
            yield serialized

    def _item(self, item: Any) -> Any:
        if isinstance(item, UserRecord):
            data, partition_key = self.apply(item.data, item.partition_key)
            return replace(item, data=data, partition_key=partition_key)
        if isinstance(item, (tuple, list)) and len(item) >= 2:
            return *self.apply(item[0], item[1]), *item[2:]
        return item


def _serialize(which: str, serializer: Callable[[Any], Any], given: Any) -> Any:
    try:
        return serializer(given)
    except Exception as error:
        raise InvalidRecordError(f"{which} raised {_reason(error)}; it was given {_shown(given)}") from error


def _reason(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its text shows a value whose repr raises
        return type(error).__name__


def _shown(value: Any) -> str:
    return f"{type(value).__name__}: {brief_repr(value)}"
