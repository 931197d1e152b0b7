"""The options of commands that have a producer: Config fields from the command line, and --quiet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from difflib import get_close_matches
from typing import Any

import click

from kplpy.cli.connection import Connection
from kplpy.config.options import Config
from kplpy.errors import ConfigError

# Objects cannot be written on a command line, and `put` itself sets how it waits for buffer space.
_NOT_SETTABLE = (
    *("session", "botocore_config", "metrics_session", "additional_metrics_dimensions"),
    *("on_failure", "on_buffer_full", "max_block_ms"),
)


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config and --set, for commands that have a Config."""
    for option in (
        click.option("--set", "settings", metavar="FIELD=VALUE", multiple=True, help="Set any field of kplpy.Config."),
        click.option(
            "--config", metavar="FILE", type=click.Path(exists=True, dir_okay=False), help="Read a KPL properties file."
        ),
    ):
        command = option(command)
    return command


def producer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config, --set and --quiet, for commands that have a producer."""
    quiet = click.option(
        "-q", "--quiet", is_flag=True, help="Show no progress and no summary; failed records are still reported."
    )
    return config_options(quiet(command))


def build_config(connection: Connection, path: str | None, settings: Sequence[str], defaults: dict[str, Any]) -> Config:
    """Return a Config of `defaults`, the properties file, --set and the connection options. Later values win.

    Raises ConfigError or click.BadParameter, with the value and the rule.
    """
    values = {**defaults, **(_properties(path) if path else {})}
    for each in settings:
        name, value = parse(each)
        values[name] = value
    return Config(**{**values, **connection.fields()})


def _properties(path: str) -> dict[str, Any]:
    """Return only the fields that the properties file sets, checked as by Config.from_properties."""
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
    """Split `field=value` into the field's name and its value, converted to the field's type."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise click.BadParameter(f"must be field=value, got {setting!r}", param_hint="--set")
    settable = {each.name: each for each in fields(Config) if each.name not in _NOT_SETTABLE}
    if name not in settable:
        if name in _NOT_SETTABLE:
            raise click.BadParameter(f"{name} cannot be set with --set", param_hint="--set")
        near = get_close_matches(name, settable, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the fields are: {', '.join(sorted(settable))}"
        raise click.BadParameter(f"there is no Config field {name!r}; {hint}", param_hint="--set")
    return name, _value(settable[name], text)


def _value(field: Field[Any], text: str) -> Any:
    """Convert the text to the field's type. Text that does not fit is returned as it is, and Config refuses it."""
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
