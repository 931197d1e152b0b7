"""Faults on request: what the modelled service is told to do wrong.

    kinesis.faults.fail("InternalFailure", status=500)              the next PutRecords fails as a whole
    kinesis.faults.fail_entries("InternalFailure", times=3)         every entry of the next three fails
    kinesis.faults.delay(2.0)                                       accepted at once, answered two seconds later
    kinesis.faults.cut(accepted=True)                               accepted, and the connection cut without an answer
    kinesis.faults.outage()                                         no connection is answered until clear()

All of them can be kept to a `stream`, or to requests that hold a record for a `shard`. A `plan` decides for each
request by itself; that of `by_seed` draws faults by chance, the same at each run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from random import Random
from typing import Any, Literal

from kplpy.local.model.account import named
from kplpy.local.model.errors import CODES
from kplpy.local.model.validation import OPERATIONS

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
    """One thing to go wrong with one request. A bad value raises ValueError with the value and the rule."""

    code: str | None = None
    """Answer the whole request with this error; nothing is accepted."""
    message: str = ""
    status: int = 400
    entry_code: str | None = None
    """Answer entries of PutRecords with this error code; the others are accepted."""
    entries: frozenset[int] | None = None
    """Which entries, by place in the request; None: all."""
    shard: str | None = None
    """With entry_code: only entries bound for this shard id. Else only requests that hold such an entry. None: any."""
    answer: Mapping[str, Any] | None = None
    """Answer with this and carry nothing out: an old ListShards answer makes a stale one."""
    delay: float = 0.0
    """Seconds between the model's acceptance and the answer."""
    transport: Transport | None = None
    """What happens to the connection or the body. refused, cut_before: the request is never seen. cut_after, never,
    cut_answer (cut in the middle of it), empty, garbage, wrong_length (one entry short): it is carried out."""
    any_code: bool = False
    """Take `code` and `entry_code` as they are, though Kinesis has no such codes: what a gateway answers, say."""

    def __post_init__(self) -> None:
        for member in ("code", "entry_code"):
            code = getattr(self, member)
            if code is not None and (not isinstance(code, str) or not (self.any_code or code in CODES)):
                raise ValueError(
                    f"{member} must be an error code of Kinesis, or have any_code=True beside it in a Fault; "
                    f"got {code!r}{_resembling(code, CODES)}"
                )
        if isinstance(self.status, bool) or not isinstance(self.status, int) or not 200 <= self.status <= 599:
            raise ValueError(f"status must be an HTTP status, 200 to 599; got {self.status!r}")
        if self.transport is not None and self.transport not in TRANSPORTS:
            raise ValueError(
                f"transport must be one of {', '.join(TRANSPORTS)}; "
                f"got {self.transport!r}{_resembling(self.transport, TRANSPORTS)}"
            )
        if isinstance(self.delay, bool) or not isinstance(self.delay, (int, float)) or not self.delay >= 0:
            raise ValueError(f"delay must be 0 or more seconds, got {self.delay!r}")

    def befalls(self, bound: Callable[[], Collection[str]]) -> bool:
        """Whether it concerns a request with entries for the shards that `bound` tells."""
        return self.shard is None or self.entry_code is not None or self.shard in bound()

    def hits(self, position: int, shard: str) -> bool:
        """Whether the entry at this place, bound for this shard, fails with entry_code."""
        return (
            self.entry_code is not None
            and (self.entries is None or position in self.entries)
            and (self.shard is None or self.shard == shard)
        )


REFUSED = Fault(transport="refused")

Plan = Callable[[str, Mapping[str, Any], float], "Fault | None"]


@dataclass
class _Order:
    fault: Fault
    operation: str | None
    """None: every operation."""
    stream: str | None
    left: float
    """Requests that it will befall; infinite: until clear()."""

    def concerns(self, operation: str, params: Mapping[str, Any]) -> bool:
        return self.operation in (None, operation) and self.stream in (None, named(params))


