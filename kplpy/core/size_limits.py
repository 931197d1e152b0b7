"""How large a Kinesis record and a request may be, as far as that is known by now."""

from __future__ import annotations

from kplpy.core import policy as rules
from kplpy.core.policy import Policy

NEVER = float("inf")


class SizeLimits:
    """Learnt from DescribeStreamSummary, from answers, and from HTTP 413. Sizes in bytes, partition keys counted.

    record: the largest Kinesis record that the stream takes; larger ones do not share a request.
    request: the largest request, of several Kinesis records, that what lies before the service lets pass.
    aggregate: the largest data of an aggregate that keeps to both, and to aggregation_max_size.
    """

    __slots__ = ("_known_until", "_policy", "aggregate", "grows_at", "record", "request")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.record = rules.LEAST_RECORD_LIMIT
        self._known_until = -NEVER
        self.request = policy.collection_max_size
        self.grows_at = NEVER  # when `grow` has something to do
        self._fit_aggregates()

    def is_known(self, now: float) -> bool:
        """Return True if `record` is the stream's own limit, and was so not long ago."""
        return now < self._known_until

    def described(self, record: int | None, until: float) -> None:
        """DescribeStreamSummary was answered.

        record: None if the answer has none. until: when it may be asked again.
        """
        if record is None:
            self._known_until = -NEVER
        else:
            self.record, self._known_until = record, until
            self._fit_aggregates()

    def forget(self) -> None:
        """The stream was deleted: another one of its name may have another limit."""
        self._known_until = -NEVER

    def accepted(self, size: int) -> None:
        """The stream took a Kinesis record of this size."""
        if size > self.record:
            self.record, self._known_until = size, -NEVER
            self._fit_aggregates()

    def refused(self, size: int) -> bool:
        """A Kinesis record of this size, alone in its request, was found invalid. Return True if `record` changes."""
        if not rules.LEAST_RECORD_LIMIT < size <= self.record:
            return False
        self.record, self._known_until = size - 1, -NEVER
        self._fit_aggregates()
        return True

    def request_refused(self, size: int, now: float) -> None:
        """A request of this size was answered with HTTP 413."""
        self.request = min(self.request, max(size // 2, rules.LEAST_REQUEST_LIMIT))
        self.grows_at = now + rules.REQUEST_LIMIT_GROWTH
        self._fit_aggregates()

    def grow(self, now: float) -> None:
        """What answered with HTTP 413 may be gone: allow twice the size."""
        self.request = min(2 * self.request, self._policy.collection_max_size)
        self.grows_at = now + rules.REQUEST_LIMIT_GROWTH if self.request < self._policy.collection_max_size else NEVER
        self._fit_aggregates()

    def _fit_aggregates(self) -> None:
        key = rules.LONGEST_KEY if self._policy.first_key_outside else 1
        at_most = self.record if self.request >= self._policy.collection_max_size else min(self.record, self.request)
        self.aggregate = min(self._policy.aggregation_max_size, at_most - key)
