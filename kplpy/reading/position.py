"""A place in a shard: where reading begins, or goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from kplpy.escaping import brief_repr
from kplpy.records import UserRecord


@dataclass(frozen=True, slots=True, repr=False)
class ReadRecord(UserRecord):
    """A UserRecord that a StreamReader read. All fields but the keys and the headers are set.

    shard_id: the shard that the record was read from.
    """

    shard_id: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a shard: its oldest record, a time, or after a record.

    timestamp: begin with the first record that arrived at this time or later.
    sequence_number: that of the last Kinesis record that was read.
    sub_sequence_number: that of the last user record that was read of this Kinesis record. None: all were.
    """

    timestamp: datetime | None = None
    sequence_number: str | None = None
    sub_sequence_number: int | None = None

    def arguments(self, number: str) -> dict[str, Any]:
        """Return the position as the API has it. number: the member's name for the sequence number.

        GetShardIterator and SubscribeToShard have the same types of positions.
        """
        if self.sequence_number is not None:
            kind = "AFTER_SEQUENCE_NUMBER" if self.sub_sequence_number is None else "AT_SEQUENCE_NUMBER"
            return {"Type": kind, number: self.sequence_number}
        if self.timestamp is not None:
            return {"Type": "AT_TIMESTAMP", "Timestamp": self.timestamp}
        return {"Type": "TRIM_HORIZON"}

    def is_after(self, record: UserRecord) -> bool:
        """Return True for a record that was read already: of the Kinesis record that was read in part."""
        return (
            self.sub_sequence_number is not None
            and record.sequence_number == self.sequence_number
            and (record.sub_sequence_number or 0) <= self.sub_sequence_number
        )

    def to_json(self) -> dict[str, Any]:
        """Return the position for a checkpoint."""
        if self.sequence_number is not None:
            found: dict[str, Any] = {"sequence_number": self.sequence_number}
            if self.sub_sequence_number is not None:
                found["sub_sequence_number"] = self.sub_sequence_number
            return found
        if self.timestamp is not None:
            return {"timestamp": self.timestamp.astimezone(timezone.utc).isoformat()}
        return {}

    @classmethod
    def from_json(cls, given: object) -> Position:
        """Return the position in a checkpoint. Raises ValueError if it is none."""
        names = ("timestamp", "sequence_number", "sub_sequence_number")
        if not isinstance(given, Mapping) or not set(given) <= set(names):
            raise ValueError(f"a position may have {', '.join(names)}, got {brief_repr(given, 200)}")
        timestamp, number, sub_number = map(given.get, names)
        if number is not None and not (isinstance(number, str) and re.fullmatch("[0-9]{1,129}", number)):
            raise ValueError(f"sequence_number must be digits, got {brief_repr(number, 200)}")
        is_count = isinstance(sub_number, int) and not isinstance(sub_number, bool) and sub_number >= 0
        if sub_number is not None and not is_count:
            raise ValueError(f"sub_sequence_number must be a number, 0 or more, got {brief_repr(sub_number, 200)}")
        if (sub_number is not None and number is None) or (timestamp is not None and number is not None):
            raise ValueError(f"a position is a sequence number or a timestamp, got {brief_repr(given, 200)}")
        return cls(None if timestamp is None else _time(timestamp), number, sub_number)


OLDEST = Position()
"""Before the oldest record of the shard: TRIM_HORIZON."""


def _time(text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
        if moment.tzinfo is not None:
            return moment
    except ValueError:
        pass
    raise ValueError(f"timestamp must be like 2026-11-23T06:00:00+00:00, got {brief_repr(text, 200)}")
