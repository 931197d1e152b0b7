"""Processors: wrong options, failures, and kplpy's own keys. tests/parity has what the Agent does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kplpy import ConfigError
from kplpy.agent.processing import Process, make_process
from kplpy.agent.settings import FlowSettings


def process_of(*options: dict[str, Any]) -> Process:
    made = make_process(FlowSettings("fh:logs:/f", "/f", "firehose", "logs", processing=options))
    assert made is not None
    return made


def csv(**keys: Any) -> Process:
    return process_of({"optionName": "CSVTOJSON", "customFieldNames": ["a", "b", "c"], **keys})


def log(pattern: str, *names: str, **keys: Any) -> Process:
    option = {"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "matchPattern": pattern, "customFieldNames": names}
    return process_of({**option, **keys})


def test_a_flow_without_options_has_no_process() -> None:
    assert make_process(FlowSettings("id", "/f", "kinesis", "s")) is None


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({}, "dataProcessingOptions[0]: optionName must be given"),
        ({"optionName": "csvtojson"}, "[0]: optionName is 'csvtojson'; it must be one of SINGLELINE, CSVTOJSON, "),
        ({"optionName": "USINGPLUGGIN"}, "[0]: optionName is USINGPLUGGIN, whose Java class cannot be loaded"),
        ({"optionName": "CSVTOJSON"}, "[0] (CSVTOJSON): customFieldNames must be given"),
        ({"optionName": "CSVTOJSON", "customFieldNames": "a"}, "customFieldNames is 'a'; it must be a list of texts"),
        ({"optionName": "CSVTOJSON", "customFieldNames": [{}]}, "customFieldNames is {}; it must be a text"),
        ({"optionName": "CSVTOJSON", "customFieldNames": ["a"], "jsonFormat": "X"}, "must be one of COMPACT, PRETTY"),
        ({"optionName": "CSVTOJSON", "customFieldNames": ["a"], "delimiter": "["}, "(CSVTOJSON): delimiter: the regu"),
        (
            {"optionName": "CSVTOJSON", "customFieldNames": ["a"], "quoting": "on"},
            "quoting is 'on'; it must be true",
        ),
        (
            {"optionName": "CSVTOJSON", "customFieldNames": ["a"], "quoting": True, "delimiter": "::"},
            "delimiter '::' must be one character, without a quotation mark, with quoting",
        ),
        ({"optionName": "LOGTOJSON"}, "logFormat must be given"),
        ({"optionName": "LOGTOJSON", "logFormat": "X"}, "logFormat is 'X'; it must be one of COMMONAPACHELOG, "),
        (
            {"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "matchPattern": "a"},
            "customFieldNames must be given",
        ),
        (
            {"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "customFieldNames": ["a"]},
            "customFieldNames has 1 names, and SYSLOG has 5 fields",
        ),
        (
            {"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "matchPattern": "(a", "customFieldNames": ["a"]},
            "matchPattern: the regular expression '(a' has at position 0 a group without its closing parenthesis",
        ),
    ],
)
def test_a_wrong_option_is_refused_with_its_key_and_rule(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        process_of(option)
    assert str(caught.value).startswith("flow fh:logs:/f: dataProcessingOptions[0]")
    assert message in str(caught.value)


def test_the_place_of_a_later_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"dataProcessingOptions\[1\] \(CSVTOJSON\)"):
        process_of({"optionName": "SINGLELINE"}, {"optionName": "CSVTOJSON"})


def test_what_does_not_match_is_dropped_counted_and_kept_as_an_example() -> None:
    process = log(r"(\w+)=(\w+)", "key", "value")
    assert process(b"a=b\n") == b'{"key":"a","value":"b"}\n'
    assert process(b"no " * 1000 + b"\n") is None
    assert (process.transformed, process.dropped, process.failed) == (1, 1, 0)
    assert process.last_dropped == (b"no " * 1000)[:1024]


def test_groups_and_names_that_differ_drop_everything_and_are_warned_about() -> None:
    process = log("(a)(b)", "one")
    assert process(b"ab\n") is None
    (warning,) = process.warnings
    assert warning == (
        "flow fh:logs:/f: dataProcessingOptions[0] (LOGTOJSON): matchPattern has 2 groups and customFieldNames 1 names:"
        " every record is dropped"
    )
    raw = log("(a)(b)", "one", onNoMatch="RAW")
    assert raw(b"ab\n") == b"ab\n"
    assert "records are sent as they are" in raw.warnings[0]


def test_no_match_can_be_sent_as_it_is() -> None:
    process = log("(a)", "one", onNoMatch="RAW")
    assert process(b"b\n") == b"b\n"
    assert process(b"a\n") == b'{"one":"a"}\n'
    assert process.dropped == 0


def test_a_part_of_a_record_can_match() -> None:
    record = b"10:20 failed\n at x\r\n"
    assert log(r"^(\S+) (.*)", "at", "what")(record) is None
    assert log(r"^(\S+) (.*)", "at", "what", matchWhole="false")(record) == b'{"at":"10:20","what":"failed"}\n'


def test_a_record_ending_in_a_carriage_return_matches_as_in_java() -> None:
    assert log("(.*)", "all")(b"text\r\n") is None  # "." does not match it
    assert log("(.*)", "all", matchWhole=False)(b"text\r\n") == b'{"all":"text"}\n'


def test_quoted_columns() -> None:
    process = csv(quoting=True)
    assert process(b'"x, y",2,3\n') == b'{"a":"x, y","b":"2","c":"3"}\n'
    assert process(b'1,"say ""hi""",\r\n') == b'{"a":"1","b":"say \\"hi\\"","c":""}\n'
    assert process(b'1,"two\nlines"\n') == b'{"a":"1","b":"two\\nlines","c":null}\n'
    assert process(b'"open,2\n') == b'{"a":"\\"open","b":"2","c":null}\n'
    assert process(b'a"b,"",x\n') == b'{"a":"a\\"b","b":"","c":"x"}\n'
    assert process(b",,\n") == b'{"a":"","b":"","c":""}\n'
    assert process(b"\n") == b'{"a":"","b":null,"c":null}\n'
    assert csv(quoting="yes", delimiter="|")(b'1|"2|3"|4\n') == b'{"a":"1","b":"2|3","c":"4"}\n'


