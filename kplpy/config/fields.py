"""ConfigFields: the fields of Config as keywords, for type checkers and editors only.

Nothing imports this module at run time. tests/unit/config/test_options.py checks that it equals Config.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from kplpy.config.streams import StreamOptions

if TYPE_CHECKING:
    import boto3
    import botocore.config
    import botocore.session

    from kplpy.config.rules import MetricsSink
    from kplpy.errors import RecordFailedError


class ConfigFields(StreamOptions, total=False):
    """The keywords of Producer(...), Config.from_properties(...) and KinesisHandler(...). See Config."""

    region_name: str | None
    endpoint_url: str | None
    verify: bool | str | None
    session: boto3.Session | botocore.session.Session | None
    botocore_config: botocore.config.Config | None
    proxy_host: str | None
    proxy_port: int
    proxy_user_name: str | None
    proxy_password: str | None
    request_format: Literal["json", "cbor"]
    collection_max_count: int
    collection_max_size: int
    connect_timeout_ms: int
    request_timeout_ms: int
    streams: Mapping[str, StreamOptions] | None
    max_connections: int
    max_buffered_records: int
    max_buffered_bytes: int
    max_inflight_bytes: int
    on_buffer_full: Literal["block", "raise"] | None
    max_block_ms: int
    close_timeout_ms: int
    spool: str | os.PathLike[str] | None
    spool_sync_ms: int
    spool_max_bytes: int
    spool_on_full: Literal["block", "raise", "drop_oldest"]
    spool_on_error: Literal["raise", "memory"]
    spool_ttl_ms: int | None
    on_failure: Callable[[RecordFailedError], object] | None
    tracing: Literal["opentelemetry"] | None
    hot_partition_keys: int
    metrics_sink: Literal["cloudwatch", "emf", "prometheus", "opentelemetry"] | MetricsSink | None
    stats_path: str | None
    cloudwatch_endpoint_url: str | None
    metrics_session: boto3.Session | botocore.session.Session | None
    metrics_level: Literal["none", "summary", "detailed"]
    metrics_granularity: Literal["global", "stream", "shard"]
    metrics_namespace: str
    additional_metrics_dimensions: tuple[tuple[str, str, Literal["global", "stream", "shard"]], ...]
    metrics_upload_delay_ms: int
