r"""The log formats of LOGTOJSON: their regular expressions, in Java's syntax, and field names.

The expressions accept what the Kinesis Agent's accept. Lines follow Apache's and syslog's own documentation:
https://httpd.apache.org/docs/2.4/logs.html, RFC 3164 and RFC 3339.
"""

from __future__ import annotations

from dataclasses import dataclass

_INTEGER = "[+-]?[0-9]+"
_NAME = r"[\w-]+(?:\.[\w-]+)*\.?"
_HOST = rf"(?:{_NAME}|[\d.]+)"
_USER = "[a-zA-Z0-9._-]+"
_QUOTED = '"([^"]+)"'

_DAY = "(?:0[1-9]|[12][0-9]|3[01]|[1-9])"
_WEEKDAY = "(?:Mon(?:day)?|Tue(?:sday)?|Wed(?:nesday)?|Thu(?:rsday)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?)"
_MONTH = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    "|Sep(?:tember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_YEAR = r"[1-9]\d*"
_TIME = "(?:2[0-3]|[01]?[0-9]):[0-5][0-9]:(?:[0-5]?[0-9]|60)(?:[:.,][0-9]+)?"
_HTTP_DATE = rf"{_DAY}/{_MONTH}/{_YEAR}:{_TIME}\s{_INTEGER}"
_ERROR_DATE = rf"{_WEEKDAY}\s+{_MONTH}\s+{_DAY}\s+{_TIME}\s+{_YEAR}"
_SYSLOG_DATE = rf"{_MONTH}\s+{_DAY}\s+{_TIME}"
_RFC3339_DATE = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[-+]\d{2}:\d{2})"

_COMMON = rf"({_HOST}) ({_USER}) ({_USER}) \[({_HTTP_DATE})\] {_QUOTED} ({_INTEGER}|-) ({_INTEGER}|-)"
_ERROR = (
    rf"\[({_ERROR_DATE})\] \[(?:(\w+):)?(\w+)\] \[pid ([0-9]+)(?::tid ([0-9]+))?\] "
    rf"\[client ({_HOST}(?::[1-9][0-9]*)?)\] (.*)"
)
_SYSLOG = rf"(?:<[0-9]+.[0-9]+> )?({_USER}) ([\w./%-]+)(?:\[([1-9][0-9]*)\])?: (.*)"

_COMMON_FIELDS = ("host", "ident", "authuser", "datetime", "request", "response", "bytes")
_ERROR_FIELDS = ("timestamp", "module", "severity", "processid", "threadid", "client", "message")
_SYSLOG_FIELDS = ("timestamp", "hostname", "program", "processid", "message")


@dataclass(frozen=True, slots=True)
class LogFormat:
    """A format. dash_is_null: a field that is "-" is written as null."""

    pattern: str
    fields: tuple[str, ...]
    dash_is_null: bool


LOG_FORMATS = {
    "COMMONAPACHELOG": LogFormat(f"{_COMMON}.*", _COMMON_FIELDS, True),
    "COMBINEDAPACHELOG": LogFormat(f"{_COMMON} {_QUOTED} {_QUOTED}.*", (*_COMMON_FIELDS, "referer", "agent"), True),
    "APACHEERRORLOG": LogFormat(_ERROR, _ERROR_FIELDS, True),
    "SYSLOG": LogFormat(f"({_SYSLOG_DATE}) {_SYSLOG}", _SYSLOG_FIELDS, False),
    "RFC3339SYSLOG": LogFormat(f"({_RFC3339_DATE}) {_SYSLOG}", _SYSLOG_FIELDS, False),
}
