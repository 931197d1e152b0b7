"""The options of Spark's data source: names, texts, and what they set.

Spark keeps the names in lower case and the values as texts. Underscores in names do not count either, so that
`record_ttl_ms` and `recordTtlMs` are one option.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

from kplpy.aws.assumed_role import make_session
from kplpy.config.from_text import has_text, value_of
from kplpy.config.options import Config
from kplpy.config.rules import MIB, safe_repr
from kplpy.errors import ConfigError, InvalidRecordError
from kplpy.integrations.columns import Columns
from kplpy.integrations.worker_producers import PlainOptions
from kplpy.stream_names import parse_stream

DEFAULTS: dict[str, Any] = {
    # A failed record costs a retry of the whole task, so records get more time.
    "record_ttl_ms": 300_000,
    "max_block_ms": 300_000,
    # A worker needs 100 to 120 MB more than one that only counts rows, instead of 170 to 185 (benchmarks.spark).
    "max_buffered_records": 50_000,
    "max_buffered_bytes": 32 * MIB,
    "max_inflight_bytes": 16 * MIB,
}
"""Fields of Config that have another default here."""

_STREAM = "stream"
# The names that users of awslabs/spark-sql-kinesis-connector and qubole/kinesis-sql know → what they set: a field of
# Config, a part of Keys, or the stream.
_KNOWN = {
    "streamName": _STREAM,
    "kinesis.streamName": _STREAM,
    "stream": _STREAM,
    "path": _STREAM,  # of save("orders")
    "region": "region_name",
    "kinesis.region": "region_name",
    "endpointUrl": "endpoint_url",
    "kinesis.endpointUrl": "endpoint_url",
    "kinesis.sink.aggregationEnabled": "aggregation_enabled",
    "kinesis.executor.aggregationEnabled": "aggregation_enabled",
    "kinesis.sink.recordMaxBufferedTimeMs": "record_max_buffered_time_ms",
    "kinesis.executor.recordMaxBufferedTime": "record_max_buffered_time_ms",
    "kinesis.sink.recordTtl": "record_ttl_ms",
    "kinesis.sink.maxConnections": "max_connections",
    "kinesis.executor.maxConnections": "max_connections",
    "kinesis.sink.proxyAddress": "proxy_host",
    "kinesis.sink.proxyPort": "proxy_port",
    "kinesis.sink.proxyUsername": "proxy_user_name",
    "kinesis.sink.proxyPassword": "proxy_password",
    "awsAccessKeyId": "access_key_id",
    "kinesis.awsAccessKeyId": "access_key_id",
    "awsSecretKey": "secret_key",
    "kinesis.awsSecretKey": "secret_key",
    "awsSessionToken": "session_token",
    "kinesis.awsSessionToken": "session_token",
    "awsSTSRoleARN": "role_arn",
    "kinesis.stsRoleArn": "role_arn",
    "awsSTSSessionName": "role_session_name",
    "kinesis.stsSessionName": "role_session_name",
    "kinesis.stsEndpointUrl": "sts_endpoint_url",
    "column.data": "data",
    "column.partitionKey": "partition_key",
    "column.explicitHashKey": "explicit_hash_key",
    "column.headers": "headers",
    "column.stream": "stream_column",
    "json": "json",
}
# Options of the connectors that set nothing here: kplpy neither polls nor chooses between two default chains.
_WITHOUT_MEANING = (
    "kinesis.sink.flushWaitTimeMs",
    "kinesis.executor.flushWaitTimeMillis",
    "kniesis.executor.flushwaittimemillis",  # as kinesis-sql spells it
    "awsUseInstanceProfile",
)
# Spark's own options, which it hands to the sink too.
_OF_SPARK = (
    "checkpointLocation",
    "asyncProgressTrackingEnabled",
    "asyncProgressTrackingCheckpointIntervalMs",
)
_REFUSED = {
    "kinesis.credentialProviderClass": "names a Java class, and this sink has no JVM: leave it out for boto's default "
    "chain, or give kinesis.awsAccessKeyId and kinesis.awsSecretKey, or kinesis.stsRoleArn",
}


def _plain(name: str) -> str:
    """Return the name as two spellings of one option have it."""
    return name.lower().replace("_", "")


_CONFIG = {each.name: each for each in fields(Config) if has_text(each)}
_WITHOUT_TEXT = {each.name for each in fields(Config) if not has_text(each)}
_TARGETS = {**{_plain(name): target for name, target in _KNOWN.items()}, **{_plain(name): name for name in _CONFIG}}
_SHOWN = {_plain(name): name for name in (*_CONFIG, *_WITHOUT_MEANING, *_OF_SPARK, *_REFUSED, *_KNOWN)}
_IGNORED = {_plain(name) for name in (*_WITHOUT_MEANING, *_OF_SPARK)}


@dataclass(frozen=True)
class Keys:
    """The credentials that the options give. None everywhere: boto's default chain.

    ConfigError: a part without the part that it needs.
    """

    access_key_id: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    role_arn: str | None = None
    role_session_name: str | None = None
    sts_endpoint_url: str | None = None

    def __post_init__(self) -> None:
        if (self.access_key_id is None) != (self.secret_key is None):
            given, other = ("awsAccessKeyId", "awsSecretKey")[:: 1 if self.access_key_id else -1]
            raise ConfigError(f"option {given} needs {other} too")
        if self.session_token is not None and self.access_key_id is None:
            raise ConfigError("option awsSessionToken needs awsAccessKeyId and awsSecretKey too")
        for name, value in (("stsSessionName", self.role_session_name), ("stsEndpointUrl", self.sts_endpoint_url)):
            if value is not None and self.role_arn is None:
                raise ConfigError(f"option kinesis.{name} needs kinesis.stsRoleArn too")


class ProducerOptions(PlainOptions):
    """The options of a worker's producer, with the credentials that they give."""

    def __init__(self, options: Mapping[str, Any], keys: Keys) -> None:
        super().__init__(options)
        self._keys = keys
        self.key = json.dumps([self.key, *(getattr(keys, each.name) for each in fields(keys))])

    def config(self) -> Config:
        """Return a Config, with a session if the options give credentials."""
        config, keys = super().config(), self._keys
        if keys == Keys():
            return config
        pair = None
        if keys.access_key_id is not None and keys.secret_key is not None:
            pair = (keys.access_key_id, keys.secret_key, keys.session_token)
        name = keys.role_session_name or "kplpy"
        return replace(config, session=make_session(config, pair, keys.role_arn, name, keys.sts_endpoint_url))


