"""Processors and patterns for any text, against models and against Python's own parsers."""

from __future__ import annotations

import csv
import io
import json
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kplpy.agent.processing import make_process, translate
from kplpy.agent.processing.json_text import compact, object_of, pretty
from kplpy.agent.processing.sizes import join_lines
from kplpy.agent.settings import FlowSettings

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SHORT = st.text('ab,;| ."\\\té\u2028\x1f\r', max_size=12)
ATOMIC = ["a*+b?", "(?>a|ab)b?", "a{1,2}+b", "(?>(a)|b)+", "(?:a?+b)*", "(a++|b)+"]
NAMES = [f"n{n}" for n in range(5)]

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | TEXTS | FLOATS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def process_of(**option: object) -> FlowSettings:
    return FlowSettings("id", "/f", "kinesis", "s", processing=(option,))


def java_split(text: str, delimiter: str) -> list[str]:
    """Return what String.split does with a literal delimiter, found character by character."""
    parts, start, place = [], 0, 0
    while place <= len(text) - len(delimiter):
        if text.startswith(delimiter, place):
            parts.append(text[start:place])
            start = place = place + len(delimiter)
        else:
            place += 1
    if not parts:
        return [text]
    parts.append(text[start:])
    while parts and parts[-1] == "":
        parts.pop()
    return parts


@settings(max_examples=50)
@given(SHORT, st.sampled_from([",", ";", "|", "ab", ",,", ".", "\\", "é"]))
def test_columns_are_those_of_javas_split(text: str, delimiter: str) -> None:
    columns = java_split(text, delimiter)
    quoted = f"\\Q{delimiter}\\E"
    for pattern in (quoted, f"(?:{quoted})", f"({quoted})", f"(?>{quoted})"):
        assert translate(pattern, for_split=True).split(text) == columns
    process = make_process(process_of(optionName="CSVTOJSON", customFieldNames=NAMES, delimiter=quoted))
    assert process is not None
    fields = json.loads(process((text + "\n").encode()) or b"")
    assert fields == dict(zip(NAMES, [*columns, None, None, None, None, None], strict=False))


@given(st.lists(st.text("ab\"',;é \n", max_size=6), min_size=1, max_size=5).filter(lambda row: row != [""]))
def test_quoted_columns_are_those_that_csv_wrote(row: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(row)
    process = make_process(process_of(optionName="CSVTOJSON", customFieldNames=NAMES, quoting=True))
    assert process is not None
    assert list(json.loads(process(out.getvalue().encode()) or b"").values())[: len(row)] == row


@settings(max_examples=50)
@given(st.lists(TEXTS.filter(lambda text: "\n" not in text and "\x00" not in text), min_size=5, max_size=5))
def test_json_parses_back_to_the_fields(values: list[str]) -> None:
    for json_format in ("COMPACT", "PRETTYPRINT"):
        flow = process_of(
            optionName="LOGTOJSON",
            logFormat="SYSLOG",
            matchPattern="(?s)" + "\\x00".join(["(.*)"] * 5),
            customFieldNames=NAMES,
            jsonFormat=json_format,
        )
        process = make_process(flow)
        assert process is not None
        converted = process(("\x00".join(values) + "\n").encode())
        assert json.loads(converted or b"") == dict(zip(NAMES, values, strict=True))
        # Jackson: capitals in escapes, nothing but control characters, quotation marks and backslashes escaped
        escapes = re.findall(r"\\(u....|.)", (converted or b"").decode().replace("\\\\", ""))
        assert all(re.fullmatch(r'u00[01][0-9A-F]|["bfnrt]', escape) for escape in escapes)


@settings(max_examples=40)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_json_of_any_object_parses_back(value: dict[str, object]) -> None:
    assert json.loads(compact(value)) == value
    assert json.loads(pretty(value)) == value
    assert object_of(compact(value)) == value


@given(st.binary(max_size=200))
def test_any_record_is_converted(record: bytes) -> None:
    options: list[dict[str, object]] = [
        {"optionName": "SINGLELINE"},
        {"optionName": "CSVTOJSON", "customFieldNames": NAMES},
        {"optionName": "CSVTOJSON", "customFieldNames": NAMES, "quoting": True},
        {"optionName": "ADDMETADATA", "metadata": {}},
        {"optionName": "ADDBRACKETS"},
    ]
    for option in options:
        process = make_process(process_of(**option))
        assert process is not None
        assert process(record) is not None
        assert process.failed == 0


@given(st.lists(st.integers(1, 30).map(lambda n: b"x" * (n - 1) + b"\n"), max_size=30), st.integers(1, 60))
def test_joined_lines_are_the_same_bytes_in_order_and_as_full_as_they_can_be(lines: list[bytes], size: int) -> None:
    records, counts = join_lines(lines, size)
    assert b"".join(records) == b"".join(lines)
    starts = [sum(counts[:n]) for n in range(len(counts) + 1)]
    assert starts[-1] == len(lines)
    for record, count, start in zip(records, counts, starts, strict=False):
        assert record == b"".join(lines[start : start + count])
        assert len(record) <= size or count == 1
        if start + count < len(lines):
            assert len(record) + len(lines[start + count]) > size


@pytest.mark.skipif(sys.version_info < (3, 11, 5), reason="Python's re has atomic groups from 3.11 only")
@given(st.text("ab\né", max_size=8), st.sampled_from(ATOMIC))
def test_atomic_groups_are_those_of_python(text: str, source: str) -> None:
    """They are written without Python's own, which differ between its versions."""
    pattern = translate(source)
    mine, native = pattern.match(text), re.match(source, text)
    assert (mine and mine[0]) == (native and native[0])
    if mine is not None and native is not None:
        assert pattern.groups_of(mine) == native.groups()
