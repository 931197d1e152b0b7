"""The accepted part of a file, over futures with and without outcomes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from kplpy import RecordFuture
from kplpy.agent.acknowledgement import Frontier, Part
from kplpy.agent.tailing import TailedFile
from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.record import SendAttempt
from kplpy.futures.resolve import resolve
from tests.future_helpers import pending

FILE = cast(TailedFile, object())
ATTEMPT = SendAttempt(1.0, 1.0, 2.0)


def deliver(*futures: RecordFuture) -> None:
    resolve([*futures], Delivered("shard", "1", ATTEMPT))


def fail(*futures: RecordFuture, reason: Reason = Reason.REJECTED) -> None:
    resolve([*futures], Failed(reason, "no"))


def part(count: int, end: int) -> Part:
    return Part(FILE, end, [pending() for _ in range(count)], 10 * count, 400 * count)


def futures(of: Part) -> list[RecordFuture]:
    return cast(list[RecordFuture], of.futures)


class Failures(list[Any]):
    def __call__(self, part: Part, at: int, future: RecordFuture, error: Exception) -> None:
        self.append((part, at))


def test_parts_pass_in_the_order_of_the_file() -> None:
    frontier, failures = Frontier(FILE), Failures()
    first, second = part(3, 30), part(2, 50)
    frontier.parts.extend([first, second])
    deliver(*futures(second), *futures(first)[1:])
    assert frontier.advance(failures) == []
    deliver(futures(first)[0])
    assert [each.end for each in frontier.advance(failures)] == [30, 50]
    assert not frontier.parts
    assert failures == []


def test_a_part_without_records_passes_at_once_behind_those_before_it() -> None:
    frontier, failures = Frontier(FILE), Failures()
    first, empty = part(1, 10), part(0, 40)
    frontier.parts.extend([first, empty])
    assert frontier.advance(failures) == []
    deliver(*futures(first))
    assert [each.end for each in frontier.advance(failures)] == [10, 40]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_failed_record_is_reported_once_and_holds_the_file_until_it_is_accepted(at: int) -> None:
    frontier, failures = Frontier(FILE), Failures()
    only = part(3, 30)
    frontier.parts.append(only)
    failed = futures(only)[at]
    fail(failed)
    deliver(*(each for each in futures(only) if each is not failed))
    for _ in range(3):
        assert frontier.advance(failures) == []
    assert failures == [(only, at)]
    again = pending()
    only.put_again(at, again)
    assert frontier.advance(failures) == []
    deliver(again)
    assert frontier.advance(failures) == [only]


def test_a_dropped_record_holds_nothing() -> None:
    frontier, failures = Frontier(FILE), Failures()
    only = part(2, 20)
    frontier.parts.append(only)
    fail(futures(only)[0])
    deliver(futures(only)[1])
    assert frontier.advance(failures) == []
    only.drop(0)
    assert frontier.advance(failures) == [only]


def test_all_failures_of_a_part_are_found_also_behind_records_without_an_outcome() -> None:
    failures = Failures()
    only = part(4, 40)
    fail(futures(only)[1], futures(only)[3])
    only.collect_failed(failures)
    only.collect_failed(failures)
    assert failures == [(only, 1), (only, 3)]
