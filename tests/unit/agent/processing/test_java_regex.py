"""Java regular expressions: what is refused, and how it is said; what the tables of Java's answers cannot show."""

from __future__ import annotations

import re
import unicodedata

import pytest

from kplpy import ConfigError
from kplpy.agent.processing import PatternError, translate
from kplpy.agent.processing import character_sets as sets


@pytest.mark.parametrize(
    ("pattern", "position", "construct"),
    [
        ("a(b", 1, "a group without its closing parenthesis"),
        ("ab)", 2, "a closing parenthesis without an opening one"),
        ("ab[c", 2, "a character class without its ']'"),
        (r"\p{IsHan}x", 0, r"the script or property \p{IsHan}: it is not known"),
        (r"x\p{InGreek}", 1, r"the script or block \p{InGreek}: only categories and properties are known"),
        ("x(?P<n>a)", 1, "the unknown group kind or flag '(?P'; Java writes (?<name>"),
        ("a**", 2, "a quantifier '*' behind nothing that it can repeat"),
        ("a{2,1}", 1, "a quantifier from 2 to 1"),
        ("{", 0, r"a '{' that is no quantifier; write \{"),
        (r"(a)\2", 3, "a backreference to group 2, which is not closed before it"),
        (r"a\i", 1, r"the escape \i, which Java does not have here"),
        ("[b-a]", 1, "the range of characters b-a, which is backwards"),
        ("a\\", 1, "a backslash at the end"),
        ("(" * 101 + ")" * 101, 100, "groups nested more than 100 deep"),
    ],
)
def test_a_refusal_names_the_construct_and_its_position(pattern: str, position: int, construct: str) -> None:
    with pytest.raises(PatternError) as caught:
        translate(pattern, "flow x: matchPattern")
    assert (caught.value.position, caught.value.construct) == (position, construct)
    assert caught.value.pattern == pattern
    assert str(caught.value) == (
        f"flow x: matchPattern: the regular expression {pattern!r} has at position {position} {construct}"
    )
    assert isinstance(caught.value, ConfigError)


@pytest.mark.parametrize("pattern", ["(?<=a{0,300})b", "(?<=[ab]?[ab]?[ab]?[ab]?[ab]?[ab]?[ab]?[ab]?[ab]?)c"])
def test_a_lookbehind_of_many_lengths_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match="lookbehind of more than 256 lengths"):
        translate(pattern)


def test_the_last_match_is_refused_where_a_pattern_splits() -> None:
    assert translate(r"\Ga").match("ab")
    with pytest.raises(PatternError, match=r"\\G, the end of the last match"):
        translate(r"a\Gb", for_split=True)


def test_flags_hold_from_the_start() -> None:
    assert translate("^-- end --$", flags="m").search("x\n-- end --\ny")
    assert not translate("^-- end --$").search("x\n-- end --\ny")


@pytest.mark.parametrize("text", ["item7=3", "éitem7=3"])
def test_groups_are_in_the_count_of_java_though_atomic_groups_add_some(text: str) -> None:
    pattern = translate(r"(?<key>(?>[a-z]++)\d)=(?<value>\d)")
    assert (pattern.group_count, pattern.group_names) == (2, {"key": 1, "value": 2})
    match = pattern.search(text)
    assert match is not None
    assert pattern.groups_of(match) == ("item7", "3")


def test_ascii_text_needs_no_pattern_of_all_characters() -> None:
    """Classes of all letters are long, and take milliseconds to compile."""
    assert translate(r"^\p{L}+\b \d$").text == r"\A[A-Za-z]+\b \d(?:(?=(?:\r\n|[\n\r])?\Z)(?<!\r(?=\n)))"


def test_a_pattern_without_syntax_is_a_literal() -> None:
    assert translate(r"\|").literal == "|"
    assert translate(r"\Q::\E").literal == "::"
    assert translate("|").literal is None
    assert translate("(?i)a").literal is None


def test_letters_and_digits_are_what_python_calls_word_characters_less_numbers() -> None:
    """The boundary of a word is written with it."""
    numbers = (sets.CATEGORIES["No"] | sets.CATEGORIES["Nl"]).ranges(sets.UNICODE)
    word = re.compile(r"\w")
    letters = ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd")
    for code in (*range(0x3100), *range(0xA000, 0x11000), *range(0x1F000, 0x1FC00)):
        char = chr(code)
        expected = unicodedata.category(char) in letters or char == "_"
        assert (bool(word.match(char)) and not sets.contains(numbers, code)) == expected, hex(code)
