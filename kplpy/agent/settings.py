"""What an agent.json says, checked: the settings of the agent and of its flows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from kplpy.config.rules import DELIVERY_RECORD_BYTES

MIB = 1 << 20
LONGEST = {"kinesis": MIB, "firehose": DELIVERY_RECORD_BYTES}
"""Bytes of the largest record of each service: with Kinesis, data and partition key."""
AGREEING = ("aggregation", "compression", "ordered")
"""Keys, and fields, in which all flows to one stream must agree."""


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """One flow: the files of one pattern, and where their records go. Keys not named here are the agent.json's own.

    id: "kinesis:<stream>:<directory>/<glob>" or "fh:<delivery stream>:<directory>/<glob>", the key of checkpoints.
    destination: the service.
    stream: name or ARN of the stream or delivery stream.
    processing: dataProcessingOptions, a list of objects; checked by the processors.
    """

    id: str
    file_pattern: str
    destination: Literal["kinesis", "firehose"]
    stream: str
    partition_key_option: Literal["RANDOM", "DETERMINISTIC"] = "RANDOM"
    partition_key: str | None = None
    partition_key_field: str | None = None
    partition_key_pattern: str | None = None
    aggregation: bool = False
    compression: Literal["none", "gzip", "zstd"] = "none"
    ordered: bool = False
    join_before_processing: bool = False
    initial_position: Literal["END_OF_FILE", "START_OF_FILE"] = "END_OF_FILE"
    max_buffer_age_ms: int = 60_000
    max_buffer_size_records: int = 500
    max_buffer_size_bytes: int = 5 * MIB
    min_time_between_file_polls_ms: int = 100
    max_time_between_file_tracker_refresh_ms: int = 10_000
    multi_line_start_pattern: str | None = None
    skip_header_lines: int = 0
    file_footer_pattern: str | None = None
    truncated_record_terminator: bytes = b"\n"
    retry_initial_backoff_ms: int = 100
    retry_max_backoff_ms: int = 10_000
    publish_queue_capacity: int = 100
    aggregated_record_size_bytes: int = 0
    processing: tuple[dict[str, Any], ...] = ()

    @property
    def joined_record_size(self) -> int:
        """Bytes up to which processed lines are joined for Firehose. 0: not at all, as for records of several lines."""
        if self.destination == "kinesis" or self.multi_line_start_pattern is not None or self.join_before_processing:
            return 0
        return self.aggregated_record_size_bytes


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The settings of the whole agent.

    checkpoint_file: where positions are kept; kplpy's own default is under /var/lib/kplpy.
    imported_checkpoints: a Kinesis Agent's checkpoint file, read once when checkpoint_file is new.
    kinesis_region, firehose_region: the key's, else that of the endpoint's host name, else None: as boto finds it.
    max_open_files: bound of the files that are open over all flows. None: by the process's limit of descriptors.
    warnings: what --check and the start report: unknown, misplaced and misspelt keys, and the like.
    """

    flows: tuple[FlowSettings, ...]
    checkpoint_file: str = "/var/lib/kplpy/agent/checkpoints.db"
    imported_checkpoints: str | None = "/var/run/aws-kinesis-agent/checkpoints"
    checkpoint_ttl_days: int = 7
    shutdown_timeout_ms: int = 10_000
    max_connections: int = 24
    connection_timeout_ms: int = 10_000
    socket_timeout_ms: int = 50_000
    kinesis_endpoint: str | None = None
    kinesis_region: str | None = None
    firehose_endpoint: str | None = None
    firehose_region: str | None = None
    cloudwatch_endpoint: str | None = None
    sts_endpoint: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    assume_role_arn: str | None = None
    assume_role_external_id: str | None = None
    user_agent: str | None = None
    metrics_sink: Literal["cloudwatch", "emf", "prometheus", "opentelemetry"] = "cloudwatch"
    prometheus_address: str = "127.0.0.1:9464"
    emit_metrics: bool = True
    metrics_namespace: str = "AWSKinesisAgent"
    metrics_upload_delay_ms: int = 30_000
    tag_instance: bool = False
    log_emit_metrics: bool = False
    status_period_s: int = 30
    status_socket: str = "/var/lib/kplpy/agent/status.sock"
    max_open_files: int | None = None
    warnings: tuple[str, ...] = ()
