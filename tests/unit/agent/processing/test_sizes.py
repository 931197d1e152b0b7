"""Lines joined for Firehose before they are processed, in the Kinesis Agent's order: its table of flows, run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kplpy.agent.processing import cut, make_join, make_process
from kplpy.agent.settings import FlowSettings

FLOW = FlowSettings("fh:logs:/f", "/f", "firehose", "logs", join_before_processing=True)
LONG = b"b" * 30 + b"\n"


def records_of(file: bytes, size: int, *options: dict[str, Any]) -> list[bytes]:
    settings = replace(FLOW, aggregated_record_size_bytes=size, processing=options)
    join, process = make_join(settings), make_process(settings)
    assert join is not None
    lines = file.splitlines(keepends=True)
    records, counts = join(lines)
    assert sum(counts) == len(lines)
    assert len(counts) == len(records)
    return records if process is None else [process(record) or b"" for record in records]


def test_lines_are_joined_up_to_the_size() -> None:
    assert records_of(b"one\ntwo\nthree\nfour\nfive\nsix\n", 20) == [b"one\ntwo\nthree\nfour\n", b"five\nsix\n"]
    assert records_of(b"one\ntwo\nthree\nfour\nfive\nsix\n", 19) == [b"one\ntwo\nthree\nfour\n", b"five\nsix\n"]
    assert records_of(b"one\ntwo\nthree\nfour\nfive\nsix\n", 18) == [b"one\ntwo\nthree\n", b"four\nfive\nsix\n"]


def test_a_line_above_the_size_is_a_record_of_its_own() -> None:
    assert records_of(b"a\n" + LONG + b"c\n", 20) == [b"a\n", LONG, b"c\n"]
    assert records_of(LONG, 20) == [LONG]


def test_records_of_several_lines_are_not_joined() -> None:
    settings = replace(FLOW, aggregated_record_size_bytes=20, multi_line_start_pattern="^A")
    assert make_join(settings) is None


def test_columns_are_those_of_the_joined_lines() -> None:
    option = {"optionName": "CSVTOJSON", "customFieldNames": ["a", "b"]}
    assert records_of(b"1,2\n3,4\n", 100, option) == [b'{"a":"1","b":"2\\n3"}\n']


def test_metadata_is_added_to_the_joined_lines() -> None:
    option = {"optionName": "ADDMETADATA", "metadata": {"k": "v"}}
    assert records_of(b"a\nb\n", 100, option) == [b'{"metadata":{"k":"v"},"data":"a\\nb"}\n']


def test_a_record_above_the_limit_is_cut_with_its_newline() -> None:
    line = b"x" * 1_029_999 + b"\n"
    short = cut(line, 1_024_000, b"\n")
    assert len(short) == 1_024_000
    assert short == b"x" * 1_023_999 + b"\n"
    assert cut(b"short\n", 1_024_000, b"\n") == b"short\n"
    assert cut(b"abcdef", 4, b"##") == b"ab##"


@pytest.mark.parametrize(
    "changes",
    [
        {"join_before_processing": False},
        {"aggregated_record_size_bytes": 0},
        {"destination": "kinesis"},
    ],
)
def test_lines_are_joined_where_it_is_asked_for_alone(changes: dict[str, Any]) -> None:
    settings = replace(FLOW, aggregated_record_size_bytes=20)
    assert make_join(settings) is not None
    assert make_join(replace(settings, **changes)) is None


def test_no_lines_are_no_records() -> None:
    assert records_of(b"", 20) == []
