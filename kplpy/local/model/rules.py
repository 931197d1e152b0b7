"""The kinds of rules for the members of requests, and the service's errors for members that break them.

The errors have the service's wording: ValidationException for a value out of its bounds, SerializationException for a
value of another type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kplpy.local.model.errors import ServiceError, validation


@dataclass(frozen=True)
class Text:
    """A string member with a length from `low` to `high` characters."""

    low: int = 0
    high: int = 1 << 62
    pattern: str | None = None
    choices: tuple[str, ...] = ()

    def violations(self, value: object) -> list[str]:
        if not isinstance(value, str):
            raise _wrong_type(value, "String")
        found = _length(len(value), self.low, self.high)
        # Some of botocore's patterns take minutes for a long text, so they are not tried on one that is too long.
        if self.pattern and len(value) <= self.high and not re.fullmatch(self.pattern, value):
            found.append(f"Member must satisfy regular expression pattern: {self.pattern}")
        if self.choices and value not in self.choices:
            found.append(f"Member must satisfy enum value set: [{', '.join(self.choices)}]")
        return found


@dataclass(frozen=True)
class Whole:
    """An integer member from `low` to `high`."""

    low: int
    high: int = (1 << 31) - 1

    def violations(self, value: object) -> list[str]:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(value, "Integer")
        if value < self.low:
            return [f"Member must have value greater than or equal to {self.low}"]
        if value > self.high:
            return [f"Member must have value less than or equal to {self.high}"]
        return []


@dataclass(frozen=True)
class Plain:
    """A member of which only the type is checked.

    `type_name`: the type's name in the service's errors.
    """

    types: tuple[type, ...]
    type_name: str

    def violations(self, value: object) -> list[str]:
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            raise _wrong_type(value, self.type_name)
        return []


@dataclass(frozen=True)
class Time:
    """A time member in epoch seconds.

    CBOR, unlike JSON, can carry NaN and infinity, which are not times.
    """

    def violations(self, value: object) -> list[str]:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _wrong_type(value, "Timestamp")
        if not abs(value) < _END_OF_TIME:  # also true for NaN
            raise ServiceError("SerializationException", f"{value!r:.40} can not be converted to a Timestamp")
        return []


_END_OF_TIME = 1e12
"""Seconds, about 31,000 years. Any bound would do that keeps arithmetic with times finite."""


@dataclass(frozen=True)
class Structure:
    """A structure with these members. Other members are ignored, as in the service."""

    members: Mapping[str, Member]


@dataclass(frozen=True)
class ListOf:
    """A list member with `low` to `high` items."""

    item: Rule
    low: int = 0
    high: int = 1 << 62


@dataclass(frozen=True)
class MapOf:
    """A map member with `low` to `high` entries."""

    key: Text
    value: Text
    low: int = 0
    high: int = 1 << 62


Rule = Text | Whole | Plain | Time | Structure | ListOf | MapOf


@dataclass(frozen=True)
class Member:
    rule: Rule
    required: bool = False


FLAG = Plain((bool,), "Boolean")
NUMBER = Plain((int, float), "Double")
BLOB = Plain((bytes, bytearray, memoryview), "Blob")


def _wrong_type(value: object, wanted: str) -> ServiceError:
    if isinstance(value, list):
        return ServiceError("SerializationException", "Start of list found where not expected")
    if isinstance(value, dict):
        return ServiceError("SerializationException", "Start of structure or map found where not expected.")
    return ServiceError("SerializationException", f"{type(value).__name__} can not be converted to an {wanted}")


def _length(length: int, low: int, high: int) -> list[str]:
    if length < low:
        return [f"Member must have length greater than or equal to {low}"]
    if length > high:
        return [f"Member must have length less than or equal to {high}"]
    return []


def check(members: Mapping[str, Member], params: Mapping[str, Any], place: str = "") -> None:
    """Raise ValidationException or SerializationException if members break their rules.

    place: what precedes a member's name in the error
    """
    violations = _violations(members, params, place)
    if violations:
        plural = "s" if len(violations) > 1 else ""
        raise validation(f"{len(violations)} validation error{plural} detected: {'; '.join(violations)}")


def _violations(members: Mapping[str, Member], params: Mapping[str, Any], place: str) -> list[str]:
    found = []
    for name, member in members.items():
        value = params.get(name)
        if value is not None:
            found += _broken(member.rule, value, place, name)
        elif member.required:
            at = _place(place, name)
            found.append(f"Value null at '{at}' failed to satisfy constraint: Member must not be null")
    return found


def _place(place: str, name: str) -> str:
    return f"{place}{name[0].lower()}{name[1:]}"


def _broken(rule: Rule, value: Any, place: str, name: str) -> list[str]:
    """Return how a value breaks its rule.

    place, name: where the value is in the request
    """
    if isinstance(rule, Structure):
        if not isinstance(value, dict):
            raise ServiceError("SerializationException", "Expected a structure")
        return _violations(rule.members, value, _place(place, name) + ".")
    if isinstance(rule, (ListOf, MapOf)):
        return _broken_items(rule, value, _place(place, name))
    violations = rule.violations(value)
    if not violations:
        return []
    at = _place(place, name)
    return [f"Value '{value}' at '{at}' failed to satisfy constraint: {each}" for each in violations]


def _broken_items(rule: ListOf | MapOf, value: Any, at: str) -> list[str]:
    kinds, wanted = ((list, tuple), "list") if isinstance(rule, ListOf) else (dict, "map")
    if not isinstance(value, kinds):
        raise ServiceError("SerializationException", f"Expected a {wanted}")
    counts = _length(len(value), rule.low, rule.high)
    found = [f"Value '{value}' at '{at}' failed to satisfy constraint: {each}" for each in counts]
    if isinstance(rule, ListOf):
        for position, item in enumerate(value, 1):
            found += _broken(rule.item, item, f"{at}.{position}.", "member")
    else:
        for key, item in dict(value).items():
            found += _broken(rule.key, key, f"{at}.{key}.", "key")
            found += _broken(rule.value, item, f"{at}.{key}.", "value")
    return found
