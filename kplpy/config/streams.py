"""StreamOptions: the options that a single stream may have, and the rules by which a stream finds its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from kplpy.errors import ConfigError, InvalidRecordError
from kplpy.stream_names import is_delivery_stream, name_of, parse_stream


class StreamOptions(TypedDict, total=False):
    """A dict with the options of one stream. Each has the meaning, type and range of Config's field."""

    aggregation_enabled: bool
    aggregation_max_count: int
    aggregation_max_size: int
    aggregate_partition_key: Literal["a", "first"]
    aggregate_single_records: bool
    assume_distribution_strategy: Literal["USER_PARTITION_KEY", "AUTO"] | None
    compression: Literal["none", "gzip", "zstd"]
    compression_level: int | None
    compression_min_size: int
    joined_record_size: int
    record_max_buffered_time_ms: int
    record_ttl_ms: int | None
    user_record_timeout_ms: int
    ordered: bool
    rate_limit: int
    fail_if_throttled: bool
    max_user_record_size: int
    value_serializer: Callable[[Any], bytes] | None
    key_serializer: Callable[[Any], str] | None


STREAM_FIELDS = tuple(StreamOptions.__annotations__)
"""The names of the fields that a single stream may have."""

_OF_DELIVERY_STREAMS = frozenset({"joined_record_size"})
# Firehose has no shards, aggregates or headers, and keeps no order.
_NOT_OF_DELIVERY_STREAMS = frozenset(
    {
        "aggregation_enabled",
        "aggregation_max_size",
        "aggregate_partition_key",
        "aggregate_single_records",
        "assume_distribution_strategy",
        "compression",
        "compression_level",
        "compression_min_size",
        "ordered",
        "rate_limit",
    }
)

Streams = Mapping[str, StreamOptions]
"""The options of single streams, by name or ARN."""


def check_streams(given: Any, fields: Collection[str], check: Callable[[Mapping[str, Any]], object]) -> Streams:
    """Return a read-only copy of `streams`. Raises ConfigError, which names the stream and the rule.

    fields: the names of all fields of Config. check: raises ConfigError for a wrong value of an option.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"streams must be a mapping of stream names or ARNs to options, or None, got {given!r}")
    for stream, options in given.items():
        try:
            parse_stream(stream)
        except InvalidRecordError as error:
            raise ConfigError(f"streams has a wrong key: {error}") from None
        _check_names(stream, options, fields)
        try:
            check(options)
        except ConfigError as error:
            raise ConfigError(f"streams[{stream!r}]: {error}") from None
    for stream, options in given.items():
        name = name_of(stream)
        if not is_delivery_stream(stream) and given.get(name, options) != options:
            raise ConfigError(
                f"streams has different options for {name!r} and {stream!r}, which may be one stream, because kplpy "
                "does not know the account of a name: give the options by ARN only"
            )
    read_only: Any = {stream: MappingProxyType(dict(options)) for stream, options in given.items()}
    return MappingProxyType(read_only)


def _check_names(stream: str, options: Any, fields: Collection[str]) -> None:
    """Raise ConfigError if the options are not a mapping, or have names that are not those of a stream's options."""
    where = f"streams[{stream!r}]"
    if not isinstance(options, Mapping):
        raise ConfigError(f"{where} must be a mapping of options to values, got {options!r}")
    for name in options:
        if name in (_NOT_OF_DELIVERY_STREAMS if is_delivery_stream(stream) else _OF_DELIVERY_STREAMS):
            kind, other = ("delivery stream", "stream") if is_delivery_stream(stream) else ("stream", "delivery stream")
            raise ConfigError(f"{where}: {name!r} is an option of a {other}, not of a {kind} (docs/firehose.md)")
        if name in STREAM_FIELDS:
            continue
        if name in fields:
            raise ConfigError(f"{where}: {name!r} is an option of the whole producer, not of a single stream")
        similar = get_close_matches(str(name), STREAM_FIELDS, n=3)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"a stream takes {', '.join(STREAM_FIELDS)}"
        raise ConfigError(f"{where}: there is no option {name!r} of a stream; {hint}")


def options_of(streams: Streams, stream: str) -> StreamOptions:
    """Return the options of the stream that is put by this name or ARN. Empty: it has none of its own.

    A stream takes the entry of the given name or ARN. Without one, an ARN takes the entry of its name, and a name takes
    that of an ARN with this name. A delivery stream takes the entry of its ARN only. Raises InvalidRecordError for a
    name if several such ARNs have different options.
    """
    if stream in streams:
        return streams[stream]
    name = name_of(stream)
    if is_delivery_stream(stream):
        return StreamOptions()
    if stream != name:
        return streams.get(name, StreamOptions())
    by_arn = {arn: options for arn, options in streams.items() if name_of(arn) == name and not is_delivery_stream(arn)}
    found = next(iter(by_arn.values()), StreamOptions())
    if any(options != found for options in by_arn.values()):
        raise InvalidRecordError(
            f"stream {stream!r} must be put by its ARN, because `streams` has different options for several ARNs of "
            f"this name: {', '.join(sorted(by_arn))}"
        )
    return found


def as_dicts(streams: Streams, hidden: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Return the options as plain dicts, which can be pickled and shown. hidden: names of options to leave out."""
    return {
        stream: {name: value for name, value in options.items() if name not in hidden}
        for stream, options in streams.items()
    }
