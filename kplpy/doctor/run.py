"""examine(): runs all checks on a stream and returns the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from math import isfinite

from kplpy.config.options import Config
from kplpy.doctor.advice import check_advice
from kplpy.doctor.catalogue import CHECKS
from kplpy.doctor.connect import connect
from kplpy.doctor.credentials import check_credentials
from kplpy.doctor.endpoint import check_clock, check_endpoint, check_region
from kplpy.doctor.examination import Examination, Options
from kplpy.doctor.finding import Finding
from kplpy.doctor.permissions import check_permissions
from kplpy.doctor.policy import policy_to_add
from kplpy.doctor.prices import Prices
from kplpy.doctor.put import check_put
from kplpy.doctor.report import Report
from kplpy.doctor.shards import check_shards
from kplpy.doctor.skew import check_skew
from kplpy.doctor.stream import check_consumers, check_encryption, check_stream
from kplpy.doctor.take_sample import take_sample
from kplpy.doctor.tls import check_tls
from kplpy.errors import ConfigError, InvalidRecordError
from kplpy.escaping import brief_repr
from kplpy.stream_names import is_delivery_stream, parse_stream

# In the order in which they run: later ones use what earlier ones found.
_CHECKERS: tuple[Callable[[Examination], Iterator[Finding]], ...] = (
    check_credentials,
    check_region,
    check_endpoint,
    check_tls,
    check_permissions,
    check_clock,
    check_stream,
    check_encryption,
    check_consumers,
    check_shards,
    take_sample,
    check_skew,
    check_advice,
    check_put,
)


def examine(
    stream: str,
    config: Config | None = None,
    *,
    put: bool = False,
    sample: int = 2000,
    since: float = 900.0,
    rate: float | None = None,
    record_size: int | None = None,
    prices: Prices | None = None,
    timeout: float = 60.0,
) -> Report:
    """Examine a stream and the way to it. Writes nothing to the stream, except with put=True.

    stream: a stream's name or ARN.
    config: the producer's options, with those of this stream in `streams`. None: the defaults.
    put: put one record with a producer, with the partition key "kplpy-doctor".
    sample: Kinesis records to read, over all shards; 0 to 100,000. 0 reads none. At most 32 shards are read. A busy
        shard is read on until its records cover a second. A shard's reads count against the five a second that all its
        readers share.
    since: seconds before now from which the sample is read, above 0 and at most 31,536,000, a year.
    rate: user records a second for the advice, above 0. None: the sample's.
    record_size: bytes of a user record with its key, 1 to 10 MiB, for the advice without a sample.
    prices: None: AWS's list prices of us-east-1.
    timeout: seconds after which no further call begins, 1 to 3600. What is left is unchecked.

    Raises ConfigError for an option out of its range. Raises InvalidRecordError for a stream that is neither a name nor
    an ARN, that is a delivery stream, or for whose name `streams` has several options. Whatever the service, the
    network and the credentials do is a finding.
    """
    arn = parse_stream(stream)[1]
    if is_delivery_stream(arn):
        raise InvalidRecordError(f"stream must be a stream, not a delivery stream; got {stream!r}")
    config = config if config is not None else Config()
    options = Options(put, sample, since, rate, record_size, prices if prices is not None else Prices())
    _check_arguments(config, options, timeout)
    began = time.monotonic()
    examination = Examination(stream, arn, config.for_stream(stream), options, began + timeout)
    try:
        findings = _run(examination)
    finally:
        if examination.calls is not None:
            examination.calls.client.close()
    return Report(
        stream,
        examination.region,
        examination.endpoint,
        findings,
        policy_to_add(examination),
        options.prices,
        time.monotonic() - began,
    )


def _run(examination: Examination) -> tuple[Finding, ...]:
    """Run all checks. A check without a finding is unchecked, because of the obstacle."""
    connect(examination)
    found: dict[str, Finding] = {}
    for check in _CHECKERS:
        for finding in check(examination):
            found[finding.id] = finding
    return tuple(found.get(each) or Finding(each, "unchecked", _reason(examination, each)) for each in CHECKS)


def _reason(examination: Examination, check: str) -> str:
    """Return why a check found nothing."""
    if examination.obstacle:
        return examination.obstacle
    group = CHECKS[check].group
    answer = examination.description if group in ("stream", "connection") else examination.listing
    if answer is not None and not answer.is_ok:
        return f"{answer.operation} failed: {answer.code}"
    return "there is no sample" if group in ("records", "advice") else "what it needs could not be had"


def _check_arguments(config: object, options: Options, timeout: float) -> None:
    """Raise ConfigError for a value out of its range, or of another type."""
    if not isinstance(config, Config):
        raise ConfigError(f"config must be a kplpy Config, got {brief_repr(config)}")
    if not isinstance(options.prices, Prices):
        raise ConfigError(f"prices must be kplpy.doctor.Prices, got {brief_repr(options.prices)}")
    _check("sample", options.sample, 0, 100_000, int)
    _check("since", options.since, 0.001, 365 * 86400)
    _check("timeout", timeout, 1, 3600)
    if options.rate is not None:
        _check("rate", options.rate, 0.001, 1e9)
    if options.record_size is not None:
        _check("record_size", options.record_size, 1, 10 << 20, int)


def _check(name: str, value: float, low: float, high: float, kind: type[int] | type[float] = float) -> None:
    kinds = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not isfinite(value):
        raise ConfigError(f"{name} must be a {'whole number' if kind is int else 'number'}, got {brief_repr(value)}")
    if not low <= value <= high:
        raise ConfigError(f"{name} must be from {low:,g} to {high:,.10g}, got {value!r}")
