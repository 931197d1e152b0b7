"""All operations of Kinesis except those on records: one table for the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kplpy.local.model import (
    account_settings,
    channel_operations,
    consumer_operations,
    policies,
    queue_operations,
    shard_operations,
    stream_settings,
    streams,
    tags,
)
from kplpy.local.model.account import Account, Params, Response

OPERATIONS: Mapping[str, Callable[[Account, Params, float], Response]] = {
    **streams.OPERATIONS,
    **shard_operations.OPERATIONS,
    **consumer_operations.OPERATIONS,
    **stream_settings.OPERATIONS,
    **account_settings.OPERATIONS,
    **tags.OPERATIONS,
    **policies.OPERATIONS,
    **queue_operations.OPERATIONS,
    **channel_operations.OPERATIONS,
}

READ_ONLY_OPERATIONS = (
    streams.READ_ONLY_OPERATIONS
    | shard_operations.READ_ONLY_OPERATIONS
    | consumer_operations.READ_ONLY_OPERATIONS
    | account_settings.READ_ONLY_OPERATIONS
    | tags.READ_ONLY_OPERATIONS
    | policies.READ_ONLY_OPERATIONS
    | queue_operations.READ_ONLY_OPERATIONS
    | channel_operations.READ_ONLY_OPERATIONS
)
"""The OPERATIONS that change nothing, so the journal does not keep them."""
