"""Config: every option with its meaning, unit, default and bounds."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from kplpy.config.rules import (
    GRANULARITIES,
    GZIP_LEVELS,
    MIB,
    REQUEST_MAX_BYTES,
    REQUEST_MAX_RECORDS,
    MetricsSink,
    check,
    choice,
    flag,
    number,
    safe_repr,
    text,
)
from kplpy.config.streams import StreamOptions, as_dicts, check_streams, options_of
from kplpy.errors import ConfigError, NotPicklableError, RecordFailedError
from kplpy.stream_names import parse_stream

if TYPE_CHECKING:
    import boto3
    import botocore.config
    import botocore.session
    from typing_extensions import Unpack

    from kplpy.config.fields import ConfigFields

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, repr=False)
class Config:
    """The options of a Producer. A bad value raises ConfigError.

    Times are in milliseconds (`_ms`), sizes in bytes.

    The KPL's options have the KPL's names in snake case, its defaults and its bounds, with two exceptions. rate_limit
    is 100 instead of 150, so that one process alone is not throttled. The metrics are coarser by default, because the
    KPL's default costs hundreds of dollars a month on a large stream.
    """

    # --- connection ---
    region_name: str | None = text()
    """AWS region. None: as boto finds it (session, environment, profile), then AWS_REGION."""
    endpoint_url: str | None = text()
    """URL of Kinesis. None: AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL or the profile's, else the region's endpoint."""
    verify: bool | str | None = field(default=None, metadata={"verify": True})
    """TLS verification: the path of a CA bundle, or False to switch it off. None: boto's default."""
    session: boto3.Session | botocore.session.Session | None = field(default=None, repr=False)
    """A boto3 or botocore session with the credentials, which botocore keeps refreshing. None: the default chain."""
    botocore_config: botocore.config.Config | None = field(default=None, repr=False)
    """A botocore Config for the client. kplpy sets its retries, timeouts and pool size."""
    proxy_host: str | None = text()
    """Host of an HTTP proxy. None: the environment's (HTTPS_PROXY), as botocore reads it."""
    proxy_port: int = number(443, 1, 65535)
    """Port of proxy_host."""
    proxy_user_name: str | None = text()
    """User name for proxy_host."""
    proxy_password: str | None = field(default=None, repr=False, metadata={"text": True})
    """Password for proxy_host. It is not part of the repr."""

    request_format: Literal["json", "cbor"] = choice("json", "json", "cbor")
    """Format of PutRecords requests: JSON, as botocore writes it, or CBOR, as the AWS SDK for Java does. CBOR holds the
    data without base64, which is faster for large records. It needs the extra `cbor`. When an endpoint answers that it
    does not know CBOR, kplpy sends JSON."""

    # --- batching ---
    aggregation_enabled: bool = flag(True)
    """Pack user records into aggregated Kinesis records."""
    aggregation_max_count: int = number(4294967295, 1)
    """User records in one aggregate. kplpy never packs more than 262,144, the limit of deaggregate()."""
    aggregation_max_size: int = number(51200, 64, REQUEST_MAX_BYTES)
    """Bytes of one aggregate. A larger record is sent as a Kinesis record of its own."""
    aggregate_partition_key: Literal["a", "first"] = choice("a", "a", "first")
    """Partition key of an aggregate: "a", as in the KPL, or its first record's own key. With "first" Lambda can spread
    one shard's records over its parallelization factor."""
    aggregate_single_records: bool = flag(False)
    """Send a record that is alone in its batch as an aggregate of one, for readers that take every record for an
    aggregate (docs/readers.md). Not on an AUTO stream."""
    collection_max_count: int = number(REQUEST_MAX_RECORDS, 1, REQUEST_MAX_RECORDS)
    """Kinesis records in one PutRecords request."""
    collection_max_size: int = number(5 * MIB, 52224, REQUEST_MAX_BYTES)
    """Bytes of one PutRecords request: data and partition keys. A larger record is sent in a request of its own."""
    max_user_record_size: int = number(MIB, 64, REQUEST_MAX_BYTES)
    """Bytes of the largest record accepted: data and UTF-8 partition key, or with headers the aggregate that holds it.
    A record above the stream's own MaxRecordSizeInKiB fails with RejectedError before it is sent, if kplpy may call
    DescribeStreamSummary."""

    assume_distribution_strategy: Literal["USER_PARTITION_KEY", "AUTO"] | None = choice(
        None, None, "USER_PARTITION_KEY", "AUTO"
    )
    """The streams' RecordDistributionStrategy, used when the permission kinesis:DescribeStreamSummary is missing. On an
    AUTO stream nothing is aggregated, except with compression. None: USER_PARTITION_KEY, with one warning a stream."""

    # --- compression ---
    compression: Literal["none", "gzip", "zstd"] = choice("none", "none", "gzip", "zstd")
    """Compress each batch of a shard as a whole, in a format that deaggregate() and kplpy's decoders read
    (docs/compression.md). "zstd" needs the extra `zstd`, except on Python 3.14 and later."""
    compression_level: int | None = number(None, 1, 19, optional=True)
    """Level of the codec: 1 to 9 for gzip, 1 to 19 for zstd. None: 1, the fastest."""
    compression_min_size: int = number(1024, 1, REQUEST_MAX_BYTES)
    """A Kinesis record with less data than this is sent uncompressed. A shard takes 1,000 records/s and 1 MiB/s, so it
    gains nothing from making records below 1 KiB smaller."""

    # --- time ---
    record_max_buffered_time_ms: int = number(100, 0)
    """Linger: how long a record may wait for others of its batch before it is sent."""
    record_ttl_ms: int | None = number(30000, 100, optional=True)
    """A record that is not delivered within this time fails with RecordExpiredError. None: never."""
    user_record_timeout_ms: int = number(0, 0)
    """As record_ttl_ms, but also while a request with the record is in flight. 0: off."""
    connect_timeout_ms: int = number(6000, 100, 300000)
    """Time to open one connection."""
    request_timeout_ms: int = number(6000, 100, 600000)
    """Time of one PutRecords request, from sending to the response."""

    # --- order ---
    ordered: bool = flag(False)
    """Keep the order of the put_record calls for each partition key, through throttling, retries and reshards. One
    Kinesis record is then in flight for each shard. docs/order.md has the exact promise and its cost."""

    # --- serializers ---
    value_serializer: Callable[[Any], bytes] | None = field(
        default=None, repr=False, metadata={"call": " (a function such as kplpy.serializers.json)"}
    )
    """Called with the data of every put; returns bytes. kplpy.serializers has json and string. None: the data are
    bytes. See docs/serializers.md."""
    key_serializer: Callable[[Any], str] | None = field(
        default=None, repr=False, metadata={"call": " (a function such as str)"}
    )
    """Called with the partition key of every put that has one; returns a str. None: the keys are str."""

    # --- single streams ---
    streams: Mapping[str, StreamOptions] | None = field(default=None, hash=False)
    """Options of single streams, by name or ARN, which win over the producer's: {"orders": {"ordered": True}}. A copy
    is kept, which cannot be changed."""

    # --- limits ---
    rate_limit: int = number(100, 1)
    """Percent of each shard's limits (1000 records/s, 1 MiB/s) that this producer may use."""
    fail_if_throttled: bool = flag(False)
    """A throttled record fails at once with ThrottledError."""
    max_connections: int = number(24, 1, 256)
    """Requests in flight at the same time."""

    # --- buffer ---
    max_buffered_records: int = number(100_000, 1)
    """Buffer size in records: accepted, and not yet delivered or failed."""
    max_buffered_bytes: int = number(64 * MIB, 1024)
    """Buffer size in bytes: data, partition key, headers and 400 bytes for each record. Threads that put at the same
    moment can together pass it, and max_buffered_records, by a few records."""
    max_inflight_bytes: int = number(32 * MIB, 1)
    """Bytes of all requests in flight. A larger request is sent alone."""
    on_buffer_full: Literal["block", "raise"] | None = choice(None, None, "block", "raise")
    """What put_record does when the buffer is full. None: block, but raise BufferFullError inside a running event
    loop."""
    max_block_ms: int = number(60_000, 0)
    """How long put_record blocks on a full buffer before it raises BufferFullError."""
    close_timeout_ms: int = number(30_000, 0)
    """How long close() and the interpreter's exit go on delivering. Records that are left then fail."""

    # --- spool ---
    spool: str | os.PathLike[str] | None = field(default=None, metadata={"path": True})
    """Directory in which records are kept from the put to their outcome, so that they survive a crash of the process
    or the machine, and an outage that is longer than the buffer. It is made if it is missing. None: no spool. See
    docs/spool.md."""
    spool_sync_ms: int = number(10, 0, 60_000)
    """How long records may wait to be written and synced together. 0: each put returns once its record is on disk."""
    spool_max_bytes: int = number(1 << 30, MIB)
    """Bytes of the records in the spool, of this process. The file is some percent larger."""
    spool_on_full: Literal["block", "raise", "drop_oldest"] = choice("block", "block", "raise", "drop_oldest")
    """What happens at spool_max_bytes. "block": records wait in the buffer, and on_buffer_full decides once that is
    full. "raise": put_record raises SpoolFullError. "drop_oldest": the oldest records that are not in memory fail with
    RecordFailedError."""
    spool_on_error: Literal["raise", "memory"] = choice("raise", "raise", "memory")
    """What happens when the disk fails or is full. "raise": put_record raises SpoolError. "memory": puts go on without
    the spool. In both cases the records accepted before are sent from memory. With "raise" and spool_sync_ms=0 they
    are refused."""
    spool_ttl_ms: int | None = number(None, 100, optional=True)
    """Takes the place of record_ttl_ms with a spool: a record that is not delivered within this time fails. The time
    begins with the put, and goes on while no process runs. None: records are kept until they are delivered."""

    # --- failures and metrics ---
    on_failure: Callable[[RecordFailedError], object] | None = field(default=None, repr=False, metadata={"call": ""})
    """Called with the error of every failed record, on one of kplpy's threads or on the thread that calls close().
    DeadLetterFile and DeadLetterStream of kplpy.dead_letters are two such functions."""
    tracing: Literal["opentelemetry"] | None = choice(None, None, "opentelemetry")
    """Make a span for each put, which ends with the outcome, and send its context in the records' headers. Needs the
    extra `opentelemetry`. None: no spans. See docs/headers.md."""
    hot_partition_keys: int = number(0, 0, 100_000)
    """Counters of each stream for Producer.hot_keys(). 0: off. With N counters every key with more than 1/N of a
    stream's records or bytes is reported. No count is wrong by more than 1/N of the whole."""
    metrics_sink: Literal["cloudwatch", "emf", "prometheus", "opentelemetry"] | MetricsSink | None = field(
        default=None, repr=False, metadata={"sink": True}
    )
    """Where metrics go: PutMetricData, log events in the embedded metric format, Prometheus, OpenTelemetry, or an
    object with a method `emit(window)`. None: "emf" on Lambda and "cloudwatch" elsewhere, if Kinesis is at the region's
    own endpoint; else nowhere, unless cloudwatch_endpoint_url is set (docs/metrics.md)."""
    stats_path: str | None = field(default=None, metadata={"text": True, "longest": 80})
    """Path for `kplpy top`: a local socket `<stats_path>.<process id>` for this user only, from the first record to
    close(). Each producer of a process needs its own path. None: no socket. See docs/cli.md."""
    cloudwatch_endpoint_url: str | None = text()
    """URL of CloudWatch. None: as botocore finds it, else the region's own."""
    metrics_session: boto3.Session | botocore.session.Session | None = field(default=None, repr=False)
    """A boto3 or botocore session for CloudWatch. None: that of Kinesis."""
    metrics_level: Literal["none", "summary", "detailed"] = choice("summary", "none", "summary", "detailed")
    """Which metrics the sink gets. With "none" nothing is counted."""
    metrics_granularity: Literal["global", "stream", "shard"] = choice("stream", *GRANULARITIES)
    """The finest dimension of the metrics. CloudWatch bills each one (docs/metrics-cost.md)."""
    metrics_namespace: str = field(default="KinesisProducerLibrary", metadata={"namespace": True})
    """Namespace of the metrics in CloudWatch and EMF."""
    additional_metrics_dimensions: tuple[tuple[str, str, Literal["global", "stream", "shard"]], ...] = field(
        default=(), metadata={"dimensions": True}
    )
    """(name, value, granularity) of further dimensions in CloudWatch, as the KPL's addAdditionalMetricsDimension takes
    them: ("HostName", "web-1", "stream") adds the host to the metrics of each stream and of its shards."""
    metrics_upload_delay_ms: int = number(60000, 1, 60000)
    """Interval at which the sink gets the metrics. Windows are whole seconds, so a value below 1000 means every
    second."""

    def __repr__(self) -> str:
        """Return the fields as text, without objects, secrets, and passwords in URLs."""
        hidden = {each.name for each in fields(self) if not each.repr}
        values = {**self.__dict__, "streams": self.streams and as_dicts(self.streams, hidden)}
        shown = [f"{each.name}={safe_repr(each.name, values[each.name])}" for each in fields(self) if each.repr]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __post_init__(self) -> None:
        for each in fields(self):
            check(each, getattr(self, each.name))
        if self.session is not None and not hasattr(self.session, "get_credentials"):
            raise ConfigError(f"session must be a boto3 or botocore session, got {self.session!r}")
        if self.metrics_session is not None and not hasattr(self.metrics_session, "get_credentials"):
            raise ConfigError(f"metrics_session must be a boto3 or botocore session, got {self.metrics_session!r}")
        if self.botocore_config is not None and not hasattr(self.botocore_config, "merge"):
            raise ConfigError(f"botocore_config must be a botocore.config.Config, got {self.botocore_config!r}")
        if self.compression == "gzip" and (self.compression_level or 1) > GZIP_LEVELS:
            raise ConfigError(f"compression_level must be from 1 to 9 with gzip, got {self.compression_level}")
        if self.spool is not None:
            # As an absolute path, so that a later chdir() does not make a second spool.
            object.__setattr__(self, "spool", os.path.abspath(os.fspath(self.spool)))
        if self.streams is not None:
            object.__setattr__(self, "streams", check_streams(self.streams, self.__dict__, self._with_options))

    def __copy__(self) -> Config:
        return self  # it never changes

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        return self  # sessions cannot be copied

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the fields that differ from their defaults.

        Raises NotPicklableError, which names a field that cannot be pickled.
        """
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        given = {each.name: given[each.name] for each in fields(self) if given[each.name] is not each.default}
        if self.streams is not None:
            given["streams"] = as_dicts(self.streams)
            for stream, options in self.streams.items():
                for name in _OBJECTS & options.keys():
                    _check_pickles(f"streams[{stream!r}][{name!r}]", options[name])  # type: ignore[literal-required]
        for name in _OBJECTS & given.keys():
            _check_pickles(name, given[name])
        return partial(type(self), **given), ()

    def for_stream(self, stream: str) -> Config:
        """Return the Config of one stream: this one, with the stream's own options in place of the producer's.

        stream: name or ARN. Raises InvalidRecordError if it is neither, and for a name if `streams` has different
        options for several ARNs of this name.
        """
        parse_stream(stream)
        options = options_of(self.streams, stream) if self.streams else {}
        return self._with_options(options) if options else self

    def _with_options(self, options: Mapping[str, Any]) -> Config:
        """Return a Config with one stream's options, and without `streams`."""
        return replace(self, streams=None, **options)

    @classmethod
    def from_properties(cls, path: str | os.PathLike[str], **overrides: Unpack[ConfigFields]) -> Config:
        """Read a KPL properties file without changes to it. `overrides` are Config fields that win over the file.

        Unknown keys and bad values raise ConfigError. Keys without a meaning in kplpy, such as those of the KPL's
        native daemon, are accepted; one log line names them (properties_ignored).
        """
        from kplpy.config.kpl_properties import read

        settings = read(path)
        for name, setting in settings.items():
            try:
                cls(**{name: setting.value})
            except ConfigError as error:
                raise ConfigError(f"{setting.where}: {error}") from None
        return cls(**{**{name: setting.value for name, setting in settings.items()}, **overrides})


