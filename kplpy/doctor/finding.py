"""What a check found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kplpy.doctor.catalogue import CHECKS

Level = Literal["ok", "note", "warning", "failure", "unchecked"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "failure", "unchecked")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    id: the check's name, as in docs/doctor.md.
    level: "ok"; "note", worth knowing; "warning", something costs throughput, money or certainty; "failure", records
        cannot be put; or "unchecked", with the reason in `text`.
    text: what was found, one sentence or more on one line.
    advice: what to do, on one line; "" for nothing.
    figures: numbers and names behind the text, as JSON allows them. The catalogue says what each one is.

    Raises ValueError for a check, a level or a figure that the catalogue does not have.
    """

    id: str
    level: Level
    text: str
    advice: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.id not in CHECKS:
            raise ValueError(f"id must be a check of kplpy.doctor.catalogue, got {self.id!r}")
        if self.level not in ("ok", "unchecked") and self.level not in CHECKS[self.id].problems:
            raise ValueError(f"{self.id} has no level {self.level!r}")
        unknown = self.figures.keys() - CHECKS[self.id].figures.keys()
        if unknown:
            raise ValueError(f"{self.id} has no figures {sorted(unknown)}")

    @property
    def is_problem(self) -> bool:
        """Return True for a warning and a failure."""
        return self.level in ("warning", "failure")

    def to_json(self) -> dict[str, Any]:
        """Return the finding as `kplpy doctor --json` prints it."""
        return {
            "id": self.id,
            "level": self.level,
            "text": self.text,
            "advice": self.advice,
            "figures": dict(self.figures),
        }
