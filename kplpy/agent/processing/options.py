"""Reads one object of dataProcessingOptions, with the Agent's coercions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, overload

from kplpy.agent.coercion import as_flag, as_text
from kplpy.errors import ConfigError


class _Required:
    """Stands for a default that a key does not have."""


REQUIRED: Final = _Required()


class Option:
    """The keys of one processor. where: its place in the configuration. warnings: gathered while it is read."""

    def __init__(self, keys: Mapping[str, Any], where: str) -> None:
        self._keys = keys
        self._where = where
        self.warnings: list[str] = []

    def where_is(self, key: str) -> str:
        return f"{self._where}: {key}"

    def error(self, key: str, rule: str) -> ConfigError:
        return ConfigError(f"{self._where}: {key} {rule}")

    def warn(self, key: str, what: str) -> None:
        self.warnings.append(f"{self._where}: {key} {what}")

    def value(self, key: str) -> Any:
        return self._keys.get(key)

    @overload
    def text(self, key: str, default: str | _Required = REQUIRED) -> str: ...

    @overload
    def text(self, key: str, default: None) -> str | None: ...

    def text(self, key: str, default: str | _Required | None = REQUIRED) -> str | None:
        """Return a key's text. Numbers and booleans are texts too, as in the Agent."""
        value = self._keys.get(key)
        if value is None:
            if isinstance(default, _Required):
                raise self.error(key, "must be given")
            return default
        return self._as_text(key, value)

    def _as_text(self, key: str, value: Any) -> str:
        try:
            return as_text(value)
        except ValueError:
            raise self.error(key, f"is {value!r}; it must be a text") from None

    @overload
    def texts(self, key: str, default: tuple[str, ...] | _Required = REQUIRED) -> tuple[str, ...]: ...

    @overload
    def texts(self, key: str, default: None) -> tuple[str, ...] | None: ...

    def texts(self, key: str, default: tuple[str, ...] | _Required | None = REQUIRED) -> tuple[str, ...] | None:
        """Return a key's list of texts."""
        value = self._keys.get(key)
        if value is None:
            if isinstance(default, _Required):
                raise self.error(key, "must be given")
            return default
        if not isinstance(value, list | tuple):
            raise self.error(key, f"is {value!r}; it must be a list of texts")
        return tuple(self._as_text(key, each) for each in value)

    def choice(self, key: str, among: Collection[str], default: str | _Required | None = REQUIRED) -> str:
        value = self.text(key, default) if not isinstance(default, _Required) else self.text(key)
        if value is not None and value not in among:
            raise self.error(key, f"is {value!r}; it must be one of {', '.join(among)}")
        return value or ""

    def boolean(self, key: str, default: bool = False) -> bool:
        """Return a boolean, which may be a text as in the Agent: true, t, yes, y, 1, and their opposites."""
        value = self._keys.get(key)
        if value is None:
            return default
        text = self._as_text(key, value)
        try:
            return as_flag(text)
        except ValueError:
            raise self.error(key, f"is {value!r}; it must be true or false") from None

    def is_true(self, key: str) -> bool:
        """Return True for true and "true" in any case. The Agent takes every other text as false."""
        word = str(self._keys.get(key)).lower()
        if word not in ("true", "false", "none"):
            self.warn(key, f"is {self._keys[key]!r}, which counts as false, as in the Agent: only true is true")
        return word == "true"

    def is_pretty(self) -> bool:
        return self.choice("jsonFormat", ("COMPACT", "PRETTYPRINT"), "COMPACT") == "PRETTYPRINT"

    def seconds(self, key: str, default: int) -> float:
        value = self._keys.get(key)
        if value is None:
            return default
        try:
            return int(str(value))
        except ValueError:
            self.warn(key, f"is {value!r}, which is no whole number: {default} s is taken, as in the Agent")
            return default