def per_stream(config: Config, make: Callable[[Config], T]) -> Callable[[str], T]:
    """Return a function from a stream's name or ARN to what `make` returns for its Config.

    Streams without options of their own share one object. The function raises InvalidRecordError as for_stream does.
    """
    common = make(config)

    def of_stream(stream: str) -> T:
        own = config.for_stream(stream)
        return common if own is config else make(own)

    return of_stream


_OBJECTS = frozenset(
    "session metrics_session botocore_config on_failure metrics_sink value_serializer key_serializer".split()
)


def _check_pickles(name: str, value: Any) -> None:
    """Raise NotPicklableError if the value cannot be pickled.

    If cloudpickle is imported, it decides itself, because it pickles more and the pickler in use is not known here.
    A session that pickle refuses is refused with cloudpickle, too.
    """
    try:
        pickle.dumps(value)
    except NotPicklableError:
        raise
    except Exception as error:
        if name.endswith("session") or not any(each.rpartition(".")[2] == "cloudpickle" for each in sys.modules):
            raise NotPicklableError(
                f"a Producer, or Config, with {name}={type(value).__name__}(...) cannot be sent to another process "
                f"({error}): make it there, once in each process, for example in a function with functools.cache"
            ) from error


def _checks_names(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap Config.__init__: an unknown field raises ConfigError with similar names, instead of TypeError."""
    known = [each.name for each in fields(Config)]

    @wraps(init)
    def checked(self: Config, *values: Any, **given: Any) -> None:
        for name in given:
            if name not in known:
                similar = get_close_matches(name, known, n=3)
                hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
                raise ConfigError(f"there is no Config field {name!r}{hint}")
        init(self, *values, **given)

    return checked


Config.__init__ = _checks_names(Config.__init__)  # type: ignore[method-assign]
