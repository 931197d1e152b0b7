"""Reads the records of a delivery stream from `kplpy local`, for `kplpy tail`."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import click

from kplpy.cli.connection import Connection
from kplpy.dead_letters.entry import describe_data
from kplpy.escaping import shown

_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class DeliveredRecord:
    """A record of a delivery stream. arrived: epoch seconds."""

    record_id: str
    arrived: float
    data: bytes


class DeliveryReader:
    """Reads the records of one delivery stream of `kplpy local`, in the order of acceptance.

    Call open() first. Every method raises click.ClickException if the server cannot be read.

    start: "TRIM_HORIZON", "LATEST", or the time of the first record
    follow: False ends after the last record
    idle_timeout: seconds without a record after which the reading ends; None: never
    interval: seconds between two reads when no record is left
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        start: str | datetime,
        follow: bool,
        idle_timeout: float | None,
        interval: float,
    ) -> None:
        if connection.endpoint_url is None:
            raise click.UsageError(
                f"{stream} is a delivery stream, and Firehose lets nobody read its records: give --endpoint-url with "
                "the address of `kplpy local`"
            )
        if urlsplit(connection.endpoint_url).scheme not in ("http", "https"):
            raise click.UsageError(f"--endpoint-url must begin with http:// or https://, got {connection.endpoint_url}")
        self._url = f"{connection.endpoint_url.rstrip('/')}/firehose/{stream.rpartition('/')[2]}"
        context = ssl.create_default_context(cafile=connection.ca_bundle)
        if connection.no_verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
        self._start, self._follow = start, follow
        self._idle_timeout, self._interval = idle_timeout, interval
        self._after = 0
        self._incarnation = 0

    def open(self) -> None:
        """Find the place to begin at."""
        answer = self._get(limit=1)
        self._incarnation = answer["Incarnation"]
        if self._start == "LATEST":
            self._after = answer["Count"]

    def batches(self, poll: float) -> Iterator[list[DeliveredRecord] | None]:
        """Yield records as they come, and None at least each `poll` seconds without one."""
        idle_since = time.monotonic()
        while True:
            records = self._read()
            if records:
                yield records
                idle_since = time.monotonic()
                continue
            read_at = time.monotonic()
            if not self._follow or (self._idle_timeout is not None and read_at - idle_since >= self._idle_timeout):
                return
            while (left := read_at + self._interval - time.monotonic()) > 0:
                yield None
                time.sleep(min(left, poll))

    def _read(self) -> list[DeliveredRecord]:
        """Return the next records that are not before the start; an empty list: no record is left."""
        while True:
            answer = self._get()
            if answer["Incarnation"] != self._incarnation:  # the delivery stream was deleted and created
                self._incarnation, self._after = answer["Incarnation"], 0
                continue
            found = answer["Records"]
            if not found:
                return []
            self._after = found[-1]["Number"]
            records = [
                DeliveredRecord(each["RecordId"], each["ApproximateArrivalTimestamp"], base64.b64decode(each["Data"]))
                for each in found
            ]
            if isinstance(self._start, datetime):
                first = self._start.timestamp()
                records = [each for each in records if each.arrived >= first]
            if records:
                return records

    def _get(self, limit: int = 10_000) -> dict[str, Any]:
        url = f"{self._url}?after={self._after}&limit={limit}"
        try:
            with self._opener.open(url, timeout=_TIMEOUT_SECONDS) as response:
                answer = json.load(response)
            if not isinstance(answer, dict) or "Incarnation" not in answer:
                raise ValueError("no delivery stream in the response")
        except HTTPError as error:
            raise click.ClickException(_explain(error, url)) from error
        except (URLError, OSError, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise click.ClickException(f"cannot read {url}: {shown(str(reason))}") from error
        return answer


def _explain(error: HTTPError, url: str) -> str:
    """Return one line about an error response of the server."""
    try:
        answer = json.loads(error.read())
        return f"{shown(str(answer['__type']))}: {shown(str(answer['message']))}"
    except (ValueError, KeyError, TypeError, OSError):
        return f"cannot read {url}: HTTP status {error.code}; only `kplpy local` lets delivery streams be read"


def delivery_encoder(stream: str, line_of: Callable[[bytes], bytes] | None) -> Callable[[DeliveredRecord], bytes]:
    """Return the function that makes a record's line.

    line_of: makes a line of data, which ends without the record's own newline; None: a JSON object
    """
    if line_of is None:
        return lambda record: _json_line(record, stream)
    return lambda record: line_of(record.data.removesuffix(b"\n"))


def _json_line(record: DeliveredRecord, stream: str) -> bytes:
    arrived = datetime.fromtimestamp(record.arrived, timezone.utc).isoformat(timespec="milliseconds")
    described = {"stream": stream, **describe_data(record.data), "record_id": record.record_id, "arrival": arrived}
    return json.dumps(described).encode() + b"\n"
