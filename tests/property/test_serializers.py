"""JSON with orjson and with the standard library: the same value for every input that both take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inside import json_serializers

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.uuids()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.times(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(TEXT | st.integers(), inner),
    max_leaves=20,
)
pytest.importorskip("orjson", reason="orjson has no wheels for Python without a GIL")
FAST, STANDARD = json_serializers()["orjson"], json_serializers()["json"]


@given(VALUES)
def test_both_give_the_same_value(value: Any) -> None:
    fast, standard = FAST(value), STANDARD(value)
    assert json.loads(fast) == json.loads(standard)


@given(st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner), max_leaves=20))
def test_without_fractions_the_bytes_are_the_same(value: Any) -> None:
    assert FAST(value) == STANDARD(value)
