"""Reads KPL properties files (`AggregationMaxSize = 51200`), with the keys of the KPL 1.1.1 and of older ones.

tests/parity/test_kpl_options.py holds the keys, their defaults and their bounds to the KPL's own.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kplpy.config.from_text import flag, whole_number
from kplpy.errors import ConfigError
from kplpy.logs import log

logger = logging.getLogger(__name__)


def _strategy(text: str) -> str | None:
    """Return the strategy to assume; None for UNSET. ValueError: another text. The KPL does not take lower case."""
    strategies = {"UNSET": None, "AUTO": "AUTO", "USER_PARTITION_KEY": "USER_PARTITION_KEY"}
    if text not in strategies:
        raise ValueError(f"must be one of {', '.join(strategies)}")
    return strategies[text]


# The KPL's key → the Config field, and the function that converts its text.
_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "AggregationEnabled": ("aggregation_enabled", flag),
    "AggregationMaxCount": ("aggregation_max_count", whole_number),
    "AggregationMaxSize": ("aggregation_max_size", whole_number),
    "CaCertFile": ("verify", str),
    "CaCertPath": ("verify", str),
    "CollectionMaxCount": ("collection_max_count", whole_number),
    "CollectionMaxSize": ("collection_max_size", whole_number),
    "ConnectTimeout": ("connect_timeout_ms", whole_number),
    "FailIfThrottled": ("fail_if_throttled", flag),
    "MaxConnections": ("max_connections", whole_number),
    "MaxUserRecordSize": ("max_user_record_size", whole_number),
    "MetricsGranularity": ("metrics_granularity", str.lower),
    "MetricsLevel": ("metrics_level", str.lower),
    "MetricsNamespace": ("metrics_namespace", str),
    "MetricsUploadDelay": ("metrics_upload_delay_ms", whole_number),
    "ProxyHost": ("proxy_host", str),
    "ProxyPort": ("proxy_port", whole_number),
    "ProxyUserName": ("proxy_user_name", str),
    "ProxyPassword": ("proxy_password", str),
    "RecordDistributionStrategyDefault": ("assume_distribution_strategy", _strategy),
    "RateLimit": ("rate_limit", whole_number),
    "RecordMaxBufferedTime": ("record_max_buffered_time_ms", whole_number),
    "RecordTtl": ("record_ttl_ms", whole_number),
    "Region": ("region_name", str),
    "RequestTimeout": ("request_timeout_ms", whole_number),
    "UserRecordTimeout": ("user_record_timeout_ms", whole_number),
    "UserRecordTimeoutInMillis": ("user_record_timeout_ms", whole_number),
    "VerifyCertificate": ("verify", flag),
}
# The KPL has one key for an endpoint's host and one for its port. It uses https only.
_ENDPOINTS = {
    "endpoint_url": (("KinesisEndpoint", "CustomEndpoint"), ("KinesisPort", "Port")),
    "cloudwatch_endpoint_url": (("CloudwatchEndpoint",), ("CloudwatchPort",)),
}
_PORT_KEYS = frozenset(key for _, ports in _ENDPOINTS.values() for key in ports)
_ENDPOINT_KEYS = _PORT_KEYS | {key for hosts, _ in _ENDPOINTS.values() for key in hosts}


@dataclass(frozen=True, slots=True)
class Unused:
    """A key of the KPL that sets nothing in kplpy. Its value is checked as the KPL checks it.

    why: why it has no effect. check: raises ValueError for a value that the KPL refuses.
    """

    why: str
    check: Callable[[str], object] = str


def _number(least: int, greatest: int | None = None) -> Callable[[str], int]:
    """Return a function that reads a whole number of at least `least` and at most `greatest`."""

    def read_number(text: str) -> int:
        value = whole_number(text)
        if value < least or (greatest is not None and value > greatest):
            raise ValueError(f"must be at least {least}" if greatest is None else f"must be from {least} to {greatest}")
        return value

    return read_number


def _choice(*values: str) -> Callable[[str], str]:
    """Return a function that reads one of `values`."""

    def read_choice(text: str) -> str:
        if text not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return text

    return read_choice


_port = _number(1, 65535)
_DAEMON = "kplpy has no child process"
_SESSION = "botocore's session asks for temporary credentials itself"
_THREADS = "kplpy starts threads as requests need them, up to `max_connections`"
UNUSED: dict[str, Unused] = {
    "CredentialsRefreshDelay": Unused(
        "botocore renews credentials before they expire; the KPL hands them to its daemon at this interval",
        _number(1, 300_000),
    ),
    "DaemonHealthCheckTimeoutMs": Unused(_DAEMON, _number(5000)),
    "DescribeStreamSummaryIntervalMs": Unused(
        "kplpy asks when a stream's strategy may have changed: while it is AUTO, and when records land on other shards "
        "than it would choose; at most once in 60 to 90 s for each stream",
        _number(1),
    ),
    "EnableCoreDumps": Unused(_DAEMON, flag),
    "EnableDaemonHealthCheck": Unused(_DAEMON, flag),
    "EnableOldestFutureTracker": Unused("`Producer.health()` always knows the age of the oldest record", flag),
    "GlueSchemaRegistryPropertiesFilePath": Unused(
        "`value_serializer` is the place for a schema registry ([serializers](serializers.md))"
    ),
    "LogLevel": Unused(
        "Python's `logging` decides ([log events](logging.md))", _choice(*"trace debug info warning error".split())
    ),
    "MinConnections": Unused("kplpy opens connections as requests need them", _number(1, 16)),
    "NativeExecutable": Unused(_DAEMON),
    "ReturnUserRecordOnFailure": Unused("`RecordFailedError.record` always has the record", flag),
    "StsEndpoint": Unused(_SESSION),
    "StsPort": Unused(_SESSION, _port),
    "TempDirectory": Unused(_DAEMON),
    "ThreadPoolSize": Unused(_THREADS, _number(0)),
    "ThreadingModel": Unused(_THREADS, _choice("PER_REQUEST", "POOLED")),
}
"""The KPL's settings of its native daemon, of its Java part or of their helpers."""