class Faults:
    """The faults in store. Orders are used up one a request, first come first served; then `plan` is asked."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan
        self._orders: list[_Order] = []

    @property
    def plan(self) -> Plan | None:
        """Called with (operation, params, now) for every request that no order matched; returns a Fault or None.

        TypeError where it is set to what cannot be called so. What it raises fails the request with HTTP status 500.
        """
        return self._plan

    @plan.setter
    def plan(self, plan: Plan | None) -> None:
        if plan is not None and not _takes_three(plan):
            raise TypeError(f"plan must be a function of (operation, params, now), or None; got {plan!r}")
        self._plan = plan

    def add(self, fault: Fault, *, times: int = 1, operation: str = "PutRecords", stream: str | None = None) -> None:
        """Let `fault` befall the next `times` requests of `operation` (on `stream`, where given) that it concerns."""
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise ValueError(f"times must be a whole number, 1 or more; got {times!r}")
        self._order(fault, operation, stream, times)

    def outage(self, fault: Fault = REFUSED, *, operation: str | None = None, stream: str | None = None) -> None:
        """Until clear() `fault` befalls every request (of `operation`, on `stream`, where given): by default the
        connection is reset before the request is read. Orders that are given later wait behind it."""
        self._order(fault, operation, stream, float("inf"))

    def _order(self, fault: Fault, operation: str | None, stream: str | None, times: float) -> None:
        if not isinstance(fault, Fault):
            raise TypeError(f"fault must be a kplpy.local.Fault, got {fault!r}")
        if operation is not None and operation not in OPERATIONS:
            raise ValueError(
                f"operation must be one that the local Kinesis has (docs/local.md), such as PutRecords; "
                f"got {operation!r}{_resembling(operation, OPERATIONS)}"
            )
        if stream is not None and not (isinstance(stream, str) and stream and ":" not in stream):
            raise ValueError(f"stream must be a stream's name, or None for all; got {stream!r}")
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
        """The next `times` requests fail with this error code and HTTP status."""
        fault = Fault(code=code, message=message, status=status, shard=shard)
        self.add(fault, times=times, operation=operation, stream=stream)

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
        self,
        seconds: float,
        *,
        times: int = 1,
        operation: str = "PutRecords",
        stream: str | None = None,
        shard: str | None = None,
    ) -> None:
        """The next `times` requests are carried out at once and answered `seconds` later."""
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
        """The next `times` requests get no answer but a reset connection, after or before they are carried out."""
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
        """From now on each of these faults befalls requests of `operation` (on `stream`, where given) with its
        probability, the same at each run. It takes the place of the plan."""
        for fault, _ in chances:
            if not isinstance(fault, Fault):
                raise TypeError(f"chances must be pairs of a kplpy.local.Fault and its probability; got {fault!r}")
        random, odds = Random(seed), [chance for _, chance in chances]
        if sum(odds) > 1 or min(odds, default=0) < 0:
            raise ValueError(f"probabilities must be 0 or more, and 1 together at the most; got {odds}")

        def plan(asked: str, params: Mapping[str, Any], now: float) -> Fault | None:
            if asked != operation or stream not in (None, named(params)):
                return None
            drawn = random.random()
            for fault, chance in chances:
                drawn -= chance
                if drawn < 0:
                    return fault
            return None

        self.plan = plan

    def clear(self) -> None:
        """Forget all orders, outages among them; the plan stays."""
        self._orders = []

    def take(
        self, operation: str, params: Mapping[str, Any], now: float, bound: Callable[[], Collection[str]]
    ) -> Fault | None:
        """The fault for this request, used up. `bound` tells for which shards it has entries."""
        for order in self._orders:
            if order.concerns(operation, params) and order.fault.befalls(bound):
                order.left -= 1
                if order.left == 0:
                    self._orders.remove(order)
                return order.fault
        fault = self._plan(operation, params, now) if self._plan is not None else None
        if fault is not None and not isinstance(fault, Fault):
            raise TypeError(f"the plan must return a kplpy.local.Fault or None; for {operation} it returned {fault!r}")
        return fault if fault is not None and fault.befalls(bound) else None


def _takes_three(plan: object) -> bool:
    if not callable(plan):
        return False
    try:
        inspect.signature(plan).bind("PutRecords", {}, 0.0)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        pass
    return True


def _resembling(given: object, known: Collection[str]) -> str:
    near = get_close_matches(given, sorted(known), n=2, cutoff=0.7) if isinstance(given, str) else []
    return f"; did you mean {' or '.join(near)}?" if near else ""
