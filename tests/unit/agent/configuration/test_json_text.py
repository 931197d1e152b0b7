"""JSON with comments is read, and its faults are named with line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from kplpy.agent.configuration.json_text import Document, JsonError, read, without_comments

SAMPLES = Path(__file__).parents[3] / "data/agent"


def faults(text: str) -> list[str]:
    with pytest.raises(JsonError) as caught:
        read(text)
    return [str(each) for each in caught.value.problems]


def test_comments_are_left_out_but_not_within_texts() -> None:
    text = '{ // one\n "a": "http://x", /* two\n lines */ "b": "/* kept */" }\n// last'
    assert read(text).value == {"a": "http://x", "b": "/* kept */"}


def test_keys_and_items_have_their_line() -> None:
    document = read('{\n/* a\n comment */\n"flows": [\n{"x.y": 1,\n"z": {"deep": []}},\n7]}')
    assert document.lines == {
        "flows": 4,
        "flows[0]": 5,
        "flows[0].x.y": 5,
        "flows[0].z": 6,
        "flows[0].z.deep": 6,
        "flows[1]": 7,
    }


def test_lines_end_with_cr_lf_or_cr() -> None:
    assert read('{\r\n"a": 1,\r"b": 2,\n"c": 3}').lines == {"a": 2, "b": 3, "c": 4}


def test_a_key_that_an_object_has_twice_is_known() -> None:
    document = read('{"a": [{"k": 1}, {"k": 2}], "b": 1,\n"b": 2}')
    assert document == Document({"a": [{"k": 1}, {"k": 2}], "b": 2}, document.lines, ["b"])
    assert document.lines["b"] == 2


def test_names_with_dots_are_no_repetition() -> None:
    assert read('{"a.b": 1, "a": {"b": 2}}').repeated == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["line 1, column 1: the file is empty: it must be an object with flows"]),
        ("// only\n", ["line 1, column 1: the file is empty: it must be an object with flows"]),
        ('{"a": [1', ["line 1, column 7: this [ is not closed before the end of the file"]),
        ('{"a": {"b": 1}\n', ["line 1, column 1: this { is not closed before the end of the file"]),
        ('{"a": 1,}', ["line 1, column 8: a comma before a closing bracket: remove it"]),
        ("[1, ]", ["line 1, column 3: a comma before a closing bracket: remove it"]),
        ("[1,,2]", ["line 1, column 4: a value is missing before this comma"]),
        ('{"a": 1\n"b": 2}', ["line 1, column 8: a comma is missing here"]),
        ('{"a": [{}\n{}]}', ["line 1, column 10: a comma is missing here"]),
        ('{"a" 1}', ['line 1, column 6: a colon is missing between the key "a" and its value']),
        ('{"a": "C:\\logs"}', ["line 1, column 10: a backslash in a text of JSON is written twice: \\\\l"]),
        ('{"a": "\\u12"}', ["line 1, column 8: a backslash in a text of JSON is written twice: \\\\u"]),
        (
            '{"a": "x\n"}',
            ["line 1, column 7: the text that begins here is not ended on its line: a double quote is missing"],
        ),
        (
            '{"a": "x',
            ["line 1, column 7: the text that begins here is not ended on its line: a double quote is missing"],
        ),
        ('{"a": "x\ty"}', ["line 1, column 9: a control character in a text of JSON is written \\t"]),
        ('{"a": "say "hi" there"}', ['line 1, column 12: a double quote within a text of JSON is written \\"']),
        ('{"a": 1}}', ["line 1, column 9: the configuration ends before this '}'"]),
        ('{"a": [1}', ["line 1, column 9: a comma or a closing bracket is expected, got '}'"]),
        (
            '{"a": True}',
            ["line 1, column 7: a value is expected, got 'T'; true, false and null are in lower case"],
        ),
        (
            "{'a': 1}",
            ['line 1, column 2: a key in double quotes is expected, got "\'"; JSON has the plain double quote " only'],
        ),
        (
            '{"a": \u201cx\u201d}',
            [
                (
                    "line 1, column 7: a value is expected, got U+201C (left double quotation mark); JSON has the "
                    'plain double quote " only'
                )
            ],
        ),
        ("# no\n{}", ["line 1, column 1: a value is expected, got '#'; a comment begins with //"]),
        ("{} /* open", ["line 1, column 4: the comment that begins with /* has no */"]),
        ('{"a": NaN}', ["NaN is not JSON: write a number, or a text"]),
    ],
)
def test_faults_are_named(text: str, expected: list[str]) -> None:
    assert faults(text) == expected


def test_all_faults_of_a_user_report_are_named_at_once() -> None:
    """Sample 11: single backslashes, quotes within a text, and a missing comma, below a comment."""
    text = (SAMPLES / "11-broken-json-custom-apache/agent.json").read_text(encoding="utf-8")
    assert faults(text) == [
        "line 12, column 28: a backslash in a text of JSON is written twice: \\\\S, \\\\[, \\\\w, \\\\s and so on",
        'line 12, column 59: a double quote within a text of JSON is written \\"',
        "line 12, column 61: a backslash in a text of JSON is written twice: \\\\S, \\\\s, \\\\d",
        "line 12, column 96: a comma is missing here",
    ]


def test_the_number_of_faults_is_bounded() -> None:
    assert len(faults("[" + "1,,\n" * 100 + "1]")) == 10


def test_deep_nesting_is_an_error_of_the_file() -> None:
    assert faults("[" * 200_000) == ["lists and objects are nested too deeply"]


def test_numbers_of_too_many_digits_are_an_error_of_the_file() -> None:
    with pytest.raises(JsonError):
        read('{"a": ' + "9" * 100_000 + "}")


def test_comments_leave_every_other_character_in_its_place() -> None:
    text = '{"a": 1, // x\r\n/* y */ "b": "//"}'
    plain, unended = without_comments(text)
    assert (len(plain), unended) == (len(text), None)
    assert plain == '{"a": 1,     \r\n        "b": "//"}'
