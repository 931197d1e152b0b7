"""Positions in a shard: what the API is asked for, and what a checkpoint holds."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from kplpy import UserRecord
from kplpy.reading.position import OLDEST, Position

MOMENT = datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("position", "arguments", "saved"),
    [
        (OLDEST, {"Type": "TRIM_HORIZON"}, {}),
        (
            Position(MOMENT),
            {"Type": "AT_TIMESTAMP", "Timestamp": MOMENT},
            {"timestamp": "2026-11-23T10:00:00.250000+00:00"},
        ),
        (Position(None, "7"), {"Type": "AFTER_SEQUENCE_NUMBER", "Number": "7"}, {"sequence_number": "7"}),
        (
            Position(None, "7", 0),
            {"Type": "AT_SEQUENCE_NUMBER", "Number": "7"},
            {"sequence_number": "7", "sub_sequence_number": 0},
        ),
    ],
)
def test_each_kind(position: Position, arguments: dict[str, Any], saved: dict[str, Any]) -> None:
    assert position.arguments("Number") == arguments
    assert position.to_json() == saved
    assert Position.from_json(json.loads(json.dumps(saved))) == position


def test_a_position_inside_an_aggregate_is_after_its_first_records() -> None:
    inside = Position(None, "7", 2)
    records = [UserRecord(b"x", sequence_number="7", sub_sequence_number=each) for each in range(5)]
    assert [inside.is_after(each) for each in records] == [True, True, True, False, False]
    assert not inside.is_after(UserRecord(b"x", sequence_number="8", sub_sequence_number=0))
    assert not Position(None, "7").is_after(records[0])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (7, "a position may have"),
        ({"at": "x"}, "a position may have"),
        ({"sequence_number": 7}, "sequence_number must be digits, got 7"),
        ({"sequence_number": "x"}, "must be digits"),
        ({"sequence_number": "7", "sub_sequence_number": -1}, "0 or more, got -1"),
        ({"sequence_number": "7", "sub_sequence_number": True}, "0 or more, got True"),
        ({"sub_sequence_number": 1}, "a position is a sequence number or a timestamp"),
        ({"sequence_number": "7", "timestamp": "2026-11-23T10:00:00+00:00"}, "a sequence number or a timestamp"),
        ({"timestamp": "2026-11-23T10:00:00"}, "timestamp must be like"),
        ({"timestamp": "yesterday"}, "timestamp must be like"),
    ],
)
def test_anything_else_is_refused(given: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Position.from_json(given)
