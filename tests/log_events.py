"""Does a log record follow the schema of kplpy.log_events?"""

from __future__ import annotations

import logging

from kplpy.log_events import EVENTS


def breach(record: logging.LogRecord) -> str | None:
    """What is wrong with it."""
    given = getattr(record, "kplpy", None)
    if not isinstance(given, dict) or given.get("event") not in EVENTS:
        return f"{record.name} logged without an event of kplpy.log_events: {record.getMessage()}"
    event = EVENTS[given["event"]]
    if set(given) != {"event", *event.fields}:
        return f"{given['event']} has the fields {sorted(given)}, not event and {sorted(event.fields)}"
    if record.levelno != event.level or record.msg != event.message:
        return f"{given['event']} is logged at another level or with another message"
    return None
