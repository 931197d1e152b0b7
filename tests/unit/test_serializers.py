"""The ready-made serializers: what each takes, writes and refuses, with orjson and without."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from kplpy import serializers
from tests.inside import json_serializers

BOTH = pytest.mark.parametrize("serialize", json_serializers().values(), ids=json_serializers())
WITH_ORJSON = pytest.mark.skipif(
    "orjson" not in json_serializers(), reason="orjson has no wheels for Python without a GIL"
)
Point = namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()


@dataclass
class Order:
    number: int
    _note: str
    at: date


TAKEN: list[tuple[Any, str]] = [
    ({"id": 7, "tags": ["a", None, True, 1.5], "nested": {"ü": "\u2028 🙂"}}, '{"id":7,"tags":["a",null,true,1.5],'),
    ("", '""'),
    ('"\\/\n\x1f\x7f', '"\\"\\\\/\\n\\u001f\x7f"'),
    (None, "null"),
    ((1, (2,)), "[1,[2]]"),
    (-0.0, "-0.0"),
    (2**64 + 1, "18446744073709551617"),
    ({1: "a", None: "b", False: "c", 1.5: "d"}, '{"1":"a","null":"b","false":"c","1.5":"d"}'),
    (Point(1, 2), "[1,2]"),
    (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
    (Text("text"), '"text"'),
    (Colour.RED, '"red"'),
    (Level.HIGH, "3"),
    (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
    (datetime(2024, 2, 29, 1, 2, 3), '"2024-02-29T01:02:03"'),
    (datetime(2024, 2, 29, 1, 2, 3, 4, timezone.utc), '"2024-02-29T01:02:03.000004+00:00"'),
    (datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=-3, seconds=5))), '"2024-02-29T00:00:00-02:59:55"'),
    (date(1, 1, 1), '"0001-01-01"'),
    (time(1, 2, tzinfo=timezone.utc), '"01:02:00+00:00"'),
    ([Order(7, "x", date(2024, 1, 1))], '[{"number":7,"_note":"x","at":"2024-01-01"}]'),
]


@BOTH
@pytest.mark.parametrize(("value", "text"), TAKEN, ids=range(len(TAKEN)))
def test_json_takes(serialize: Any, value: Any, text: str) -> None:
    data = serialize(value)
    assert type(data) is bytes
    assert data.decode().startswith(text)
    json.loads(data)


def circle() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (Decimal("1.5"), TypeError, "Decimal has no form in JSON"),
    ({"data": b"x"}, TypeError, "bytes has no form in JSON"),
    ({1, 2}, TypeError, "set has no form in JSON"),
    (Order, TypeError, "type has no form in JSON"),
    (object(), TypeError, "object has no form in JSON"),
    ({(1, 2): 3}, TypeError, "keys must be str, int, float, bool or None"),
    (circle(), ValueError, "Circular reference"),
    ("\ud83d", ValueError, "surrogates not allowed"),
]


@BOTH
@pytest.mark.parametrize(("value", "kind", "text"), REFUSED, ids=range(len(REFUSED)))
def test_json_refuses(serialize: Any, value: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        serialize(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@WITH_ORJSON
def test_numbers_that_json_does_not_have(value: float) -> None:
    fast, standard = json_serializers()["orjson"], json_serializers()["json"]
    assert fast([value]) == b"[null]"
    with pytest.raises(ValueError, match="not JSON compliant"):
        standard([value])


@WITH_ORJSON
def test_orjson_is_used_if_it_is_installed() -> None:
    lines = [
        "from kplpy import serializers",
        "try:",
        "    print(serializers.json([float('nan')]))",
        "except ValueError:",
        "    print('refused')",
    ]
    without = ["import sys", "sys.modules['orjson'] = None", *lines]
    assert [_run("\n".join(each)) for each in (lines, without)] == ["b'[null]'", "refused"]


def _run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_string() -> None:
    assert serializers.string("grün 🙂") == "grün 🙂".encode()
    assert serializers.string("") == b""
    for value in (b"x", None, 7):
        with pytest.raises(TypeError, match=f"^must be a str, got {type(value).__name__}$"):
            serializers.string(value)  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        serializers.string("\ud83d")


def test_kplpy_has_them_as_an_attribute_without_importing_them() -> None:
    program = "import kplpy, sys; print('kplpy.serializers' in sys.modules, kplpy.serializers.string('x'))"
    assert _run(program) == "False b'x'"
