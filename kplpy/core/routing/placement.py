"""Who chooses the shards, the keys or the service (RecordDistributionStrategy)."""

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
    """The result of DescribeStreamSummary.

    strategy: None if kplpy could not learn it.
    open_shards: the number of open shards, 0 if unknown.
    problem: why the strategy is unknown.
    max_record_size: MaxRecordSizeInKiB in bytes. None if the response has none.
    arn: the stream's ARN, if the response has one.
    passes: True if the problem may pass by itself, so that it helps to ask again.
    """

    strategy: str | None
    open_shards: int = 0
    problem: str = ""
    max_record_size: int | None = None
    arn: str | None = None
    passes: bool = False


class Placement:
    """One stream's strategy, as last learnt. Before that it is `assumed` (None: by key).

    The caller asks for it with DescribeStreamSummary:

    - with the first records;
    - when records land on other shards than the strategy would choose;
    - when a record is larger than the known limit, because the same response has that limit (see size_limits.py);
    - again and again while the strategy is AUTO.

    At least STRATEGY_POLL seconds lie between two requests, and up to half of that more at random. The service limits
    these calls for the whole account. Meanwhile, kplpy infers the strategy from where records land.

    placed_by_service: the service chooses the shards.
    known: the strategy comes from the service itself.
    open_shards: the number of open shards, 0 if unknown.
    is_asking: a request is in flight.
    """

    def __init__(self, assumed: str | None, random: Callable[[], float]) -> None:
        self._random = random
        self.placed_by_service = assumed == AUTO
        self.known = False
        self._established = False  # the strategy was learnt or inferred, so that a change is worth a notice
        self.open_shards = 0
        self.is_asking = False
        self._outdated = False  # the request in flight began before records showed another strategy
        self._wanted = True
        self._not_before = -NEVER
        self._unknown_reported = assumed is not None
        self._problem = ""  # why the strategy is unknown; reported when records are delivered

    @property
    def may_ask_at(self) -> float:
        """The earliest time of the next request."""
        return self._not_before

    def next_request_at(self) -> float:
        """Return when to send the next request. Infinite if none is needed."""
        return self._not_before if self._wanted and not self.is_asking else NEVER

    def asked(self, now: float) -> None:
        """A request has been sent."""
        self.is_asking, self._wanted, self._outdated = True, False, False
        self._not_before = now + rules.STRATEGY_POLL * (1 + self._random() / 2)

    def ask_again(self) -> None:
        """Request the description as soon as the pause is over, because something contradicts it."""
        self._wanted = True

    def observed(self, placed_by_service: bool) -> Notice:
        """Change the strategy, because records landed as under the other one. Return the notice to log."""
        self.ask_again()
        self._outdated = self.is_asking
        self.placed_by_service, self.known, self._established = placed_by_service, False, True
        return _CHANGED[placed_by_service]

    def learnt(self, summary: Summary) -> Notice | None:
        """Take over a response. Return the notice to log, if any."""
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
        """Return the advice for a stream of unknown strategy, if not reported yet.

        Call it when records are delivered: before that, the same cause may fail everything.
        """
        if not self._problem or self._unknown_reported or self._established:
            return None
        self._unknown_reported = True
        return Notice("strategy_unknown", {"reason": self._problem})
