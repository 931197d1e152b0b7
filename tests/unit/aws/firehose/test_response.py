"""Tests that the core gets valid entries for any response of PutRecordBatch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kplpy.aws.firehose.response import MalformedResponseError, read_responses

TAKEN = {"RecordId": "id"}
REFUSED = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        (TAKEN, {"SequenceNumber": "id"}),
        ({**TAKEN, "ErrorCode": None}, {"SequenceNumber": "id"}),
        ({**TAKEN, "ShardId": "s", "SequenceNumber": "7"}, {"SequenceNumber": "id"}),
        (REFUSED, REFUSED),
        ({**REFUSED, "RecordId": None}, REFUSED),
    ],
)
def test_an_entry_with_a_result_is_kept(came: object, expected: dict[str, str]) -> None:
    assert read_responses([came], 0) == [expected]


@pytest.mark.parametrize(
    "came", [{}, None, "x", {"RecordId": ""}, {"RecordId": 7}, {**TAKEN, **REFUSED}, {"ErrorCode": 5}]
)
def test_an_entry_without_a_clear_result_may_have_been_written(came: object) -> None:
    ((message, text),) = read_responses([came], 0)[0].items()  # type: ignore[index]
    assert message == "ErrorMessage"
    assert "must have either" in text


@pytest.mark.parametrize("came", [None, {}, "x", 7])
def test_without_a_list_there_are_no_entries(came: object) -> None:
    assert read_responses(came, 0) is None


@pytest.mark.parametrize("count", [0, 1, None, "2", {}])
def test_a_count_that_does_not_contradict(count: object) -> None:
    """A stand-in may count wrongly what its entries show, or send no count."""
    assert read_responses([TAKEN, REFUSED], count) == [{"SequenceNumber": "id"}, REFUSED]


def test_more_failures_than_the_entries_show() -> None:
    with pytest.raises(MalformedResponseError, match="FailedPutCount is 2, but 1 of 2 records have no RecordId"):
        read_responses([TAKEN, REFUSED], 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.sampled_from([*TAKEN, *REFUSED, "x"]), each, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_response_gives_entries_of_texts(came: Any) -> None:
    entries = read_responses(json.loads(json.dumps(came)), 0)
    for entry in entries or ():
        assert entry.keys() <= {"SequenceNumber", "ErrorCode", "ErrorMessage"}
        assert all(isinstance(value, str) and value for value in entry.values())
        assert not {"SequenceNumber", "ErrorCode"} <= entry.keys()
