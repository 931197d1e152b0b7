"""Checks the encryption of the connection: verification, the protocol's version and the certificate's end."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from kplpy.aws.client import is_this_machine
from kplpy.doctor.examination import Examination
from kplpy.doctor.finding import Finding

SOON_DAYS = 14
_CONNECT_TIMEOUT = 3.0


def check_tls(examination: Examination) -> Iterator[Finding]:
    """Yield the finding "tls"."""
    if examination.calls is None:
        return
    parts = urlsplit(str(examination.endpoint))
    if parts.scheme == "http":
        yield _clear_text(str(examination.endpoint))
        return
    answer = examination.description
    if answer is None:
        return
    if answer.code == "SSLError":
        advice = "--ca-bundle FILE trusts a private authority; http:// is for an endpoint without TLS"
        yield Finding("tls", "failure", answer.message, advice)
    elif examination.config.verify is False:
        text = "certificates are not verified: anybody on the way can read and change records"
        yield Finding("tls", "warning", text, "verify with --ca-bundle FILE instead of --no-verify")
    elif answer.is_from_service:
        yield _verified(examination, parts.hostname or "", parts.port or 443)


def _clear_text(url: str) -> Finding:
    if is_this_machine(url):
        return Finding("tls", "note", "http, within this machine")
    text = f"http: records travel to {urlsplit(url).hostname} in clear text"
    return Finding("tls", "warning", text, "use an https:// endpoint")


def _verified(examination: Examination, host: str, port: int) -> Finding:
    if examination.config.proxy_host is not None or _has_proxy(str(examination.endpoint)):
        return Finding("tls", "ok", "verified, through a proxy; the certificate's end is not checked")
    try:
        version, end = _peer(host, port, _ca_file(examination))
    except OSError as error:
        return Finding("tls", "ok", f"verified; a second connection to see the certificate's end failed: {error}")
    days = (end - time.time()) / 86400
    figures = {"version": version, "certificate_days": round(days)}
    if days < SOON_DAYS:
        text = f"{version}; the certificate ends in {days:.1f} days"
        return Finding("tls", "warning", text, "renew the endpoint's certificate", figures)
    return Finding("tls", "ok", f"{version}, verified; the certificate is valid for {days:,.0f} more days", "", figures)


def _peer(host: str, port: int, ca_file: str | None) -> tuple[str, float]:
    """Return the protocol's version and the Unix time of the certificate's end. Raises OSError."""
    context = ssl.create_default_context(cafile=ca_file)
    with (
        socket.create_connection((host, port), _CONNECT_TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        certificate: Any = connection.getpeercert() or {}
        return str(connection.version()), float(ssl.cert_time_to_seconds(certificate["notAfter"]))


def _ca_file(examination: Examination) -> str | None:
    """Return the file of certificates that botocore's client trusts; None for the system's."""
    verify = examination.config.verify
    if isinstance(verify, str):
        return verify
    session: Any = examination.config.session
    core = getattr(session, "_session", session)  # a boto3 session keeps botocore's, private to boto3 (1.40 to 1.44)
    found = core.get_config_variable("ca_bundle") if hasattr(core, "get_config_variable") else None
    if found:
        return str(found)
    try:
        from botocore.httpsession import where
    except ImportError:
        return None
    return str(where()) if os.path.exists(where()) else None


def _has_proxy(url: str) -> bool:
    from botocore.utils import get_environ_proxies

    return bool(get_environ_proxies(url))
