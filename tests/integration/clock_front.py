"""A service whose clock differs from this machine's, in front of the local Kinesis."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import formatdate

from kplpy.local import LocalKinesis
from tests.http_server import Answer, WebServer, web_server

TOLERANCE = 300
"""Seconds by which a signature may be off, as with AWS."""


class Clock:
    """A service's clock, `ahead` seconds ahead of this machine's. Records whether each signature was accepted."""

    def __init__(self, ahead: float) -> None:
        self.ahead = ahead
        self.accepted: list[bool] = []

    def refusal(self, headers: Mapping[str, str]) -> Answer | None:
        signed = datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        off = time.time() + self.ahead - signed.timestamp()
        scope = re.search(r"Credential=[^/]+/(\d+)/", headers["Authorization"])
        assert scope is not None
        assert scope[1] == f"{signed:%Y%m%d}"  # all parts of a signature have the same time
        self.accepted.append(abs(off) <= TOLERANCE)
        if self.accepted[-1]:
            return None
        if "X-Amz-Target" not in headers:  # older versions of botocore call CloudWatch in XML
            error = "<Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired</Message></Error>"
            return 403, self.headers(), f"<ErrorResponse>{error}</ErrorResponse>".encode()
        body = json.dumps({"__type": "InvalidSignatureException", "message": "Signature expired"}).encode()
        return 400, self.headers(), body

    def headers(self) -> dict[str, str]:
        return {"Content-Type": "application/x-amz-json-1.1", "Date": formatdate(time.time() + self.ahead, usegmt=True)}


@contextmanager
def front(kinesis: LocalKinesis, service_clock: Clock) -> Iterator[WebServer]:
    """Run the local Kinesis behind a check of the signature's time."""

    def answer(headers: Mapping[str, str], body: bytes) -> Answer:
        refusal = service_clock.refusal(headers)
        if refusal is not None:
            return refusal
        kept = {name: headers[name] for name in ("X-Amz-Target", "Content-Type")}
        try:
            response = urllib.request.urlopen(urllib.request.Request(kinesis.endpoint_url, body, kept))
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return response.status, service_clock.headers(), response.read()

    with web_server(answer) as web:
        yield web
