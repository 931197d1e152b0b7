"""What an answer means: the tables of retry.py, the backoff, the outage."""

from __future__ import annotations

import pytest

from kplpy.core import policy as rules
from kplpy.core.outage import Outage
from kplpy.core.retry import Landing, RequestError, Verdict, backoff, judge_error, judge_landing
from kplpy.core.shard_map import ShardRange
from tests.core_helpers import HALF, LEFT, RIGHT, TOP, WHOLE

ERROR = RequestError("InternalFailure", "a bad day", maybe_written=True)
RETRIED = [
    "InternalFailure",
    "ServiceUnavailable",
    "ThrottlingException",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "KMSThrottlingException",
    "RequestTimeout",
    "ConnectionClosedError",
    "RecordCountMismatch",
    "NobodyKnows",
]
DENIED = [
    "AccessDeniedException",
    "KMSAccessDeniedException",
    "KMSDisabledException",
    "KMSInvalidStateException",
    "KMSNotFoundException",
    "KMSOptInRequired",
    "ResourceNotFoundException",
]


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        (RETRIED, Verdict.RETRY),
        (DENIED, Verdict.GRACE),
        (["ExpiredToken", "ExpiredTokenException", "InvalidSignatureException"], Verdict.REFRESH_CREDENTIALS),
        (["InvalidArgumentException", "ValidationException"], Verdict.INVALID),
    ],
)
def test_errors(codes: list[str], verdict: Verdict) -> None:
    for code in codes:
        assert judge_error(RequestError(code, "", False)) is verdict, code


@pytest.mark.parametrize(
    ("predicted", "aggregated", "keys", "known", "landing"),
    [
        (LEFT, True, [1, 2], LEFT, Landing.DELIVERED),
        # a single record is where the service put it
        (LEFT, False, [1], RIGHT, Landing.DELIVERED),
        (LEFT, False, [1], None, Landing.DELIVERED),
        (None, False, [1], None, Landing.DELIVERED),
        # after a split, after a merge
        (WHOLE, True, [HALF, TOP], RIGHT, Landing.DELIVERED),
        (WHOLE, True, [HALF, 1], RIGHT, Landing.WRONG_SHARD),
        (WHOLE, True, [1, 2], RIGHT, Landing.WRONG_SHARD),
        (LEFT, True, [0, HALF - 1], ShardRange("shardId-2", 0, TOP), Landing.DELIVERED),
        (LEFT, True, [0, HALF - 1], None, Landing.UNKNOWN_SHARD),
        # the same id, of a stream that was recreated
        (WHOLE, True, [1, TOP], LEFT, Landing.WRONG_SHARD),
    ],
)
def test_landings(
    predicted: ShardRange | None, aggregated: bool, keys: list[int], known: ShardRange | None, landing: Landing
) -> None:
    assert judge_landing(predicted, aggregated, keys, known) is landing


def test_backoff_grows_with_full_jitter_to_its_bound() -> None:
    highest = [backoff(failures, 0.999999) for failures in range(40)]
    assert highest == sorted(highest)
    assert highest[0] == pytest.approx(rules.BACKOFF_BASE, rel=0.01)
    assert highest[-1] == pytest.approx(rules.BACKOFF_MAX, rel=0.01)
    assert all(backoff(failures, 0.0) == rules.BACKOFF_BASE / 4 for failures in range(40))


def test_an_outage_spaces_requests_until_a_good_answer() -> None:
    outage = Outage(lambda: 0.5)
    outage.asked(0.0)
    assert bool(outage.lasts) is False
    assert outage.not_before < 0
    outage.failed(started=0.0, now=1.0, error=ERROR)
    assert bool(outage.lasts) is True
    assert 1.0 < outage.not_before < 1.2
    outage.asked(2.0)  # the next does not wait for the answer of this one, only for its own time
    assert 2.5 <= outage.not_before <= 4.0
    outage.over()
    assert bool(outage.lasts) is False
    assert outage.not_before < 0


def test_requests_under_way_together_fail_as_one_step() -> None:
    outage = Outage(lambda: 0.999)
    outage.failed(started=0.0, now=1.0, error=ERROR)
    first = outage.not_before
    for _ in range(7):
        outage.failed(started=0.5, now=1.01, error=ERROR)
    assert outage.not_before == first
    outage.failed(started=2.0, now=2.0, error=ERROR)
    assert outage.not_before - 2.0 > first - 1.0
    assert outage.error is ERROR
    outage.over()
    assert outage.error is None


def test_denial_has_a_grace_and_a_late_one_its_own() -> None:
    outage = Outage(lambda: 0.5)
    assert not outage.denied(0.0)
    assert not outage.denied(rules.DENIED_GRACE - 0.1)
    assert outage.denied(rules.DENIED_GRACE)
    assert outage.denied(rules.DENIED_GRACE + rules.DENIED_MEMORY)
    assert not outage.denied(10 + 3 * rules.DENIED_MEMORY)
    outage.over()
    assert not outage.denied(11 + 3 * rules.DENIED_MEMORY)
