"""Faults on request: what the modelled service is told to do wrong.

    kinesis.faults.fail("InternalFailure", status=500)              the next PutRecords fails as a whole
    kinesis.faults.fail_entries("InternalFailure", times=3)         every entry of the next three fails
    kinesis.faults.delay(2.0)                                       accepted at once, answered two seconds later
    kinesis.faults.cut(accepted=True)                               accepted, and the connection cut without an answer

A `plan` decides for each request by itself, for seeded histories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Transport = Literal["refused", "cut_before", "cut_after", "cut_answer", "never", "empty", "garbage", "wrong_length"]
TRANSPORTS: tuple[str, ...] = (
    "refused",
    "cut_before",
    "cut_after",
    "cut_answer",
    "never",
    "empty",
    "garbage",
    "wrong_length",
)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing to go wrong with one request."""

    code: str | None = None
    """Answer the whole request with this error; nothing is accepted."""
    message: str = ""
    status: int = 400
    entry_code: str | None = None
    """Answer entries of PutRecords with this error code; the others are accepted."""
    entries: frozenset[int] | None = None
    """Which entries, by place in the request; None: all."""
    shard: str | None = None
    """Only entries bound for this shard id; None: any."""
    answer: Mapping[str, Any] | None = None
    """Answer with this and carry nothing out: an old ListShards answer makes a stale one."""
    delay: float = 0.0
    """Seconds between the model's acceptance and the answer."""
    transport: Transport | None = None
    """What happens to the connection or the body. refused, cut_before: the request is never seen. cut_after, never,
    cut_answer (cut in the middle of it), empty, garbage, wrong_length (one entry short): it is carried out."""

    def __post_init__(self) -> None:
        if self.transport is not None and self.transport not in TRANSPORTS:
            raise ValueError(f"transport must be one of {', '.join(TRANSPORTS)}; got {self.transport!r}")
        if self.delay < 0:
            raise ValueError(f"delay must be 0 or more seconds, got {self.delay!r}")

    def hits(self, position: int, shard: str) -> bool:
        """Whether the entry at this place, bound for this shard, fails with entry_code."""
        return (
            self.entry_code is not None
            and (self.entries is None or position in self.entries)
            and (self.shard is None or self.shard == shard)
        )


Plan = Callable[[str, Mapping[str, Any], float], "Fault | None"]


@dataclass
class _Order:
    fault: Fault
    operation: str
    stream: str | None
    left: int


class Faults:
    """The faults in store. Orders are used up one a request, first come first served; then `plan` is asked."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan
        """Called with (operation, params, now) for every request that no order matched."""
        self._orders: list[_Order] = []

    def add(self, fault: Fault, *, times: int = 1, operation: str = "PutRecords", stream: str | None = None) -> None:
        """Let `fault` befall the next `times` requests of `operation` (on `stream`, where given)."""
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise ValueError(f"times must be a whole number, 1 or more; got {times!r}")
        self._orders.append(_Order(fault, operation, stream, times))

    def fail(
        self,
        code: str,
        message: str = "",
        *,
        status: int = 400,
        times: int = 1,
        operation: str = "PutRecords",
        stream: str | None = None,
    ) -> None:
        """The next `times` requests fail with this error code and HTTP status."""
        self.add(Fault(code=code, message=message, status=status), times=times, operation=operation, stream=stream)

    def fail_entries(
        self,
        code: str = "ProvisionedThroughputExceededException",
        *,
        entries: frozenset[int] | None = None,
        shard: str | None = None,
        times: int = 1,
        stream: str | None = None,
    ) -> None:
        """Entries of the next `times` PutRecords fail with this code: those at the places `entries`, those bound for
        `shard`, or all."""
        self.add(Fault(entry_code=code, entries=entries, shard=shard), times=times, stream=stream)

    def delay(
        self, seconds: float, *, times: int = 1, operation: str = "PutRecords", stream: str | None = None
    ) -> None:
        """The next `times` requests are carried out at once and answered `seconds` later."""
        self.add(Fault(delay=seconds), times=times, operation=operation, stream=stream)

    def cut(self, *, accepted: bool, times: int = 1, operation: str = "PutRecords", stream: str | None = None) -> None:
        """The next `times` requests get no answer but a reset connection, after or before they are carried out."""
        fault = Fault(transport="cut_after" if accepted else "cut_before")
        self.add(fault, times=times, operation=operation, stream=stream)

    def clear(self) -> None:
        """Forget all orders; the plan stays."""
        self._orders = []

    def take(self, operation: str, stream: str | None, params: Mapping[str, Any], now: float) -> Fault | None:
        """The fault for this request, used up."""
        for order in self._orders:
            if order.operation == operation and order.stream in (None, stream):
                order.left -= 1
                if order.left == 0:
                    self._orders.remove(order)
                return order.fault
        return self.plan(operation, params, now) if self.plan is not None else None
