"""The largest Kinesis record and request that the stream takes, as far as kplpy knows."""

from __future__ import annotations

from kplpy.core import policy as rules
from kplpy.core.policy import Policy

NEVER = float("inf")


class SizeLimits:
    """Size limits, learnt from DescribeStreamSummary, from responses and from HTTP 413.

    All sizes are in bytes. Those of Kinesis records and requests include the partition keys.

    record: the largest Kinesis record that the stream takes. A larger one is sent in a request of its own.
    request: the largest request of several Kinesis records that a proxy or gateway before the service accepts.
    aggregate: the most data in an aggregate that keeps within both, and within aggregation_max_size.
    grows_at: when `grow` is due. Infinite while the request limit is not lowered.
    """

    __slots__ = ("_known_until", "_policy", "aggregate", "grows_at", "record", "request")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.record = rules.LEAST_RECORD_LIMIT
        self._known_until = -NEVER
        self.request = policy.collection_max_size
        self.grows_at = NEVER
        self._fit_aggregates()

    def is_known(self, now: float) -> bool:
        """Return True if the service confirmed `record` as the stream's limit recently."""
        return now < self._known_until

    def described(self, record: int | None, until: float) -> None:
        """Take over the limit in a response of DescribeStreamSummary.

        record: None if the response has no limit. until: when kplpy may ask again.
        """
        if record is None:
            self._known_until = -NEVER
        else:
            self.record, self._known_until = record, until
            self._fit_aggregates()

    def forget(self) -> None:
        """Forget the limit because the stream was deleted. A new stream of the same name may have another one."""
        self._known_until = -NEVER

    def accepted(self, size: int) -> None:
        """Raise the limit if it is below this size, which the stream accepted."""
        if size > self.record:
            self.record, self._known_until = size, -NEVER
            self._fit_aggregates()

    def refused(self, size: int) -> bool:
        """Lower the limit: this size, alone in its request, was invalid. Return True if the limit changed."""
        if not rules.LEAST_RECORD_LIMIT < size <= self.record:
            return False
        self.record, self._known_until = size - 1, -NEVER
        self._fit_aggregates()
        return True

    def request_refused(self, size: int, now: float) -> None:
        """Lower the request limit after a response with HTTP 413 to a request of this size."""
        self.request = min(self.request, max(size // 2, rules.LEAST_REQUEST_LIMIT))
        self.grows_at = now + rules.REQUEST_LIMIT_GROWTH
        self._fit_aggregates()

    def grow(self, now: float) -> None:
        """Double the request limit, because the cause of HTTP 413 may have passed."""
        self.request = min(2 * self.request, self._policy.collection_max_size)
        self.grows_at = now + rules.REQUEST_LIMIT_GROWTH if self.request < self._policy.collection_max_size else NEVER
        self._fit_aggregates()

    def _fit_aggregates(self) -> None:
        key = rules.LONGEST_KEY if self._policy.first_key_outside else 1
        at_most = self.record if self.request >= self._policy.collection_max_size else min(self.record, self.request)
        self.aggregate = min(self._policy.aggregation_max_size, at_most - key)
