"""Text from outside is made safe to show."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from kplpy.escaping import brief_repr, escape_controls, hide_sign_in, shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\nb\r\nc\td", r"a\nb\r\nc\td"),
        ("\x1b[31mred\x07\x00\x7f", r"\x1b[31mred\x07\x00\x7f"),
        ("\x85next line\x9b31m", r"\x85next line\x9b31m"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("\u202efdp.exe \u2066isolated\u2069", r"\u202efdp.exe \u2066isolated\u2069"),
        ("half \ud83d of a pair", r"half \ud83d of a pair"),
    ],
)
def test_line_breaks_and_escape_sequences_are_escaped(given: str, shown: str) -> None:
    assert escape_controls(given) == shown
    shown.encode()


@pytest.mark.parametrize("text", ["", "plain text", "größer, 北京, שלום, 👩‍🚀, a\u00a0b", r"C:\new\table {'a': 1}"])
def test_all_other_text_stays_as_it_is(text: str) -> None:
    assert escape_controls(text) == text


def test_whole_ranges_of_controls_are_escaped() -> None:
    controls = [*range(0x20), *range(0x7F, 0xA0)]
    assert all(escape_controls(chr(each)).isprintable() for each in controls)
    assert all(escape_controls(chr(each)) == chr(each) for each in range(0x20, 0x7F))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('Could not connect to "http://me:secret@host:1/x"', 'Could not connect to "http://***@host:1/x"'),
        ("https://token@host and http://a:b@c", "https://***@host and http://***@c"),
        ("http://me:se/cr?t@host/", "http://***@host/"),
        ("redis://:secret@host", "redis://***@host"),
        ("http://host:80/path, mail me@example.com", "http://host:80/path, mail me@example.com"),
        ("https://host/a@b", "https://host/a@b"),
    ],
)
def test_urls_are_shown_without_user_and_password(given: str, expected: str) -> None:
    assert hide_sign_in(given) == expected
    assert shown(given + "\n") == expected + r"\n"


# --- brief_repr ---


class Unshowable:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_small_value_is_shown_as_python_does() -> None:
    for value in ("text", b"bytes", {"b": [1, None], "a": (2.5,)}, {8}, 7, None, len):
        assert brief_repr(value) == repr(value)


@pytest.mark.parametrize("value", ["x" * 1000, b"x" * 1000, {"b" * 100: 1, "a": 2}, ["y" * 50, "z" * 50]])
@pytest.mark.parametrize("limit", [80, 200])
def test_a_long_value_is_cut_at_the_end(value: object, limit: int) -> None:
    assert brief_repr(value, limit) == repr(value)[:limit]


@pytest.mark.parametrize("value", ["x" * (1 << 24), b"x" * (1 << 24), [0] * (1 << 21), dict.fromkeys(range(1 << 19))])
def test_a_large_value_is_not_shown_as_a_whole(value: object) -> None:
    tracemalloc.start()
    try:
        assert brief_repr(value)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_value_whose_repr_raises_is_shown_as_its_type() -> None:
    bad = Unshowable(RuntimeError("no repr"))
    assert brief_repr(bad) == "<Unshowable>"
    assert brief_repr({"a": [bad]}) == "{'a': [<Unshowable>]}"
    assert brief_repr(nested(100_000)) == "[[[[...]]]]"


def test_an_interruption_is_not_hidden() -> None:
    with pytest.raises(KeyboardInterrupt):
        brief_repr([Unshowable(KeyboardInterrupt())])
