"""Checks the credentials: where they come from, when they expire, and whether the service takes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone

from kplpy.aws.client import LOCAL_KEY
from kplpy.doctor.examination import Credentials, Examination
from kplpy.doctor.finding import Finding

SOON = 3600.0
"""Seconds before their end from which credentials that nothing renews are a warning."""

# botocore's names of its sources (botocore.credentials, METHOD).
_SOURCES = {
    "env": "the environment",
    "explicit": "the session that was given",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
    "assume-role": "a role, assumed by the profile",
    "assume-role-with-web-identity": "a role, assumed with a web identity",
    "custom-assume-role": "a role, assumed by kplpy",
    "custom-process": "credential_process of the profile",
    "sso": "IAM Identity Center",
    "login": "aws login",
    "container-role": "the container's role",
    "iam-role": "the EC2 instance's role",
    "boto2": "boto's old configuration file",
}
# Sources that botocore does not renew before the end.
_NOT_RENEWED = frozenset({"env", "explicit", "shared-credentials-file", "config-file", "boto2"})


def check_credentials(examination: Examination) -> Iterator[Finding]:
    """Yield the finding "credentials"."""
    found = examination.credentials
    if found.problem:
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, give --profile, or attach a role to this machine"
        yield Finding("credentials", "failure", f"no credentials: {found.problem}", advice)
        return
    figures = {
        "source": found.method,
        "access_key": masked(found.access_key),
        "temporary": found.is_temporary,
        "expires": None if found.expires_at is None else _utc(found.expires_at),
    }
    source = _SOURCES.get(found.method, found.method)
    text = f"from {source}: access key {masked(found.access_key)}, {_end(found)}"
    if found.access_key == LOCAL_KEY:
        text = "none found; made up for an endpoint on this machine"
    refused = [
        each for each in (examination.description, examination.listing) if each is not None and each.refuses_credentials
    ]
    if refused:
        advice = "fetch new credentials, and check the clock and that the access key is active"
        yield Finding(
            "credentials", "failure", f"{text}; the service refuses them: {refused[0].error}", advice, figures
        )
    elif _ends_soon(found):
        advice = "fetch new credentials before that, or use a source that renews them: a profile, a role"
        yield Finding("credentials", "warning", text, advice, figures)
    else:
        yield Finding("credentials", "ok", text, "", figures)


def masked(access_key: str) -> str:
    """Return the kind of an access key and its last four characters."""
    return f"{access_key[:4]}…{access_key[-4:]}" if len(access_key) > 12 else "…" + access_key[-4:]


def _end(found: Credentials) -> str:
    if found.expires_at is not None:
        minutes = (found.expires_at - time.time()) / 60
        renewed = "not renewed" if found.method in _NOT_RENEWED else "renewed before that"
        return f"which end at {_utc(found.expires_at)}, in {minutes:,.0f} minutes ({renewed})"
    if found.is_temporary:
        return "temporary, and nothing says when they end"
    return "without an end"


def _ends_soon(found: Credentials) -> bool:
    if found.expires_at is None or found.method not in _NOT_RENEWED:
        return False
    return found.expires_at - time.time() < SOON


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