def field_of(key: str) -> str | None:
    """Return the Config field that the KPL's key sets, or None. Raises KeyError for an unknown key."""
    for field, (hosts, ports) in _ENDPOINTS.items():
        if key in (*hosts, *ports):
            return field
    return None if key in UNUSED else _FIELDS[key][0]


def kpl_keys(field: str) -> list[str]:
    """Return the KPL's keys that set this Config field: none, one or more."""
    hosts, ports = _ENDPOINTS.get(field, ((), ()))
    return [*(key for key, (name, _) in _FIELDS.items() if name == field), *hosts, *ports]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the file.

    value: converted to the type of the Config field.
    where: file, line and key, for error messages.
    """

    value: Any
    where: str


def read(path: str | os.PathLike[str]) -> dict[str, Setting]:
    """Return the Config fields that a KPL properties file sets. Raises ConfigError with file, line and rule."""
    found: dict[str, Setting] = {}  # by the KPL's key
    ignored: list[str] = []
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the properties file {os.fspath(path)!r}: {error}") from error
    for line, key, value in _entries(text):
        where = f"{os.fspath(path)}, line {line}"
        _check_key(key, where)
        if key in UNUSED:
            ignored.append(key)
        if value:  # an empty one is not set: the KPL's sample file has such keys
            found.pop(key, None)  # so that the last of several keys for a field comes last
            found[key] = Setting(_converted(key, value, where), f"{where}: {key}")
    if ignored:
        log(logger, "properties_ignored", {"path": os.fspath(path), "keys": ", ".join(sorted(set(ignored)))})
    return _fields_of(found)


def _converted(key: str, value: str, where: str) -> Any:
    """Return the value of a known key. Raises ConfigError with the rule that the text breaks."""
    try:
        return _converter(key)(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {key} {error}, got {value!r}") from None


def _converter(key: str) -> Callable[[str], Any]:
    if key in UNUSED:
        return UNUSED[key].check
    if key in _ENDPOINT_KEYS:
        return _port if key in _PORT_KEYS else str
    return _FIELDS[key][1]


def _fields_of(found: dict[str, Setting]) -> dict[str, Setting]:
    """Return the settings by Config field instead of the KPL's key."""
    settings = {_FIELDS[key][0]: each for key, each in found.items() if key in _FIELDS}
    certificates = [found[key] for key in ("VerifyCertificate", "CaCertFile", "CaCertPath") if key in found]
    if certificates:
        # False wins over a path, and a path over True. botocore takes a file, as CaCertFile is.
        settings["verify"] = min(certificates, key=lambda each: (each.value is not False, each.value is True))
    for name, (hosts, ports) in _ENDPOINTS.items():
        host = next((found[key] for key in hosts if key in found), None)
        port = next((found[key] for key in ports if key in found), None)
        if host is not None:
            url = f"https://{host.value}:{port.value}" if port is not None else f"https://{host.value}"
            settings[name] = Setting(url, (port or host).where)
    return settings


def _check_key(key: str, where: str) -> None:
    """Raise ConfigError, with similar keys, if neither this KPL nor an older one has the key."""
    known = [*_FIELDS, *_ENDPOINT_KEYS, *UNUSED]
    if key in known:
        return
    similar = difflib.get_close_matches(key, known, n=3)
    hint = f"; did you mean {' or '.join(similar)}?" if similar else f"; known keys: {', '.join(sorted(known))}"
    raise ConfigError(f"{where}: unknown key {key!r}{hint}")


def _entries(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, key, value) by the rules of java.util.Properties."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        logical = line.lstrip()
        if not logical or logical[0] in "#!":
            continue
        while _continues(logical):
            _, following = next(lines, (number, ""))
            logical = logical[:-1] + following.lstrip()
        match = re.match(r"((?:\\.|[^\\\s=:])*)\s*[=:]?\s*(.*)", logical, re.DOTALL)
        assert match is not None  # every part of the pattern may be empty
        yield number, _unescape(match[1]), _unescape(match[2]).strip()


def _continues(line: str) -> bool:
    """Return True if the line ends with an odd number of backslashes: the next line belongs to it."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescape(text: str) -> str:
    named = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}

    def one(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else named.get(match[2], match[2])

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", one, text)
