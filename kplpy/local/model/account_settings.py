"""DescribeLimits, DescribeAccountSettings and UpdateAccountSettings, and the quotas of the account."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kplpy.local.model.account import Account, Params, Response
from kplpy.local.model.errors import over_limit
from kplpy.local.model.stream import ON_DEMAND, PROVISIONED

_NO_LIMIT = 1_000_000  # the highest value that the API's model allows


def open_shards(account: Account) -> int:
    """Return the number of open shards of provisioned streams, which the quota counts."""
    return sum(len(each.open) for each in account.streams.values() if each.mode == PROVISIONED)


def on_demand_streams(account: Account) -> int:
    return sum(each.mode == ON_DEMAND for each in account.streams.values())


def check_quotas(account: Account, mode: str, shards: int) -> None:
    """Raise LimitExceededException if `shards` more shards, or one more on-demand stream, exceed a quota."""
    if mode == ON_DEMAND:
        most = account.limits.on_demand_streams
        if most is not None and on_demand_streams(account) >= most:
            raise over_limit(f"This request would exceed the limit of {most} On-Demand streams for the account.")
        return
    most, used = account.limits.account_shards, open_shards(account)
    if most is not None and shards > 0 and used + shards > most:
        raise over_limit(
            f"This request would exceed the shard limit for the account {account.number} in {account.region}. Current "
            f"shard count for the account: {used}. Limit: {most}. Number of additional shards that would have resulted "
            f"from this request: {shards}."
        )


def _describe_limits(account: Account, params: Params, now: float) -> Response:
    for each in list(account.streams.values()):
        each.apply_changes(now)
    return {
        "ShardLimit": account.limits.account_shards or _NO_LIMIT,
        "OpenShardCount": open_shards(account),
        "OnDemandStreamCount": on_demand_streams(account),
        "OnDemandStreamCountLimit": account.limits.on_demand_streams or _NO_LIMIT,
        "ChannelCount": len(account.channels),
    }


def _describe(account: Account, params: Params, now: float) -> Response:
    return {"MinimumThroughputBillingCommitment": account.commitment.describe(now)}


def _update(account: Account, params: Params, now: float) -> Response:
    account.commitment.update(params["MinimumThroughputBillingCommitment"]["Status"], now)
    return _describe(account, params, now)


OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    "DescribeLimits": _describe_limits,
    "DescribeAccountSettings": _describe,
    "UpdateAccountSettings": _update,
}

READ_ONLY_OPERATIONS = frozenset({"DescribeLimits", "DescribeAccountSettings"})
