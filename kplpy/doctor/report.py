"""The report of one examination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kplpy.doctor.finding import Finding
from kplpy.doctor.prices import Prices


@dataclass(frozen=True, slots=True)
class Report:
    """All findings about a stream, in the order of the catalogue. Each check has one.

    stream: the name or ARN that was examined.
    region, endpoint: those of the client; None if there is none. A password in the URL is ***.
    findings: one of each check.
    policy: an IAM policy that allows what was denied, to add to the identity's own; None if nothing was.
    prices: the prices behind the finding "cost".
    seconds: how long the examination took.
    """

    stream: str
    region: str | None
    endpoint: str | None
    findings: tuple[Finding, ...]
    policy: Mapping[str, Any] | None
    prices: Prices
    seconds: float

    @property
    def is_sound(self) -> bool:
        """True if no finding is a warning or a failure. Findings may be unchecked."""
        return not self.problems

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The warnings and failures."""
        return tuple(each for each in self.findings if each.is_problem)

    def finding(self, id: str) -> Finding:
        """Return the finding of a check. Raises KeyError for a name that is no check's."""
        for each in self.findings:
            if each.id == id:
                return each
        raise KeyError(id)

    def to_json(self) -> dict[str, Any]:
        """Return the report as `kplpy doctor --json` prints it."""
        return {
            "stream": self.stream,
            "region": self.region,
            "endpoint": self.endpoint,
            "sound": self.is_sound,
            "seconds": round(self.seconds, 3),
            "findings": [each.to_json() for each in self.findings],
            "policy": self.policy,
            "prices": self.prices.to_json(),
        }
