"""Producers that put more to a delivery stream than its quota, which they do not know, on a virtual clock."""

from __future__ import annotations

from kplpy import Config
from kplpy.core.policy import QUOTA_RECORDS_PER_SECOND, delivery_policy_of
from kplpy.core.routing.sticky import EVERYWHERE
from kplpy.local.model.limits import WriteBucket
from tests.simulation.rates import Rates

MIB = 1 << 20


class Quotas(Rates):
    """Producers that share a delivery stream.

    quota: MiB/s. offered: bytes per second that are put on each producer, divided by the quota.
    """

    def __init__(
        self, quota: float, producers: int, offered: float = 2.0, seconds: float = 40.0, seed: int = 1
    ) -> None:
        super().__init__(
            delivery_policy_of(Config()),
            producers=producers,
            shards=1,
            offered=offered * quota,
            record_size=10_000,
            seconds=seconds,
            seed=seed,
            backlog=64e6,
        )
        self.quota = quota
        self.refusal = "ServiceUnavailableException"
        self.ranges = [EVERYWHERE]
        self.service = [WriteBucket(QUOTA_RECORDS_PER_SECOND * quota, int(quota * MIB), 0.0)]

    def change_quota(self, at: float, quota: float) -> None:
        """Replace the quota at this second."""

        def change() -> None:
            self.service = [WriteBucket(QUOTA_RECORDS_PER_SECOND * quota, int(quota * MIB), self.now)]

        self._at(at, change)

    def used(self, begin: int, end: int, number: int | None = None) -> float:
        """Return the bytes that were accepted, of all producers or of one, divided by the first quota."""
        return self.taken(begin, end, number) / self.quota
