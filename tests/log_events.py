"""Checks that a log record follows the schema of kplpy.logs."""

from __future__ import annotations

import logging

from kplpy.logs import EVENTS


def breach(record: logging.LogRecord) -> str | None:
    """Return what is wrong with the log record, or None."""
    given = getattr(record, "kplpy", None)
    if not isinstance(given, dict) or given.get("event") not in EVENTS:
        return f"{record.name} logged without an event of kplpy.logs: {record.getMessage()}"
    event = EVENTS[given["event"]]
    if set(given) != {"event", *event.fields}:
        return f"{given['event']} has the fields {sorted(given)}, not event and {sorted(event.fields)}"
    if record.levelno != event.level or record.msg != event.message:
        return f"{given['event']} is logged at another level or with another message"
    return None
