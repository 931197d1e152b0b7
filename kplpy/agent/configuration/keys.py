"""The table of all keys of agent.json: the Kinesis Agent's, and kplpy's own. docs/agent.md shows the same table."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from kplpy.agent.configuration.rules import Anything, Choice, Endpoint, Flag, Rule, Text, Whole
from kplpy.agent.settings import MIB, AgentSettings, FlowSettings

FIREHOSE_MAX_BUFFER_BYTES = 4 * MIB  # PutRecordBatch takes at most 4 MiB
_DAY_MS = 86_400_000
_JAVA_INT = (1 << 31) - 1
_PORT = r"(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_ADDRESS = rf"(?:[\w.-]+|\[[\da-fA-F:.]+\]):{_PORT}"


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    field: of AgentSettings or FlowSettings; None for a key without effect.
    rule: what the value must be.
    meaning: one sentence for the page.
    no_effect: why the key has no effect here; completes "has no effect here, because".
    own: the key is kplpy's, not the Agent's.
    kinesis_only, firehose_only: the destinations of flows for which the key means something.
    secret: the value is never shown.
    default: as the page shows it, where the field's own default does not say it.
    """

    name: str
    field: str | None
    rule: Rule
    meaning: str = ""
    no_effect: str = ""
    own: bool = False
    kinesis_only: bool = False
    firehose_only: bool = False
    secret: bool = False
    default: str | None = None


def _unused(name: str, because: str) -> Key:
    return Key(name, None, Anything(), no_effect=because)


_THREADS = "kplpy's requests are bounded by maxConnections, not by threads"
_SQLITE = "one process writes the checkpoint file, and waits for nobody"
_JAVA = "kplpy runs no Java classes: credential_process in an AWS profile names a program that prints credentials"

_AGENT_KEYS = [
    Key(
        "checkpointFile",
        "checkpoint_file",
        Text("the path of a file", r"[^\0\r\n]+[^\0\r\n/]"),
        "File of the positions. kplpy's own is beside a file that is named here, with `.kplpy` appended; the Agent's "
        "file is imported once and stays as it is.",
    ),
    Key(
        "checkpointTimeToLiveDays",
        "checkpoint_ttl_days",
        Whole(1, _JAVA_INT),
        "Positions of vanished files are kept so long.",
    ),
    _unused("checkpoints.queryTimeoutSeconds", _SQLITE),
    _unused("checkpoints.connectionTimeoutSeconds", _SQLITE),
    Key(
        "shutdownTimeoutMillis",
        "shutdown_timeout_ms",
        Whole(0, _DAY_MS, bring=True),
        "How long SIGTERM waits for what was read to be accepted.",
    ),
    _unused("maxSendingThreadsPerCore", _THREADS),
    _unused("maxSendingThreads", _THREADS),
    _unused("sendingThreadsMaxQueueSize", _THREADS),
    _unused("sendingThreadsKeepAliveMillis", _THREADS),
    Key("maxConnections", "max_connections", Whole(1, 256, bring=True), "Requests in flight at the same time."),
    Key(
        "connectionTimeoutMillis",
        "connection_timeout_ms",
        Whole(100, 300_000, bring=True),
        "Time to open one connection.",
    ),
    Key("socketTimeoutMillis", "socket_timeout_ms", Whole(100, 600_000, bring=True), "Time of one request."),
    _unused("connectionTTLMillis", "idle connections are used until the service closes them"),
    _unused("useTcpKeepAlive", "TCP keep-alive is always on"),
    _unused("useHttpGzip", "the service takes no compressed requests: `compression` compresses the records"),
    Key(
        "userAgent",
        "user_agent",
        Text("a text of printable ASCII characters", "[ -~]+"),
        "Text added to the User-Agent.",
    ),
    _unused("userAgentOverride", "the User-Agent always names kplpy: userAgent adds a text to it"),
    Key("kinesis.endpoint", "kinesis_endpoint", Endpoint(), "Host or URL of Kinesis.", default="the region's"),
    Key(
        "kinesis.region",
        "kinesis_region",
        Text("the name of a region, such as eu-west-1", "[a-z0-9-]{2,40}"),
        "Region of Kinesis.",
        default="that of the endpoint, else as boto finds it",
    ),
    Key("firehose.endpoint", "firehose_endpoint", Endpoint(), "Host or URL of Firehose.", default="the region's"),
    Key("cloudwatch.endpoint", "cloudwatch_endpoint", Endpoint(), "Host or URL of CloudWatch.", default="the region's"),
    Key("sts.endpoint", "sts_endpoint", Endpoint(), "Host or URL of STS, for assumeRoleARN.", default="the region's"),
    Key(
        "awsAccessKeyId",
        "access_key_id",
        Text(),
        "Access key, with awsSecretAccessKey.",
        default="as boto finds credentials",
    ),
    Key("awsSecretAccessKey", "secret_access_key", Text(), "Secret of awsAccessKeyId.", secret=True, default="none"),
    Key(
        "assumeRoleARN",
        "assume_role_arn",
        Text("the ARN of a role (arn:aws:iam::123456789012:role/name)", r"arn:[a-z-]+:iam::\d{12}:role/[!-~]+"),
        "Role to take, for an hour at a time, under the name AWSKinesisAgent.",
    ),
    Key(
        "assumeRoleExternalId",
        "assume_role_external_id",
        Text("2 to 1,224 of letters, digits and _ + = , . @ : / -", r"[\w+=,.@:/-]{2,1224}"),
        "External id for assumeRoleARN.",
    ),
    _unused("userDefinedCredentialsProvider.classname", _JAVA),
    _unused("userDefinedCredentialsProvider.location", _JAVA),
    Key("cloudwatch.emitMetrics", "emit_metrics", Flag(), "With metricsSink `cloudwatch`: send metrics."),
    Key(
        "cloudwatch.namespace",
        "metrics_namespace",
        Text("1 to 255 characters that do not start with AWS/", r"(?!AWS/).{1,255}"),
        "Namespace of the metrics.",
    ),
    Key(
        "cloudwatch.metricsBufferTimeMillis",
        "metrics_upload_delay_ms",
        Whole(1000, 60_000, bring=True),
        "Interval at which metrics are sent.",
    ),
    _unused("cloudwatch.metricsQueueSize", "the metrics of an interval are sums, which need no queue"),
    Key("cloudwatch.tagInstance", "tag_instance", Flag(), "Add the EC2 instance's id as a dimension of the metrics."),
    Key("log.emitMetrics", "log_emit_metrics", Flag(), "Log the metrics of each interval too."),
    _unused("log.emitInternalMetrics", "kplpy has no metrics that it keeps from the log"),
    Key(
        "log.statusReportingPeriodSeconds",
        "status_period_s",
        Whole(0, 86_400 * 365),
        "Interval of the status messages in the log. 0: none.",
    ),
    Key("flows", None, Anything("a list of objects"), "The flows, with the keys above.", default="required"),
]

