"""Faults that the modelled service makes on request.

    kinesis.faults.fail("InternalFailure", status=500)              the next PutRecords fails as a whole
    kinesis.faults.fail_entries("InternalFailure", times=3)         every entry of the next three PutRecords fails
    kinesis.faults.delay(2.0)                                       accepted at once, answered two seconds later
    kinesis.faults.cut(accepted=True)                               accepted, and the connection cut without a response
    kinesis.faults.outage()                                         every connection is reset until clear()
    kinesis.faults.fail_entries("ServiceUnavailableException", operation="Firehose.PutRecordBatch")
                                                                    the same for Firehose

Each fault can be limited to a `stream`, or to requests with a record for a `shard`. A `plan` decides for each request.
The plan of by_seed() draws faults at random, the same ones in each run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from random import Random
from typing import Any, Literal

from kplpy.local.model.errors import CODES
from kplpy.local.model.validation import OPERATIONS, requested_stream

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
    """One fault of one request.

    A bad value raises ValueError with the value and the rule.
    """

    code: str | None = None
    """Fail the whole request with this error code; nothing is accepted."""
    message: str = ""
    """The error's text; "" for a default."""
    status: int = 400
    """The HTTP status of the response with `code`, 200 to 599."""
    entry_code: str | None = None
    """Fail entries of PutRecords or PutRecordBatch with this error code; the other entries are accepted."""
    entries: frozenset[int] | None = None
    """Which entries fail, by position in the request from 0; None: all."""
    shard: str | None = None
    """A shard id; None: any. With entry_code only this shard's entries fail, else only requests with such an entry.

    Firehose has no shards, so its requests never match a shard.
    """
    answer: Mapping[str, Any] | None = None
    """Send this response and carry nothing out. An old response of ListShards makes a stale listing."""
    delay: float = 0.0
    """Seconds between the model's acceptance and the response."""
    transport: Transport | None = None
    """What happens to the connection or to the response's body.

    refused, cut_before: the connection is reset before the request is carried out
    cut_after: the connection is reset after the request is carried out
    cut_answer: the connection is cut in the middle of the response
    never: no response is sent, and the connection stays open
    empty, garbage: the response has no body, or a body that is not a response
    wrong_length: the response has one entry too few
    """
    any_code: bool = False
    """Allow a `code` and `entry_code` that the services do not have, for example a gateway's."""

    def __post_init__(self) -> None:
        for member in ("code", "entry_code"):
            code = getattr(self, member)
            if code is not None and (not isinstance(code, str) or not (self.any_code or code in CODES)):
                raise ValueError(
                    f"{member} must be an error code of Kinesis or Firehose; a Fault with any_code=True allows any; "
                    f"got {code!r}{_suggestion(code, CODES)}"
                )
        if isinstance(self.status, bool) or not isinstance(self.status, int) or not 200 <= self.status <= 599:
            raise ValueError(f"status must be an HTTP status, 200 to 599; got {self.status!r}")
        if self.transport is not None and self.transport not in TRANSPORTS:
            raise ValueError(
                f"transport must be one of {', '.join(TRANSPORTS)}; "
                f"got {self.transport!r}{_suggestion(self.transport, TRANSPORTS)}"
            )
        if isinstance(self.delay, bool) or not isinstance(self.delay, (int, float)) or not self.delay >= 0:
            raise ValueError(f"delay must be 0 or more seconds, got {self.delay!r}")

    def applies_to(self, target_shards: Callable[[], Collection[str]]) -> bool:
        """Return True if the fault applies to a request.

        `target_shards` returns the shards of its entries.
        """
        return self.shard is None or self.entry_code is not None or self.shard in target_shards()

    def fails_entry(self, position: int, shard: str) -> bool:
        """Return True if the entry at this position, for this shard, fails with entry_code."""
        return (
            self.entry_code is not None
            and (self.entries is None or position in self.entries)
            and (self.shard is None or self.shard == shard)
        )


REFUSED = Fault(transport="refused")

Plan = Callable[[str, Mapping[str, Any], float], "Fault | None"]


@dataclass
class _Order:
    """A fault for the next requests of an operation and a stream."""

    fault: Fault
    operation: str | None
    """None: every operation."""
    stream: str | None
    """None: every stream."""
    remaining: float
    """How many requests still get the fault; infinite: until clear()."""

    def matches(self, operation: str, params: Mapping[str, Any]) -> bool:
        return self.operation in (None, operation) and self.stream in (None, requested_stream(params))


