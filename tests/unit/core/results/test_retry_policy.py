"""What a response means: the error tables, the backoff, the circuit breaker."""

from __future__ import annotations

import pytest

from kplpy.core import policy as rules
from kplpy.core.exchange import RequestError
from kplpy.core.results.circuit_breaker import CircuitBreaker
from kplpy.core.results.retry_policy import Landing, Verdict, backoff, judge_error, judge_landing, meets_puts_too
from kplpy.core.shard_range import ShardRange
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


SET_UP = [
    "BadConfiguration",
    "CredentialProcessFailed",
    "CredentialsDenied",
    "LoginExpired",
    "MissingFile",
    "MissingPackage",
    "NoCredentials",
    "NotKinesis",
    "PartialCredentials",
    "ProfileNotFound",
    "UnknownOperationException",
]


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        (RETRIED, Verdict.RETRY),
        (DENIED, Verdict.GRACE),
        (["ExpiredToken", "ExpiredTokenException", "InvalidSignatureException"], Verdict.REFRESH_CREDENTIALS),
        (["InvalidArgumentException", "ValidationException"], Verdict.INVALID),
        (SET_UP, Verdict.SET_UP),
        (["NoRegion"], Verdict.HOPELESS),
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
        # a recreated stream has the same id
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


def test_an_outage_spaces_requests_until_a_good_response() -> None:
    circuit_breaker = CircuitBreaker(lambda: 0.5)
    circuit_breaker.request_sent(0.0)
    assert bool(circuit_breaker.is_open) is False
    assert circuit_breaker.not_before < 0
    circuit_breaker.failed(started=0.0, now=1.0, error=ERROR)
    assert bool(circuit_breaker.is_open) is True
    assert 1.0 < circuit_breaker.not_before < 1.2
    circuit_breaker.request_sent(2.0)  # the next request does not wait for this response
    assert 2.5 <= circuit_breaker.not_before <= 4.0
    circuit_breaker.close()
    assert bool(circuit_breaker.is_open) is False
    assert circuit_breaker.not_before < 0


def test_requests_in_flight_together_fail_as_one_step() -> None:
    circuit_breaker = CircuitBreaker(lambda: 0.999)
    circuit_breaker.failed(started=0.0, now=1.0, error=ERROR)
    first = circuit_breaker.not_before
    for _ in range(7):
        circuit_breaker.failed(started=0.5, now=1.01, error=ERROR)
    assert circuit_breaker.not_before == first
    circuit_breaker.failed(started=2.0, now=2.0, error=ERROR)
    assert circuit_breaker.not_before - 2.0 > first - 1.0
    assert circuit_breaker.error is ERROR
    circuit_breaker.close()
    assert circuit_breaker.error is None


def test_a_denial_has_a_grace_and_a_late_denial_its_own() -> None:
    circuit_breaker = CircuitBreaker(lambda: 0.5)
    assert not circuit_breaker.denied(0.0)
    assert not circuit_breaker.denied(rules.DENIED_GRACE - 0.1)
    assert circuit_breaker.denied(rules.DENIED_GRACE)
    assert circuit_breaker.denied(rules.DENIED_GRACE + rules.DENIED_MEMORY)
    assert not circuit_breaker.denied(10 + 3 * rules.DENIED_MEMORY)
    circuit_breaker.close()
    assert not circuit_breaker.denied(11 + 3 * rules.DENIED_MEMORY)


@pytest.mark.parametrize("random", [0.0, 0.5, 0.999])
def test_the_last_attempt_comes_at_the_end_of_the_grace(random: float) -> None:
    """A denial is final when the grace ends, not a backoff later."""
    circuit_breaker = CircuitBreaker(lambda: random)
    now, response_takes = 10.0, 0.03
    circuit_breaker.failed(now, now, ERROR)
    while not circuit_breaker.denied(now):
        started = circuit_breaker.not_before
        circuit_breaker.request_sent(started)
        now = started + response_takes
        circuit_breaker.failed(started, now, ERROR)
    assert 10.0 + rules.DENIED_GRACE <= now <= 10.0 + rules.DENIED_GRACE + response_takes + 1e-9


@pytest.mark.parametrize(
    ("code", "too"),
    [
        *((code, True) for code in SET_UP),
        ("NoRegion", True),
        ("ResourceNotFoundException", True),
        ("EndpointConnectionError", True),
        ("ConnectTimeout", True),
        ("ConnectionClosedError", True),
        ("SSLError", True),
        ("ProxyConnectionError", True),
        ("AccessDeniedException", False),  # perhaps only ListShards is denied
        ("LimitExceededException", False),
        ("RequestTimeout", False),
        ("InternalFailure", False),
    ],
)
def test_which_errors_of_a_listing_puts_would_meet_too(code: str, too: bool) -> None:
    assert meets_puts_too(RequestError(code, "", False)) is too
