"""PutRecords' answer as it came, made into entries that the core can rely on."""

from __future__ import annotations

from reprlib import repr as shown  # never long
from typing import TypeGuard


def read_entries(records: object) -> list[dict[str, str]] | None:
    """Return one entry for each Kinesis record, or None if the answer's Records is no list.

    An entry has either a SequenceNumber (and a ShardId, if there was one), or an ErrorCode (and an ErrorMessage, if
    there was one), all of them strings that are not empty. An entry of which neither is so, or both, has only an
    ErrorMessage, which says what came instead: the record may have been written.
    """
    if not isinstance(records, list):
        return None
    return [
        entry
        # As nearly all are. 0.14 µs an entry, and 1 µs by _checked.
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
    return {"ErrorMessage": f"the record's entry must hold a SequenceNumber or an ErrorCode, and is {shown(entry)}"}


def _is_text(member: object) -> TypeGuard[str]:
    return isinstance(member, str) and bool(member)
