"""Who chooses the shards, the partition keys or the service (RecordDistributionStrategy), and when to ask for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kplpy.core import policy as rules
from kplpy.core.notice import Notice

AUTO, BY_KEY = "AUTO", "USER_PARTITION_KEY"
NEVER = float("inf")

_CHANGED = {True: Notice("service_places_records"), False: Notice("keys_place_records")}


@dataclass(frozen=True, slots=True)
class Summary:
    """What DescribeStreamSummary says of a stream.

    strategy: None if it could not be learnt. problem: why. passes: the problem does by itself; to ask again may help.
    max_record_size: MaxRecordSizeInKiB in bytes, None if the answer has none. arn: the stream's, where the service
    said it.
    """

    strategy: str | None
    open_shards: int = 0
    problem: str = ""
    max_record_size: int | None = None
    arn: str | None = None
    passes: bool = False


class Placement:
    """One stream's strategy as it was last learnt, or as `assumed` (None: by key) until then.

    Asked for with the first records, when records land where it would not have them, when one is larger than the stream
    is known to take (the same answer has that limit: see size_limits.py), and for as long as it is AUTO. At
    the most once in STRATEGY_POLL seconds, and half as long again by chance: the service limits these calls for the
    whole account. Until it may be asked again, what is seen of where records land counts.
    """

    def __init__(self, assumed: str | None, random: Callable[[], float]) -> None:
        self._random = random
        self.placed_by_service = assumed == AUTO
        self.known = False  # from the service itself
        self._established = False
        self.open_shards = 0
        self.is_asking = False
        self._outdated = False  # what is under way was asked before records showed another strategy
        self._wanted = True
        self._not_before = -NEVER
        self._unknown_reported = assumed is not None
        self._problem = ""  # why the strategy is unknown, to be told once records are delivered all the same

    @property
    def may_ask_at(self) -> float:
        """From when on the service's limits allow another question."""
        return self._not_before

    def next_request_at(self) -> float:
        """When it is to be asked for; infinite: not by itself."""
        return self._not_before if self._wanted and not self.is_asking else NEVER

    def asked(self, now: float) -> None:
        self.is_asking, self._wanted, self._outdated = True, False, False
        self._not_before = now + rules.STRATEGY_POLL * (1 + self._random() / 2)

    def ask_again(self) -> None:
        """Something is not as the strategy would have it."""
        self._wanted = True

    def observed(self, placed_by_service: bool) -> Notice:
        """Where records land shows that it is another one. Returns what a person should be told."""
        self.ask_again()
        self._outdated = self.is_asking
        self.placed_by_service, self.known, self._established = placed_by_service, False, True
        return _CHANGED[placed_by_service]

    def learnt(self, summary: Summary) -> Notice | None:
        """Returns what a person should be told, if anything."""
        self.is_asking = False
        notice = None
        if self._outdated:
            return None
        if summary.strategy is not None:
            placed_by_service = summary.strategy == AUTO
            if placed_by_service != self.placed_by_service and self._established:
                notice = _CHANGED[placed_by_service]
            self.placed_by_service, self.open_shards = placed_by_service, summary.open_shards
            self.known = self._established = True
        else:
            self._problem = "" if summary.passes else summary.problem
            self._wanted = self._wanted or summary.passes
        if self.placed_by_service:
            self._wanted = True
        return notice

    def unknown_strategy(self) -> Notice | None:
        """Records are delivered, so that nothing else is wrong. Returns the advice for a stream of unknown strategy."""
        if not self._problem or self._unknown_reported or self._established:
            return None
        self._unknown_reported = True
        return Notice("strategy_unknown", {"reason": self._problem})
