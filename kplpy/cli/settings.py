"""--config and --set: Config fields from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, fields
from difflib import get_close_matches
from typing import Any

import click

from kplpy.cli.connection import Connection
from kplpy.config.options import Config
from kplpy.errors import ConfigError

# Objects cannot be written on a command line, and how put waits for room is its own matter.
_NOT_SETTABLE = (
    *("session", "botocore_config", "metrics_session", "additional_metrics_dimensions"),
    *("on_failure", "on_buffer_full", "max_block_ms"),
)


def build_config(connection: Connection, path: str | None, settings: Sequence[str], defaults: dict[str, Any]) -> Config:
    """A Config of, each stronger than the one before: `defaults`, the properties file, --set, the options.

    ConfigError, or a usage error, names the value and the rule.
    """
    values = {**defaults, **(_properties(path) if path else {})}
    for each in settings:
        name, value = parse(each)
        values[name] = value
    return Config(**{**values, **connection.fields()})


def _properties(path: str) -> dict[str, Any]:
    """As Config.from_properties, but telling what the file sets from what it leaves."""
    from kplpy.config.kpl_properties import read

    values = {}
    for name, setting in read(path).items():
        try:
            Config(**{name: setting.value})
        except ConfigError as error:
            raise ConfigError(f"{setting.where}: {error}") from None
        values[name] = setting.value
    return values


def parse(setting: str) -> tuple[str, Any]:
    """`field=value` as the field's name and its value, in its type."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise click.BadParameter(f"must be field=value, got {setting!r}", param_hint="--set")
    settable = {each.name: each for each in fields(Config) if each.name not in _NOT_SETTABLE}
    if name not in settable:
        if name in _NOT_SETTABLE:
            raise click.BadParameter(f"{name} cannot be set from here", param_hint="--set")
        near = get_close_matches(name, settable, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(sorted(settable))}"
        raise click.BadParameter(f"there is no Config field {name!r}; {hint}", param_hint="--set")
    return name, _value(settable[name], text)


def _value(field: Field[Any], text: str) -> Any:
    """The text in the field's type. Where it does not fit, it stays a text, and Config says which rule it breaks."""
    lowered = text.lower()
    if lowered == "none" and "None" in str(field.type):
        return None
    if ("flag" in field.metadata or "verify" in field.metadata) and lowered in ("true", "false"):
        return lowered == "true"
    if "number" in field.metadata:
        try:
            return int(text)
        except ValueError:
            return text
    return text
