"""The processors of dataProcessingOptions. Each is made from one option, and converts one record.

A processor returns None for a record that is dropped, and raises for one that it cannot convert. They follow the
Kinesis Agent byte for byte. Keys of kplpy's own give a better answer where the Agent's is a fault
(docs/agent-processors.md).
"""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import TypeAlias

from kplpy.agent.processing import json_text
from kplpy.agent.processing.instance_metadata import InstanceMetadata
from kplpy.agent.processing.java_regex import translate
from kplpy.agent.processing.log_formats import LOG_FORMATS
from kplpy.agent.processing.options import Option

Convert: TypeAlias = Callable[[bytes], "bytes | None"]

BLANKS = bytes(range(0x21))
"""What Java's String.trim() removes: characters up to U+0020."""


def single_line(option: Option) -> Convert:
    """SINGLELINE: joins the lines of a record."""
    modes = option.texts("parseOptions", ())
    for unknown in sorted({*modes} - {"NO_TRIM", "ESCAPE_NEW_LINE"}):
        option.warn("parseOptions", f"holds {unknown!r}, which has no effect: it may hold NO_TRIM and ESCAPE_NEW_LINE")
    trim = "NO_TRIM" not in modes
    # The Agent writes two backslashes and an n.
    between = option.text("joinWith", "\\\\n" if "ESCAPE_NEW_LINE" in modes else "").encode("utf-8", "replace")

    def convert(record: bytes) -> bytes:
        lines = utf8(record).split(b"\n")
        if len(lines) > 1:
            while lines and not lines[-1]:
                lines.pop()
        if trim:
            lines = [line.strip(BLANKS) for line in lines]
        return between.join(lines) + b"\n"

    return convert


def csv_to_json(option: Option) -> Convert:
    """CSVTOJSON: an object of a line's columns."""
    names = option.texts("customFieldNames")
    if not names:
        option.warn("customFieldNames", "is empty: every record becomes an object without fields")
    write = json_text.object_writer(names, option.is_pretty())
    delimiter = option.text("delimiter", ",")
    if option.boolean("quoting"):
        split = _quoted_splitter(delimiter, option)
    else:
        split = translate(delimiter, option.where_is("delimiter"), for_split=True).split
    count = len(names)

    def convert(record: bytes) -> bytes:
        columns = split(text_of_line(record))
        values = list(map(encode_basestring, columns[:count] if len(columns) > count else columns))
        if len(values) < count:
            values.extend(["null"] * (count - len(values)))
        return write(values)

    return convert


def _quoted_splitter(delimiter: str, option: Option) -> Callable[[str], list[str]]:
    """Return a function that splits a line of CSV as RFC 4180 has it."""
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise option.error("delimiter", f"{delimiter!r} must be one character, without a quotation mark, with quoting")
    end = re.escape(delimiter)
    find = re.compile(rf'(?:\A|{end})(?:"((?:[^"]|"")*)"(?={end}|\Z)|([^{end}]*))').findall

    def split(text: str) -> list[str]:
        text = text[:-1] if text.endswith("\r") else text
        if '"' not in text:
            return text.split(delimiter)
        return [quoted.replace('""', '"') if quoted else plain for quoted, plain in find(text)]

    return split


def log_to_json(option: Option) -> Convert:
    """LOGTOJSON: an object of the groups of a regular expression. Other lines are dropped."""
    log_format = LOG_FORMATS[option.choice("logFormat", LOG_FORMATS)]
    match_pattern = option.text("matchPattern", None)
    names = option.texts("customFieldNames", None)
    if match_pattern is None:
        pattern = translate(log_format.pattern, option.where_is("logFormat"))
        if names is not None and len(names) != len(log_format.fields):
            raise option.error(
                "customFieldNames",
                f"has {len(names)} names, and {option.text('logFormat')} has {len(log_format.fields)} fields",
            )
        names = names or log_format.fields
    else:
        pattern = translate(match_pattern, option.where_is("matchPattern"))
        if names is None:
            raise option.error("customFieldNames", "must be given with matchPattern")
    whole = option.boolean("matchWhole", True)
    find = pattern.fullmatch if whole else pattern.search
    send_raw = option.choice("onNoMatch", ("DROP", "RAW"), "DROP") == "RAW"
    if pattern.group_count != len(names):
        option.warn(
            "matchPattern",
            f"has {pattern.group_count} groups and customFieldNames {len(names)} names:"
            f" {'records are sent as they are' if send_raw else 'every record is dropped'}",
        )
        return (lambda record: record) if send_raw else (lambda record: None)
    write = json_text.object_writer(names, option.is_pretty())
    groups_of = pattern.groups_of
    null = "-" if log_format.dash_is_null else None

    def convert(record: bytes) -> bytes | None:
        match = find(text_of_line(record))
        if match is None:
            return record if send_raw else None
        return write(
            ["null" if value is None or value == null else encode_basestring(value) for value in groups_of(match)]
        )

    return convert