def test_names_may_be_numbers_and_the_last_of_equal_ones_wins() -> None:
    process = process_of({"optionName": "CSVTOJSON", "customFieldNames": ["a", 7, True, "a"]})
    assert process(b"1,2,3,4\n") == b'{"a":"4","7":"2","true":"3"}\n'


def test_names_with_syntax_of_formats_and_json() -> None:
    process = process_of({"optionName": "CSVTOJSON", "customFieldNames": ["%s", 'q"', "{}"]})
    assert json.loads(process(b"1,2,3\n") or b"") == {"%s": "1", 'q"': "2", "{}": "3"}


def test_lines_can_be_joined_with_any_text() -> None:
    process = process_of({"optionName": "SINGLELINE", "joinWith": r"\n"})
    assert process(b"A start \n  at x\n") == b"A start\\nat x\n"
    assert process_of({"optionName": "SINGLELINE", "joinWith": " | "})(b"a\n\nb") == b"a |  | b\n"


def test_blanks_up_to_u0020_are_trimmed() -> None:
    process = process_of({"optionName": "SINGLELINE"})
    assert process("\x00\x1f\t a\xa0 \n".encode()) == "a\xa0\n".encode()
    assert process(b"") == b"\n"
    assert process(b"\n\n") == b"\n"


def test_the_newline_can_be_put_behind_the_brackets() -> None:
    process = process_of({"optionName": "ADDBRACKETS", "newLineBehind": True})
    assert process(b'"a":1\n') == b'{"a":1}\n'
    assert process(b'"a":1') == b'{"a":1}\n'


def test_what_is_not_utf8_is_replaced() -> None:
    assert process_of({"optionName": "ADDBRACKETS"})(b"a\xff\n") == "{a\ufffd\n}".encode()
    assert process_of({"optionName": "SINGLELINE"})(b"a\xff\n") == "a\ufffd\n".encode()
    assert csv()(b"a\xff,2\n") == '{"a":"a\ufffd","b":"2","c":null}\n'.encode()


@pytest.mark.parametrize(("given", "has_ts"), [(True, True), ("TRUE", True), ("yes", False), (None, False), (1, False)])
def test_a_timestamp_is_added_for_true_alone(given: Any, has_ts: bool) -> None:
    process = process_of({"optionName": "ADDMETADATA", "metadata": None, "timestamp": given})
    assert ("ts" in json.loads(process(b"x\n") or b"")) == has_ts


def test_metadata_is_pretty_printed_at_its_depth() -> None:
    metadata = {"a": {"b": [1, {"c": 1.5e10}]}, "e": {}}
    process = process_of({"optionName": "ADDMETADATA", "metadata": metadata, "jsonFormat": "PRETTYPRINT"})
    assert process(b"x\n") == (
        b'{\n  "metadata" : {\n    "a" : {\n      "b" : [ 1, {\n        "c" : 1.5E10\n      } ]\n    },\n'
        b'    "e" : { }\n  },\n  "data" : "x"\n}\n'
    )


def test_control_characters_are_written_as_jackson_does() -> None:
    assert csv()(b"\x1b[0m,\x00\\\\u001b,\x7f\n") == b'{"a":"\\u001B[0m","b":"\\u0000\\\\\\\\u001b","c":"\x7f"}\n'
