"""CreateQueue, UpdateQueue, DeleteQueue, DescribeQueue and ListQueues."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kplpy.local.model.account import Account, Params, Response
from kplpy.local.model.errors import in_use, invalid_argument, validation
from kplpy.local.model.pages import page
from kplpy.local.model.queue import Queue, Start, generated_id
from kplpy.local.model.resharding import require_active
from kplpy.local.model.stream import ON_DEMAND, Stream
from kplpy.local.model.tags import checked_tags


def _create(account: Account, params: Params, now: float) -> Response:
    name, configurations = params["QueueName"], params["StreamConfigurationList"]
    if len(configurations) != 1:
        raise validation(f"StreamConfigurationList must have exactly one entry; it has {len(configurations)}.")
    stream = account.stream(configurations[0], now)
    require_active(stream, account.number)
    if stream.mode != ON_DEMAND:
        raise invalid_argument("Queues are supported only on data streams in On-Demand mode.")
    start = _start(stream, configurations[0].get("StartingPosition") or {"Type": "LATEST"}, now)
    tags = checked_tags(params.get("Tags"))
    account.check_consumers(stream, now)
    if any(each.name == name for each in account.all_of(account.queues, now)):
        raise in_use(f"Queue {name} under account {account.number} already exists.")
    last_part = generated_id((stream.arn, stream.created, name, now), account.queues)
    arn = f"arn:aws:kinesis:{account.region}:{account.number}:queue/{last_part}"
    queue = Queue(name, stream, arn, now, start)
    _set_attributes(queue, params.get("QueueAttributes") or {})
    queue.tags = tags
    account.queues[queue.id] = queue
    described = {"QueueDescription": queue.describe(now)}
    queue.schedule(now + account.phases.creating, lambda _: queue.set_status("ACTIVE"))
    queue.apply_changes(now)
    return described


def _start(stream: Stream, position: Params, now: float) -> Start:
    kind, moment = position["Type"], position.get("Timestamp")
    if (kind == "AT_TIMESTAMP") != (moment is not None):
        raise validation("StartingPosition has a Timestamp if its Type is AT_TIMESTAMP, and only then.")
    if moment is not None and moment > now:
        raise validation("The Timestamp of StartingPosition is in the future.")
    count = stream.count + 1 if kind == "LATEST" else 1
    return Start(kind, count, float("-inf") if moment is None else moment)


def _set_attributes(queue: Queue, attributes: Params) -> None:
    """Set the attributes that are given; raise ValidationException, and change nothing, if they contradict."""
    dead = attributes.get("DeadLetterConfiguration")
    if dead is not None and dead["TargetType"] == "BUILT_IN" and dead.get("MaxReceiveCount") is None:
        raise validation("MaxReceiveCount is required when TargetType is BUILT_IN.")
    if dead is not None:
        queue.most_receives = dead["MaxReceiveCount"] if dead["TargetType"] == "BUILT_IN" else None
    if attributes.get("VisibilityTimeoutSeconds") is not None:
        queue.visibility = attributes["VisibilityTimeoutSeconds"]


def _update(account: Account, params: Params, now: float) -> Response:
    queue = account.queue(params["QueueARN"], now)
    if queue.status != "ACTIVE":
        raise in_use(f"Queue {queue.arn} under account {account.number} not ACTIVE, instead in state {queue.status}")
    queue.settle(now)
    _set_attributes(queue, params["QueueAttributes"])
    queue.set_status("UPDATING")
    described = {"QueueDescription": queue.describe(now)}
    queue.update(now, account.phases.updating)
    return described


def _delete(account: Account, params: Params, now: float) -> Response:
    queue = account.queue(params["QueueARN"], now)
    if queue.status != "DELETING":
        queue.delete(now, account.phases.deleting, lambda _: account.queues.__delitem__(queue.id))
    return {}


def _describe(account: Account, params: Params, now: float) -> Response:
    return {"QueueDescription": account.queue(params["QueueARN"], now).describe(now)}


def _list(account: Account, params: Params, now: float) -> Response:
    wanted = params.get("StreamFilter")
    queues = {
        each.name: each for each in account.all_of(account.queues, now) if wanted is None or is_of(each.stream, wanted)
    }
    shown, token = page("queues", queues, params, now)
    return {"QueueSummaries": [each.summary() for each in shown], **token}


def is_of(stream: Stream, filters: list[Params]) -> bool:
    """Return True if a stream is one of those that a StreamFilter names."""
    return any(
        each["StreamARN"] == stream.arn
        and int(each.get("StreamCreationTimestamp") or stream.created) == int(stream.created)
        for each in filters
    )


OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    "CreateQueue": _create,
    "UpdateQueue": _update,
    "DeleteQueue": _delete,
    "DescribeQueue": _describe,
    "ListQueues": _list,
}

READ_ONLY_OPERATIONS = frozenset({"DescribeQueue", "ListQueues"})