def add_metadata(option: Option) -> Convert:
    """ADDMETADATA: an object with the record as its "data"."""
    is_pretty = option.is_pretty()
    metadata = option.value("metadata")
    if metadata is None:
        option.warn("metadata", "is missing, and null in every record")
    timestamp = option.is_true("timestamp")
    clock = _Clock()
    names = ["ts"] * timestamp + ["metadata", "data"]
    write = json_text.object_writer(names, is_pretty)
    constant = json_text.pretty(metadata, 1) if is_pretty else json_text.compact(metadata)

    def convert(record: bytes) -> bytes:
        data = encode_basestring(text_of_line(record))
        if timestamp:
            return write([f'"{clock.text()}"', constant, data])
        return write([constant, data])

    return convert


class _Clock:
    """The time as text: 2026-01-31T10:20:30.123Z."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self) -> str:
        now = time.time_ns() // 1_000_000
        second, milliseconds = divmod(now, 1000)
        if second != self._second:  # once a second, which is faster than a format for each record
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{milliseconds:03}Z"


def add_ec2_metadata(option: Option) -> Convert:
    """ADDEC2METADATA: the instance's metadata added to a record that is a JSON object."""
    option.choice("logFormat", LOG_FORMATS, None)
    written = json_text.pretty if option.is_pretty() else json_text.compact
    metadata = InstanceMetadata(option.seconds("metadataTTL", 3600))

    def convert(record: bytes) -> bytes:
        fields = metadata.fields()
        if not fields:
            return record
        value = json_text.object_of(record.decode("utf-8", AS_JAVA))
        value.update(fields)
        return (written(value) + "\n").encode("utf-8", "replace")

    return convert


def add_brackets(option: Option) -> Convert:
    """ADDBRACKETS: the record in braces. The Agent leaves the record's newline inside them."""
    if option.boolean("newLineBehind"):
        return lambda record: b"{" + utf8(record.removesuffix(b"\n")) + b"}\n"
    return lambda record: b"{" + utf8(record) + b"}"


def _replace_as_java(error: UnicodeError) -> tuple[str, int]:
    """Replace what is not UTF-8. Java takes an encoded surrogate, also an incomplete one, as one mistake."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    start = error.start
    data = error.object[start : start + 3]
    if data[0] == 0xED and len(data) > 1 and 0xA0 <= data[1] < 0xC0:
        return "\ufffd", start + 2 + (len(data) > 2 and 0x80 <= data[2] < 0xC0)
    return "\ufffd", error.end


AS_JAVA = "kplpy-replace-as-java"  # an error handler of decode()
codecs.register_error(AS_JAVA, _replace_as_java)


def utf8(record: bytes) -> bytes:
    """Return the record with what is not UTF-8 replaced, as decoding and encoding in Java does."""
    return record if record.isascii() else record.decode("utf-8", AS_JAVA).encode()


def text_of_line(record: bytes) -> str:
    """Return the record's text without its newline."""
    text = record.decode("utf-8", AS_JAVA)
    return text[:-1] if text.endswith("\n") else text


PROCESSORS: dict[str, Callable[[Option], Convert]] = {
    "SINGLELINE": single_line,
    "CSVTOJSON": csv_to_json,
    "LOGTOJSON": log_to_json,
    "ADDMETADATA": add_metadata,
    "ADDEC2METADATA": add_ec2_metadata,
    "ADDBRACKETS": add_brackets,
}

OPTION_KEYS: dict[str, frozenset[str]] = {
    "SINGLELINE": frozenset({"parseOptions", "joinWith"}),
    "CSVTOJSON": frozenset({"customFieldNames", "delimiter", "quoting", "jsonFormat"}),
    "LOGTOJSON": frozenset({"logFormat", "matchPattern", "customFieldNames", "matchWhole", "onNoMatch", "jsonFormat"}),
    "ADDMETADATA": frozenset({"metadata", "timestamp", "jsonFormat"}),
    "ADDEC2METADATA": frozenset({"metadataTTL", "logFormat", "matchPattern", "customFieldNames", "jsonFormat"}),
    "ADDBRACKETS": frozenset({"newLineBehind"}),
}
"""optionName → the keys beside it that the processor reads."""
