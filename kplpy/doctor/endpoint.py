"""Checks the region, the endpoint and the clocks."""

from __future__ import annotations

from collections.abc import Iterator

from kplpy.aws.client import is_of_aws
from kplpy.doctor.examination import Examination
from kplpy.doctor.finding import Finding, Level
from kplpy.stream_names import region_of

SLOW = 0.5
"""Seconds of a response from which the way to the endpoint is a warning."""
CLOCK_TOLERANCE = 60.0
"""Seconds; AWS refuses signatures five minutes off."""


def check_region(examination: Examination) -> Iterator[Finding]:
    """Yield the finding "region"."""
    if examination.calls is None:
        if examination.has_no_region:
            advice = "give --region, or set AWS_DEFAULT_REGION or the profile's region"
            yield Finding("region", "failure", examination.client_problem, advice)
        else:
            yield Finding("region", "unchecked", examination.client_problem)
        return
    region = str(examination.region)
    figures = {"region": region}
    if examination.arn is not None and region_of(examination.arn) != region:
        other = region_of(examination.arn)
        text = f"the client's region is {region}, the ARN's is {other}"
        yield Finding("region", "warning", text, f"give --region {other}", figures)
        return
    yield Finding("region", "ok", region, "", figures)


def check_endpoint(examination: Examination) -> Iterator[Finding]:
    """Yield the findings "endpoint" and "clock"."""
    answer = examination.description
    if examination.calls is None:
        is_known = examination.has_no_region or examination.client_problem == examination.credentials.problem
        if not is_known:
            yield Finding("endpoint", "failure", f"no client: {examination.client_problem}", "correct the setting")
        return
    url = str(examination.endpoint)
    figures: dict[str, object] = {"url": url, "is_of_aws": is_of_aws(url)}
    if answer is None:
        return
    if not answer.is_from_service or examination.obstacle == "the endpoint does not answer as Kinesis does":
        if answer.code == "SSLError":
            yield Finding("endpoint", "failure", f"{url}: no TLS connection", "see tls", figures)
            return
        advice = "check the URL, that the server runs, and any proxy, firewall and VPC endpoint on the way"
        yield Finding("endpoint", "failure", f"{url}: {answer.error}", advice, figures)
        return
    first = answer.seconds
    later = examination.listing.seconds if examination.listing is not None else first
    figures |= {"first_ms": round(first * 1000, 1), "later_ms": round(later * 1000, 1)}
    text = f"{url}: first response after {first * 1000:,.0f} ms, the next after {later * 1000:,.0f} ms"
    level: Level = "ok"
    advice = ""
    if min(first, later) > SLOW:
        level, advice = "warning", "run the producer nearer to the region, or look for a slow proxy on the way"
    elif not is_of_aws(url):
        level, text = "note", f"{text}; this is not an address of AWS"
    elif str(examination.region) not in url:
        level, text = "note", f"{text}; the address does not name the region {examination.region}"
        advice = "give the --region of the endpoint: AWS refuses signatures for another one"
    yield Finding("endpoint", level, text, advice, figures)


def check_clock(examination: Examination) -> Iterator[Finding]:
    """Yield the finding "clock"."""
    offset = None if examination.calls is None else examination.calls.clock_offset
    if offset is None:
        if examination.obstacle:
            return
        yield Finding("clock", "unchecked", "the endpoint sends no Date header")
        return
    figures = {"seconds_ahead": round(-offset)}
    if abs(offset) < CLOCK_TOLERANCE:
        yield Finding("clock", "ok", f"{abs(offset):.0f} s off the service's, which shows whole seconds", "", figures)
        return
    side = "behind" if offset > 0 else "ahead of"
    text = f"this machine's clock is {abs(offset):,.0f} s {side} the service's"
    if abs(offset) >= 300:
        text += "; AWS refuses signatures that are 300 s off (kplpy then signs with the service's time)"
    yield Finding("clock", "warning", text, "synchronise the clock, for example with chrony", figures)