class Faults:
    """The faults of the coming requests.

    Each request gets the fault of the first order that matches it. A request that no order matches gets the fault that
    `plan` returns.
    """

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan
        self._orders: list[_Order] = []

    @property
    def plan(self) -> Plan | None:
        """The function that decides for every request that no order matches.

        It is called with (operation, params, now) and returns a Fault or None. An exception that it raises fails the
        request with HTTP status 500. Setting `plan` to something that cannot be called with three arguments raises
        TypeError.
        """
        return self._plan

    @plan.setter
    def plan(self, plan: Plan | None) -> None:
        if plan is not None and not _accepts_three_arguments(plan):
            raise TypeError(f"plan must be a function of (operation, params, now), or None; got {plan!r}")
        self._plan = plan

    def add(self, fault: Fault, *, times: int = 1, operation: str = "PutRecords", stream: str | None = None) -> None:
        """Apply `fault` to the next `times` matching requests of `operation`, on `stream` if given."""
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise ValueError(f"times must be a whole number, 1 or more; got {times!r}")
        self._order(fault, operation, stream, times)

    def outage(self, fault: Fault = REFUSED, *, operation: str | None = None, stream: str | None = None) -> None:
        """Apply `fault` to every matching request until clear().

        operation, stream: which requests match; None for all

        By default the connection is reset before the request is read. Later orders for the same requests have no effect
        before clear(), which removes them too.
        """
        self._order(fault, operation, stream, float("inf"))

    def _order(self, fault: Fault, operation: str | None, stream: str | None, times: float) -> None:
        if not isinstance(fault, Fault):
            raise TypeError(f"fault must be a kplpy.local.Fault, got {fault!r}")
        if operation is not None and operation not in OPERATIONS:
            raise ValueError(
                f"operation must be an operation of the local Kinesis (docs/local.md), such as PutRecords or "
                f"Firehose.PutRecordBatch; "
                f"got {operation!r}{_suggestion(operation, OPERATIONS)}"
            )
        if stream is not None and not (isinstance(stream, str) and stream and ":" not in stream):
            raise ValueError(f"stream must be a stream's name, or None for all streams; got {stream!r}")
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
        shard: str | None = None,
    ) -> None:
        """Fail the next `times` requests with this error code and HTTP status."""
        fault = Fault(code=code, message=message, status=status, shard=shard)
        self.add(fault, times=times, operation=operation, stream=stream)

    def fail_entries(
        self,
        code: str = "ProvisionedThroughputExceededException",
        *,
        entries: frozenset[int] | None = None,
        shard: str | None = None,
        times: int = 1,
        operation: str = "PutRecords",
        stream: str | None = None,
    ) -> None:
        """Fail entries of the next `times` requests with this error code.

        entries: positions in the request, from 0; None for all
        shard: only entries for this shard id; None for all
        operation: PutRecords, or Firehose.PutRecordBatch with a code such as ServiceUnavailableException
        """
        fault = Fault(entry_code=code, entries=entries, shard=shard)
        self.add(fault, times=times, operation=operation, stream=stream)

    def delay(
        self,
        seconds: float,
        *,
        times: int = 1,
        operation: str = "PutRecords",
        stream: str | None = None,
        shard: str | None = None,
    ) -> None:
        """Carry out the next `times` requests at once and respond `seconds` later."""
        self.add(Fault(delay=seconds, shard=shard), times=times, operation=operation, stream=stream)

    def cut(
        self,
        *,
        accepted: bool,
        times: int = 1,
        operation: str = "PutRecords",
        stream: str | None = None,
        shard: str | None = None,
    ) -> None:
        """Reset the connections of the next `times` requests instead of a response.

        accepted: True carries the requests out first, False does not
        """
        fault = Fault(transport="cut_after" if accepted else "cut_before", shard=shard)
        self.add(fault, times=times, operation=operation, stream=stream)

    def by_seed(
        self,
        seed: int,
        chances: Sequence[tuple[Fault, float]],
        *,
        operation: str = "PutRecords",
        stream: str | None = None,
    ) -> None:
        """Replace the plan by one that draws faults at random.

        The new plan is for requests of `operation`, on `stream` if given.

        chances: pairs of a fault and its probability, 0 to 1, together at most 1
        seed: the same seed draws the same faults for the same requests in each run
        """
        for fault, _ in chances:
            if not isinstance(fault, Fault):
                raise TypeError(f"chances must be pairs of a kplpy.local.Fault and its probability; got {fault!r}")
        random, odds = Random(seed), [chance for _, chance in chances]
        if sum(odds) > 1 or min(odds, default=0) < 0:
            raise ValueError(f"probabilities must be 0 or more, and at most 1 together; got {odds}")

        def plan(requested: str, params: Mapping[str, Any], now: float) -> Fault | None:
            if requested != operation or stream not in (None, requested_stream(params)):
                return None
            drawn = random.random()
            for fault, chance in chances:
                drawn -= chance
                if drawn < 0:
                    return fault
            return None

        self.plan = plan

    def clear(self) -> None:
        """Remove all orders, outages included; the plan stays."""
        self._orders = []

    def take(
        self, operation: str, params: Mapping[str, Any], now: float, target_shards: Callable[[], Collection[str]]
    ) -> Fault | None:
        """Return the fault for this request and count it.

        `target_shards` returns the shards of its entries.
        """
        for order in self._orders:
            if order.matches(operation, params) and order.fault.applies_to(target_shards):
                order.remaining -= 1
                if order.remaining == 0:
                    self._orders.remove(order)
                return order.fault
        fault = self._plan(operation, params, now) if self._plan is not None else None
        if fault is not None and not isinstance(fault, Fault):
            raise TypeError(f"the plan must return a kplpy.local.Fault or None; for {operation} it returned {fault!r}")
        return fault if fault is not None and fault.applies_to(target_shards) else None


def _accepts_three_arguments(plan: object) -> bool:
    if not callable(plan):
        return False
    try:
        inspect.signature(plan).bind("PutRecords", {}, 0.0)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        pass
    return True


def _suggestion(given: object, known: Collection[str]) -> str:
    near = get_close_matches(given, sorted(known), n=2, cutoff=0.7) if isinstance(given, str) else []
    return f"; did you mean {' or '.join(near)}?" if near else ""