_OWN_KEYS = [
    Key(
        "importCheckpointFile",
        "imported_checkpoints",
        Text("the path of a file, or an empty text for none", r"[^\0\r\n]*", empty_is_unset=False),
        'Checkpoint file of a Kinesis Agent, read once when kplpy has none yet. `""`: none.',
        own=True,
        default="checkpointFile, else /var/run/aws-kinesis-agent/checkpoints",
    ),
    Key(
        "statusSocket",
        "status_socket",
        Text("the path of a socket, at most 100 bytes", r"[^\0\r\n]{1,100}"),
        "Socket that `kplpy agent status` asks.",
        own=True,
    ),
    Key(
        "maxOpenFiles",
        "max_open_files",
        Whole(8, 1_000_000),
        "Files that are open at the same time, over all flows; the least recently written is closed first.",
        own=True,
        default="half of `ulimit -n`, at most 1,000",
    ),
    Key(
        "metricsSink",
        "metrics_sink",
        Choice(("cloudwatch", "emf", "prometheus", "opentelemetry")),
        "Where the metrics go: PutMetricData, log events in CloudWatch's embedded format, a port for Prometheus, or "
        "the MeterProvider of OpenTelemetry.",
        own=True,
    ),
    Key(
        "prometheusAddress",
        "prometheus_address",
        Text("a host name or address, a colon and a port from 1 to 65535", _ADDRESS),
        "With metricsSink `prometheus`: where `/metrics` is served.",
        own=True,
    ),
]

GLOBAL_KEYS = {key.name: key for key in (*_AGENT_KEYS, *_OWN_KEYS)}

_PATTERN = Text("a regular expression of Java", r"(?s).*")
_QUEUES = "the agent's only thread waits for what comes first: a file, a response or a due time"

