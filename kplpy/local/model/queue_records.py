"""The operations on the records of queues: receive, acknowledge, change the visibility, restore.

Each returns the changes of received records, which the model journals and applies, and the response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kplpy.local.model.errors import ServiceError, invalid_argument, not_found
from kplpy.local.model.queue import DEAD, GONE, LIVE, Delivery, Queue
from kplpy.local.model.sequence import pack_token, unpack_token
from kplpy.local.model.shard import Record

Params = Mapping[str, Any]
Change = Callable[[Delivery, Params, float], Delivery]
Result = tuple[list[Delivery], dict[str, Any]]

MAX_RECEIVED = 10


def _receive(queue: Queue, params: Params, now: float) -> Result:
    return _received(queue, params, now, queue.visible(now, params.get("Limit") or MAX_RECEIVED))


def _receive_dead(queue: Queue, params: Params, now: float) -> Result:
    return _received(queue, params, now, queue.visible_dead(now, params.get("Limit") or MAX_RECEIVED))


def _received(queue: Queue, params: Params, now: float, found: list[tuple[Delivery, Record]]) -> Result:
    seconds = params.get("VisibilityTimeoutSeconds")
    until = now + (queue.visibility if seconds is None else seconds)
    changes, records = [], []
    for each, record in found:
        delivery = replace(each, receives=each.receives + 1, visible_at=until, version=each.version + 1)
        changes.append(delivery)
        records.append(_describe(queue, delivery, record))
    return changes, {"QueueRecords": records}


def _describe(queue: Queue, delivery: Delivery, record: Record) -> dict[str, Any]:
    described: dict[str, Any] = {
        "ReceiptHandle": pack_token("receipt", queue.id, delivery.count, delivery.version),
        "RecordId": f"{record.number:x}",
        "Data": record.data,
        "ApproximateArrivalTimestamp": round(record.arrived, 3),
        "FirstReceiveTimestamp": round(delivery.first, 3),
        "ReceiveCount": delivery.receives,
    }
    if record.key is not None:
        described["PartitionKey"] = record.key
    return described


def _acknowledged(delivery: Delivery, entry: Params, now: float) -> Delivery:
    return replace(delivery, version=delivery.version + 1, place=GONE)


def _hidden(delivery: Delivery, entry: Params, now: float) -> Delivery:
    """Change the visibility. The receipt handle stays valid, so the version stays too."""
    return replace(delivery, visible_at=now + entry["VisibilityTimeoutSeconds"])


def _restored(delivery: Delivery, entry: Params, now: float) -> Delivery:
    return replace(delivery, receives=0, visible_at=now, version=delivery.version + 1, place=LIVE)


def _change_each(queue: Queue, params: Params, now: float, place: int, change: Change) -> Result:
    """Change the records that the entries' receipt handles name, each by itself."""
    queue.settle(now)
    changes: dict[int, Delivery] = {}
    succeeded: list[dict[str, str]] = []
    failed: list[dict[str, str]] = []
    for entry in params["Entries"]:
        handle = entry["ReceiptHandle"]
        try:
            delivery = _named(queue, handle, place)
            if delivery.count in changes:
                raise not_found("An earlier entry of this request has the same receipt handle.")
        except ServiceError as error:
            failed.append({"ReceiptHandle": handle, "ErrorCode": error.code, "ErrorMessage": error.message})
        else:
            changes[delivery.count] = change(delivery, entry, now)
            succeeded.append({"ReceiptHandle": handle})
    return list(changes.values()), {"Successful": succeeded, "Failed": failed}


def _named(queue: Queue, handle: str, place: int) -> Delivery:
    """Return the received record that a receipt handle names."""
    parts = unpack_token("receipt", handle, 3)
    if parts is None or parts[0] != queue.id:
        raise invalid_argument("The receipt handle is not one of this queue.")
    delivery = queue.current(int(parts[1]), int(parts[2]))
    if delivery is None:
        raise not_found("The record was acknowledged, restored, or received again since, so the handle is not valid.")
    if delivery.place != place:
        raise not_found("The record is a dead letter." if delivery.place == DEAD else "The record is no dead letter.")
    return delivery


def _on_each(place: int, change: Change) -> Callable[[Queue, Params, float], Result]:
    return lambda queue, params, now: _change_each(queue, params, now, place, change)


OPERATIONS: Mapping[str, Callable[[Queue, Params, float], Result]] = {
    "ReceiveQueueRecords": _receive,
    "AcknowledgeQueueRecords": _on_each(LIVE, _acknowledged),
    "UpdateQueueRecordsVisibility": _on_each(LIVE, _hidden),
    "ReceiveDeadLetterQueueRecords": _receive_dead,
    "AcknowledgeDeadLetterQueueRecords": _on_each(DEAD, _acknowledged),
    "UpdateDeadLetterQueueRecordsVisibility": _on_each(DEAD, _hidden),
    "RestoreDeadLetterQueueRecords": _on_each(DEAD, _restored),
}

WAITING = frozenset({"ReceiveQueueRecords", "ReceiveDeadLetterQueueRecords"})
"""The OPERATIONS that wait for a record. The model does not wait: its caller asks again until there is one."""
WAIT_SECONDS = 9
"""How long they wait without WaitTimeSeconds."""
