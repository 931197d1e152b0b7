"""A log event that the core asks its caller to log."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Notice:
    """An event for the log. The caller adds the stream's name.

    event: a key of EVENTS in kplpy.logs.
    fields: the event's other fields.
    """

    event: str
    fields: dict[str, str] = field(default_factory=dict)
