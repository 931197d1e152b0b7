"""RegisterStreamConsumer, DeregisterStreamConsumer, DescribeStreamConsumer and ListStreamConsumers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kplpy.local.model.account import Account, Params, Response
from kplpy.local.model.resharding import require_active
from kplpy.local.model.tags import checked_tags


def _register(account: Account, params: Params, now: float) -> Response:
    stream = account.stream(params, now)
    require_active(stream, account.number)
    tags = checked_tags(params.get("Tags"))
    if params["ConsumerName"] not in account.consumers.of(stream):
        account.check_consumers(stream, now)
    return account.consumers.register(stream, params, now, tags)


def _deregister(account: Account, params: Params, now: float) -> Response:
    return account.consumers.deregister(account.stream(params, now), params)


def _describe(account: Account, params: Params, now: float) -> Response:
    return account.consumers.describe(account.stream(params, now), params)


def _list(account: Account, params: Params, now: float) -> Response:
    return account.consumers.list(account.stream(params, now), params, now)


OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    "RegisterStreamConsumer": _register,
    "DeregisterStreamConsumer": _deregister,
    "DescribeStreamConsumer": _describe,
    "ListStreamConsumers": _list,
}

READ_ONLY_OPERATIONS = frozenset({"DescribeStreamConsumer", "ListStreamConsumers"})
