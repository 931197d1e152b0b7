"""Commitment: the account's minimum throughput billing commitment."""

from __future__ import annotations

from typing import Any

from kplpy.local.model.errors import validation

COMMITMENT_SECONDS = 24 * 3600.0
"""The shortest time that a minimum throughput billing commitment lasts."""


class Commitment:
    """The account's minimum throughput billing commitment, which on-demand streams need for warm throughput.

    started_at, ends_at: epoch seconds. ends_at is None until somebody asks for the end.
    """

    def __init__(self) -> None:
        self.started_at: float | None = None
        self.ends_at: float | None = None

    def is_enabled(self, now: float) -> bool:
        return self.started_at is not None and (self.ends_at is None or now < self.ends_at)

    def update(self, status: str, now: float) -> None:
        """Enable or disable the commitment. It ends at the end of its shortest time, or at once after that."""
        if status == "ENABLED":
            if not self.is_enabled(now):
                self.started_at = now
            self.ends_at = None
        elif not self.is_enabled(now):
            raise validation("MinimumThroughputBillingCommitment is already DISABLED.")
        elif self.ends_at is None and self.started_at is not None:
            self.ends_at = max(now, self.started_at + COMMITMENT_SECONDS)

    def describe(self, now: float) -> dict[str, Any]:
        """Return the MinimumThroughputBillingCommitmentOutput structure."""
        if self.started_at is None:
            return {"Status": "DISABLED"}
        described: dict[str, Any] = {"StartedAt": round(self.started_at, 3)}
        if not self.is_enabled(now):
            return {"Status": "DISABLED", **described, "EndedAt": round(self.ends_at or now, 3)}
        described["EarliestAllowedEndAt"] = round(self.started_at + COMMITMENT_SECONDS, 3)
        return {"Status": "ENABLED" if self.ends_at is None else "ENABLED_UNTIL_EARLIEST_ALLOWED_END", **described}
