"""Text from outside is made safe to show."""

import pytest

from kplpy.escaping import escape_controls, hide_sign_in, shown


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
