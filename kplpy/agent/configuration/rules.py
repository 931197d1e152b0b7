"""The rules of values in agent.json, with the Kinesis Agent's coercions of texts and numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from kplpy.agent.coercion import as_flag, as_text
from kplpy.config.rules import is_endpoint

_WHOLE = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|#[0-9a-fA-F]+|[0-9]+)", re.ASCII)


class Rule(Protocol):
    """What a value must be.

    text: completes "must be". empty_is_unset: an empty text counts as no value.
    """

    @property
    def text(self) -> str: ...

    @property
    def empty_is_unset(self) -> bool: ...

    def read(self, value: Any) -> Any:
        """Return the value, converted. Raises ValueError if the value breaks the rule."""


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, or a text of one as Java's Long.decode reads it: "500", "0x1F4".

    bring: a number outside is brought to the nearest bound with a warning, because the bound is kplpy's alone.
    """

    low: int
    high: int
    bring: bool = False
    empty_is_unset: bool = False

    @property
    def text(self) -> str:
        """The rule in words."""
        return f"a whole number from {self.low:,} to {self.high:,}"

    def read(self, value: Any) -> int:
        """Return the number. Raises ValueError."""
        number = self.whole(value)
        if not self.bring and not self.within(number):
            raise ValueError
        return number

    def within(self, number: int) -> bool:
        """Return True if the number keeps the bounds."""
        return self.low <= number <= self.high

    def nearest(self, number: int) -> int:
        """Return the number, or the bound next to it."""
        return max(self.low, min(number, self.high))

    @staticmethod
    def whole(value: Any) -> int:
        """Return a whole number of any size up to 64 bits. Raises ValueError."""
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, str) and len(value) <= 24 and _WHOLE.fullmatch(value):
            number = _decoded(value)
        else:
            raise ValueError
        if not -(1 << 63) <= number < 1 << 63:
            raise ValueError
        return number


def _decoded(text: str) -> int:
    """Return the number that Java's Long.decode reads: a leading 0 means octal, 0x and # mean hexadecimal."""
    sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-")
    if digits[0] == "#":
        return sign * int(digits[1:], 16)
    if digits[:2].lower() == "0x":
        return sign * int(digits[2:], 16)
    return sign * int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)


@dataclass(frozen=True)
class Flag:
    """A boolean, or a text or number that the Agent takes for one: true, t, yes, y, 1; false, f, no, n, 0."""

    text: str = "true or false"
    empty_is_unset: bool = False

    def read(self, value: Any) -> bool:
        """Return the boolean. Raises ValueError."""
        return as_flag(value)


@dataclass(frozen=True)
class Text:
    """A text that matches `pattern` as a whole; also a number or boolean, as its text."""

    text: str = "a text"
    pattern: str = r"(?s).+"
    empty_is_unset: bool = True

    def read(self, value: Any) -> str:
        """Return the text. Raises ValueError."""
        text = as_text(value)
        text.encode("utf-8", "surrogateescape")  # a UnicodeEncodeError is a ValueError; names of files may pass
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError
        return text


@dataclass(frozen=True)
class Choice:
    """One of several words, in the case given."""

    words: tuple[str, ...]
    empty_is_unset: bool = False

    @property
    def text(self) -> str:
        """The rule in words."""
        return " or ".join(self.words) if len(self.words) < 3 else f"one of {', '.join(self.words)}"

    def read(self, value: Any) -> str:
        """Return the word. Raises ValueError."""
        text = as_text(value)
        if text not in self.words:
            raise ValueError
        return text


@dataclass(frozen=True)
class Endpoint:
    """A URL, or a host name with or without a port, which gets https:// in front."""

    text: str = "a host name or an http:// or https:// URL, with a port from 1 to 65535 where given"
    empty_is_unset: bool = True

    def read(self, value: Any) -> str:
        """Return the URL. Raises ValueError."""
        text = as_text(value)
        url = text if "://" in text else f"https://{text}"
        if not is_endpoint(url):
            raise ValueError
        return url


@dataclass(frozen=True)
class Anything:
    """Any value: another part checks it, or nobody needs it."""

    text: str = "any value"
    empty_is_unset: bool = False

    def read(self, value: Any) -> Any:
        """Return the value as it is."""
        return value
