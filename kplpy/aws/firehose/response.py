"""Checks the entries of a PutRecordBatch response, and turns them into the entries that the core judges."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as shown  # shortens long values

from kplpy.aws.kinesis.response import read_entries


class MalformedResponseError(Exception):
    """The response contradicts itself."""


def read_responses(responses: object, failed_count: object) -> Sequence[dict[str, str]] | None:
    """Return one entry for each Firehose record, or None if RequestResponses is no list.

    An entry has the record's RecordId as its SequenceNumber, or an ErrorCode and, if sent, an ErrorMessage. See
    read_entries. Raises MalformedResponseError if FailedPutCount is above the number of entries without a RecordId:
    then nobody knows which records were written.
    """
    if not isinstance(responses, list):
        return None
    entries = read_entries([_renamed(each) for each in responses])
    assert entries is not None
    refused = sum("SequenceNumber" not in entry for entry in entries)
    if isinstance(failed_count, int) and failed_count > refused:
        raise MalformedResponseError(
            f"FailedPutCount is {shown(failed_count)}, but {refused} of {len(entries)} records have no RecordId"
        )
    return entries


def _renamed(entry: object) -> object:
    """Return the entry with its RecordId as SequenceNumber, the member's name in Kinesis."""
    if not isinstance(entry, dict) or "RecordId" not in entry:
        return entry
    return {"SequenceNumber": entry["RecordId"], **{name: value for name, value in entry.items() if name in _OF_ERRORS}}


_OF_ERRORS = ("ErrorCode", "ErrorMessage")
