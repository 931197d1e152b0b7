"""Reads KPL properties files (`AggregationMaxSize = 51200`) as the KPL reads them."""

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


# The KPL's key → the Config field, and the function that converts its text.
_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "AggregationEnabled": ("aggregation_enabled", flag),
    "AggregationMaxCount": ("aggregation_max_count", whole_number),
    "AggregationMaxSize": ("aggregation_max_size", whole_number),
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
_ENDPOINT_KEYS = frozenset(key for hosts, ports in _ENDPOINTS.values() for key in (*hosts, *ports))
# Settings of the KPL's native daemon, its Java part or their helpers. kplpy has nothing that they could set.
_WITHOUT_MEANING = frozenset(
    "EnableCoreDumps EnableOldestFutureTracker LogLevel MinConnections NativeExecutable ReturnUserRecordOnFailure "
    "StsEndpoint StsPort TempDirectory ThreadPoolSize ThreadingModel".split()
)


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
    settings: dict[str, Setting] = {}
    endpoints: dict[str, Setting] = {}
    ignored: list[str] = []
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the properties file {os.fspath(path)!r}: {error}") from error
    for line, key, value in _entries(text):
        where = f"{os.fspath(path)}, line {line}"
        if key in _WITHOUT_MEANING:
            ignored.append(key)
        elif key not in _FIELDS and key not in _ENDPOINT_KEYS:
            known = [*_FIELDS, *_ENDPOINT_KEYS, *_WITHOUT_MEANING]
            similar = difflib.get_close_matches(key, known, n=3)
            hint = f"; did you mean {' or '.join(similar)}?" if similar else f"; known keys: {', '.join(sorted(known))}"
            raise ConfigError(f"{where}: unknown key {key!r}{hint}")
        elif not value:
            continue  # not set: the KPL's sample file has such keys
        elif key in _ENDPOINT_KEYS:
            endpoints[key] = Setting(value, f"{where}: {key}")
        else:
            name, convert = _FIELDS[key]
            try:
                converted = convert(value)
            except ValueError as error:
                raise ConfigError(f"{where}: {key} {error}, got {value!r}") from None
            if name == "verify" and name in settings:
                # Two keys set this field. "false" wins over a path, and a path over "true".
                converted = min((settings[name].value, converted), key=lambda each: (each is not False, each is True))
            settings[name] = Setting(converted, f"{where}: {key}")
    for name, (hosts, ports) in _ENDPOINTS.items():
        host = next((endpoints[key] for key in hosts if key in endpoints), None)
        port = next((endpoints[key] for key in ports if key in endpoints), None)
        if host is not None:
            url = f"https://{host.value}:{port.value}" if port is not None else f"https://{host.value}"
            settings[name] = Setting(url, (port or host).where)
    if ignored:
        log(logger, "properties_ignored", {"path": os.fspath(path), "keys": ", ".join(sorted(ignored))})
    return settings


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