@dataclass(frozen=True)
class SinkOptions:
    """All that the options of a write set.

    stream: name or ARN. None: each row has its own, in the column `columns.stream`.
    """

    stream: str | None
    columns: Columns
    producer: ProducerOptions

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> SinkOptions:
        """Read the options of a write. Raises ConfigError, which names the option and the rule."""
        found: dict[str, tuple[str, Any]] = {}
        for name, text in given.items():
            target = _target_of(name)
            if target is None:
                continue
            shown = _SHOWN.get(_plain(name), name)
            value = _value_of(shown, target, text)
            if target in found and found[target][1] != value:
                raise ConfigError(f"options {found[target][0]} and {shown} are one option, and have different values")
            found[target] = (shown, value)
        return cls._of({target: value for target, (_, value) in found.items()}, found)

    @classmethod
    def _of(cls, values: dict[str, Any], found: Mapping[str, tuple[str, Any]]) -> SinkOptions:
        stream = values.pop(_STREAM, None)
        if stream is not None:
            try:
                parse_stream(stream)
            except InvalidRecordError as error:
                raise ConfigError(f"option {found[_STREAM][0]}: {error}") from None
        roles = {each.name: values.pop(each.name) for each in fields(Columns) if each.name in values}
        if roles.get("partition_key") == "":
            roles["partition_key"] = None  # records without a key
        if "stream_column" in values:
            roles["stream"] = values.pop("stream_column")
        keys = Keys(**{each.name: values.pop(each.name) for each in fields(Keys) if each.name in values})
        for name, value in values.items():
            try:
                Config(**{name: value})
            except ConfigError as error:
                raise ConfigError(f"option {found[name][0]}: {error}") from None
        return cls(stream, Columns(**roles), ProducerOptions({**DEFAULTS, **values}, keys))


def _target_of(name: str) -> str | None:
    """Return what the option sets; None: nothing. Raises ConfigError for an option that does not exist."""
    plain = _plain(name)
    if plain in _TARGETS:
        return _TARGETS[plain]
    if plain in _IGNORED or name.startswith("__"):  # Spark's internal options, such as __partition_columns
        return None
    for refused, reason in _REFUSED.items():
        if plain == _plain(refused):
            raise ConfigError(f"option {refused} {reason}")
    if plain in map(_plain, _WITHOUT_TEXT):
        raise ConfigError(f"option {name} cannot be given as a text: make a Producer in foreachPartition instead")
    similar = [_SHOWN[each] for each in get_close_matches(plain, _SHOWN, n=3)]
    hint = f"did you mean {' or '.join(similar)}?" if similar else "docs/distributed.md lists the options"
    raise ConfigError(f"there is no option {name}; {hint}")


def _value_of(shown: str, target: str, text: str) -> Any:
    if target not in _CONFIG:
        return text
    try:
        return value_of(_CONFIG[target], text)
    except ValueError as error:
        got = safe_repr(target, text) if _CONFIG[target].repr else "another text"
        raise ConfigError(f"option {shown} {error}, got {got}") from None
