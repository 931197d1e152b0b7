"""What a person should know, and a program that reads the log."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Notice:
    """An event of kplpy.logs, to be logged with the stream's name and these fields."""

    event: str
    fields: dict[str, str] = field(default_factory=dict)
