"""One delivery stream of Firehose: its status, its limits, and the records that it holds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from operator import attrgetter
from typing import Any

from kplpy.local.model.errors import ServiceError
from kplpy.local.model.faults import Fault
from kplpy.local.model.limits import CallRate, Limits, WriteRate, write_rate
from kplpy.local.model.stream import ScheduledChanges

RETENTION_SECONDS = 24 * 3600
SLOW_DOWN = "Slow down."
"""The service's text for a request or a record above the throughput quota."""


@dataclass(slots=True)
class DeliveryRecord:
    """A record in a delivery stream.

    number: its place in the order of acceptance, from 1
    arrived: epoch seconds
    request: the model's running number of the record's request
    """

    number: int
    arrived: float
    data: bytes
    request: int


class DeliveryStream(ScheduledChanges):
    """A delivery stream and the records that it accepted.

    The model delivers to no destination: the records stay here to be read.

    kind: DirectPut or KinesisStreamAsSource
    settings: the members of CreateDeliveryStream
    count: records accepted so far
    held_bytes: size of the records that are held
    """

    def __init__(
        self, name: str, arn: str, now: float, incarnation: int, limits: Limits, settings: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.name, self.arn = name, arn
        self.created = now
        self.incarnation = incarnation
        self.settings = settings
        self.kind = settings.get("DeliveryStreamType") or "DirectPut"
        self.count = 0
        self.held_bytes = 0
        self.records: list[DeliveryRecord] = []
        self._next_trim_at = 0.0
        # The time and not the incarnation, which a rewritten journal counts without deleted streams.
        self._id_start = md5(f"{arn}/{now}".encode(), usedforsecurity=False).hexdigest()
        rates = (limits.firehose_records_per_second, limits.firehose_bytes_per_second)
        self._write_rate: WriteRate | None = write_rate(*rates, limits.rate_form, now, 0.0)
        requests = limits.firehose_requests_per_second
        self._request_rate = CallRate(requests, now) if requests is not None else None

    def record_id(self, number: int) -> str:
        """Return the RecordId of the record with this number."""
        return f"{self._id_start}{number:020d}"

    def charge_request(self, now: float) -> None:
        """Charge one request to the quota; raise ServiceUnavailableException above it."""
        if self._request_rate is not None and not self._request_rate.take(now):
            raise ServiceError("ServiceUnavailableException", SLOW_DOWN, 503)

    def apply_limits(
        self, records: Sequence[bytes], now: float, request: int, fault: Fault | None
    ) -> tuple[list[dict[str, str]], list[DeliveryRecord]]:
        """Accept or refuse each record by the quota and the fault.

        Returns the response's entries, and the accepted records for store_records(). Charges the quota and changes
        nothing else.
        """
        entries = []
        accepted = []
        number = self.count
        for position, data in enumerate(records):
            if fault is not None and fault.fails_entry(position, ""):
                entries.append(_refusal(fault.entry_code or "", fault.message))
            elif self._write_rate is not None and not self._write_rate.take(len(data), now):
                entries.append(_refusal("ServiceUnavailableException", ""))
            else:
                number += 1
                accepted.append(DeliveryRecord(number, now, data, request))
                entries.append({"RecordId": self.record_id(number)})
        return entries, accepted

    def store_records(self, accepted: Sequence[DeliveryRecord], store: bool) -> None:
        """Add the records that apply_limits() accepted; without `store`, only count them."""
        self.count += len(accepted)
        if store:
            self.records += accepted
            self.held_bytes += sum(len(each.data) for each in accepted)

    def since(self, number: int) -> list[DeliveryRecord]:
        """Return the held records after the one with this number, in the order of acceptance."""
        return self.records[bisect_left(self.records, number + 1, key=_number) :]

    def trim(self, now: float) -> int:
        """Drop records older than 24 hours; return the bytes dropped.

        Does nothing if the last trim was less than a minute ago, by `now`.
        """
        if now < self._next_trim_at:
            return 0
        self._next_trim_at = now + 60
        return self._drop(bisect_left(self.records, now - RETENTION_SECONDS, key=_arrived))

    def trim_to(self, size: int) -> int:
        """Drop the oldest records until at most `size` bytes are held; return the bytes dropped."""
        freed = position = 0
        while self.held_bytes - freed > size:
            freed += len(self.records[position].data)
            position += 1
        return self._drop(position)

    def _drop(self, position: int) -> int:
        freed = sum(len(each.data) for each in self.records[:position])
        del self.records[:position]
        self.held_bytes -= freed
        return freed


_number = attrgetter("number")
_arrived = attrgetter("arrived")


def _refusal(code: str, message: str) -> dict[str, str]:
    default = "Internal service failure." if code == "InternalFailure" else SLOW_DOWN
    return {"ErrorCode": code, "ErrorMessage": message or default}