FLOW_KEYS = {
    key.name: key
    for key in (
        Key(
            "filePattern",
            "file_pattern",
            Text("a path with a file name, which may be a glob", r"[^\0-\x1f]*[^\0-\x1f/\\]", empty_is_unset=False),
            "Files of the flow: `*`, `?`, `[a-z]`, `{a,b}`; `**` for directories of any depth.",
            default="required",
        ),
        Key("kinesisStream", "stream", Text(), "Name or ARN of the stream.", default="one of the two"),
        Key("deliveryStream", "stream", Text(), "Name or ARN of the delivery stream.", default="one of the two"),
        Key(
            "partitionKeyOption",
            "partition_key_option",
            Choice(("RANDOM", "DETERMINISTIC")),
            "A random partition key, or the MD5 of the record.",
            kinesis_only=True,
        ),
        Key(
            "initialPosition",
            "initial_position",
            Choice(("END_OF_FILE", "START_OF_FILE")),
            "Where reading begins in files without a checkpoint that are there at the start.",
        ),
        Key(
            "maxBufferAgeMillis",
            "max_buffer_age_ms",
            Whole(1_000, 900_000),
            "How long a record may wait for others of its request.",
        ),
        Key("maxBufferSizeRecords", "max_buffer_size_records", Whole(1, 500), "Records of one request."),
        Key(
            "maxBufferSizeBytes",
            "max_buffer_size_bytes",
            Whole(1, 5 * MIB),
            "Bytes of one request. A delivery stream takes at most 4 MiB, which is then the default too.",
        ),
        Key(
            "minTimeBetweenFilePollsMillis",
            "min_time_between_file_polls_ms",
            Whole(1, _DAY_MS, bring=True),
            "Time between two looks at a file.",
        ),
        Key(
            "maxTimeBetweenFileTrackerRefreshMillis",
            "max_time_between_file_tracker_refresh_ms",
            Whole(1, _DAY_MS, bring=True),
            "Time between two searches for files.",
        ),
        Key(
            "multiLineStartPattern",
            "multi_line_start_pattern",
            _PATTERN,
            "A record begins with a line whose beginning matches, and has all lines up to the next.",
        ),
        Key(
            "skipHeaderLines", "skip_header_lines", Whole(0, _JAVA_INT), "Lines to skip at the beginning of each file."
        ),
        Key(
            "fileFooterPattern",
            "file_footer_pattern",
            _PATTERN,
            "A record that matches as a whole ends its file, and is not sent.",
        ),
        Key(
            "truncatedRecordTerminator",
            "truncated_record_terminator",
            Text("a text shorter than a record (1,000 KiB)", r"(?s).{0,255999}", empty_is_unset=False),
            "End of a record that is cut, because it is too large for the service.",
        ),
        Key(
            "retryInitialBackoffMillis",
            "retry_initial_backoff_ms",
            Whole(1, _DAY_MS, bring=True),
            "Wait before the first retry.",
        ),
        Key(
            "retryMaxBackoffMillis",
            "retry_max_backoff_ms",
            Whole(1, _DAY_MS, bring=True),
            "Longest wait before a retry.",
        ),
        Key(
            "publishQueueCapacity",
            "publish_queue_capacity",
            Whole(1, _JAVA_INT),
            "Requests' worth of records that may be read and not yet accepted, within the agent's memory bound.",
        ),
        Key(
            "aggregatedRecordSizeBytes",
            "aggregated_record_size_bytes",
            Whole(0, 1_024_000),
            "Join lines into records of at most this size. 0: each line is a record.",
            firehose_only=True,
        ),
        Key(
            "dataProcessingOptions",
            "processing",
            Anything("a list of objects"),
            "Processors of each record, in their order.",
            default="none",
        ),
        _unused("waitOnFullPublishQueueMillis", _QUEUES),
        _unused("waitOnEmptyPublishQueueMillis", _QUEUES),
        _unused("waitOnFullRetryQueueMillis", _QUEUES),
        Key(
            "aggregation",
            "aggregation",
            Flag(),
            "Send many lines in one Kinesis record, in the KPL's format. Consumers must deaggregate.",
            own=True,
            kinesis_only=True,
        ),
        Key(
            "compression",
            "compression",
            Choice(("none", "gzip", "zstd")),
            "Compress batches, in kplpy's format. Consumers must read it.",
            own=True,
            kinesis_only=True,
        ),
        Key(
            "partitionKey",
            "partition_key",
            Text("a partition key of 1 to 256 characters", r"[^\ud800-\udfff]{1,256}", empty_is_unset=False),
            "One partition key for all records.",
            own=True,
            kinesis_only=True,
        ),
        Key(
            "partitionKeyField",
            "partition_key_field",
            Text("the name of a field", r"(?s).+", empty_is_unset=False),
            "Field of each JSON record whose value is its partition key.",
            own=True,
            kinesis_only=True,
        ),
        Key(
            "partitionKeyPattern",
            "partition_key_pattern",
            Text("a regular expression of Java", r"(?s).+", empty_is_unset=False),
            "Regular expression; its first group in a record is the partition key.",
            own=True,
            kinesis_only=True,
        ),
        Key(
            "ordered",
            "ordered",
            Flag(),
            "Keep the order of records with the same partition key, through retries.",
            own=True,
            kinesis_only=True,
        ),
        Key(
            "joinBeforeProcessing",
            "join_before_processing",
            Flag(),
            "Join lines (aggregatedRecordSizeBytes) before the processors run, as the Agent does.",
            own=True,
            firehose_only=True,
        ),
    )
}

_DEFAULTS: dict[str, Any] = {each.name: each.default for each in (*fields(AgentSettings), *fields(FlowSettings))}


def default_of(key: Key) -> Any:
    """Return the default of the key's field."""
    return _DEFAULTS[key.field] if key.field is not None else None
