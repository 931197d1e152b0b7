"""The producer of the agent: its Config, and its replacement when a new configuration needs another one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from kplpy import (
    Config,
    ConfigError,
    FlushTimeoutError,
    Producer,
    RecordFailedError,
    RecordFuture,
    StreamOptions,
    StreamTotals,
)
from kplpy.agent.credentials import make_session
from kplpy.agent.settings import AGREEING, AgentSettings, FlowSettings
from kplpy.stream_names import is_delivery_stream, name_of

_ARN_PREFIX = "arn:"
PLACEHOLDER_ACCOUNT = "000000000000"
"""Account in the ARN of a delivery stream that is given by its name: requests hold the name only."""
_LEAST_REQUEST = 52_224  # the least collection_max_size


def stream_of(flow: FlowSettings, region: str) -> str:
    """Return what the producer knows the flow's stream or delivery stream by.

    region: that of the delivery streams. The account of a name is a placeholder, because requests to Firehose have the
    name only. So no permission and no call is needed to find it.
    """
    if flow.destination == "kinesis" or flow.stream.startswith(_ARN_PREFIX):
        return flow.stream
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    return f"arn:{partition}:firehose:{region}:{PLACEHOLDER_ACCOUNT}:deliverystream/{flow.stream}"


def regions_of(settings: AgentSettings, session: Any) -> tuple[str, str]:
    """Return the regions of streams and of delivery streams.

    They are those of the endpoints, else as boto finds it, else us-east-1, which is the Kinesis Agent's.
    """
    streams = settings.kinesis_region
    if streams is None:
        if session is None:
            from botocore.session import Session

            session = Session()
        streams = session.get_config_variable("region") or os.environ.get("AWS_REGION") or "us-east-1"
    return streams, settings.firehose_region or streams


class Sending:
    """The producer that all flows put to, on the agent's thread.

    A configuration that needs another producer gets one with `replace`. Records of the old one keep their futures; it
    is closed when they have outcomes, or after the shutdown timeout, and what is left then fails and is put again.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._session = make_session(settings)
        self.config, self._region = config_of(settings, self._session)
        self._identity = _identity_of(settings)
        self.producer = Producer(self.config)
        self._retired: list[tuple[Producer, float]] = []
        self._ended: dict[str, StreamTotals] = {}

    def stream_of(self, flow: FlowSettings) -> str:
        """Return the stream's name or ARN for put_records."""
        return stream_of(flow, self._region)

    def put_records(self, stream: str, items: Sequence[tuple[bytes, str | None]]) -> list[RecordFuture]:
        return self.producer.put_records(stream, items)

    def flush(self, stream: str | None = None) -> None:
        """Make the stream's records due now, without waiting for them."""
        try:
            self.producer.flush(stream, timeout=0)
        except FlushTimeoutError:
            pass

    def replace(self, settings: AgentSettings, now: float) -> bool:
        """Use a producer for these settings. Return False if the present one serves them, too.

        now: time.monotonic(). Raises ConfigError, and changes nothing.
        """
        if _identity_of(settings) == self._identity:
            return False
        session = make_session(settings)
        config, region = config_of(settings, session)
        producer = Producer(config)
        self.flush()
        self._retired.append((self.producer, now + settings.shutdown_timeout_ms / 1000))
        self.producer, self.config, self._session, self._region = producer, config, session, region
        self._identity = _identity_of(settings)
        return True

    def close_retired(self, now: float) -> None:
        """Close replaced producers that are empty, or whose time is over."""
        for each in list(self._retired):
            producer, until = each
            if not producer.outstanding_records or now >= until:
                self._retired.remove(each)
                producer.close()
                _add(self._ended, producer)

    def totals(self) -> dict[str, StreamTotals]:
        """Return the counts of all streams, over all producers so far."""
        found = dict(self._ended)
        for each in (self.producer, *(producer for producer, _ in self._retired)):
            _add(found, each)
        return found

    def close(self) -> None:
        """Fail what is left, and end all threads."""
        for each in (self.producer, *(producer for producer, _ in self._retired)):
            each.close()


def _add(found: dict[str, StreamTotals], producer: Producer) -> None:
    for stream, totals in producer.metrics().items():
        found[stream] = found.get(stream, StreamTotals()) + totals


def config_of(settings: AgentSettings, session: Any) -> tuple[Config, str]:
    """Return the producer's Config, and the region of delivery streams.

    Raises ConfigError, which names the flows of a stream that do not agree.
    """
    region, delivery_region = regions_of(settings, session)
    streams = [stream_of(flow, delivery_region) for flow in settings.flows]
    options: dict[str, StreamOptions] = {}
    firsts: dict[str, FlowSettings] = {}
    for flow, stream in zip(settings.flows, streams, strict=True):
        shared = _shared_by(stream, streams)
        first = firsts.setdefault(shared, flow)
        for name in AGREEING:
            if getattr(first, name) != getattr(flow, name):
                raise ConfigError(
                    f"the flows {first.id!r} and {flow.id!r} put to one stream, so they must agree on {name}, got "
                    f"{getattr(first, name)!r} and {getattr(flow, name)!r}"
                )
        options[shared] = _smaller(options.get(shared), _options_of(flow))
    config = Config(
        region_name=region,
        endpoint_url=settings.kinesis_endpoint,
        firehose_endpoint_url=settings.firehose_endpoint,
        session=session,
        botocore_config=_client_config(settings),
        connect_timeout_ms=min(max(settings.connection_timeout_ms, 100), 300_000),
        request_timeout_ms=min(max(settings.socket_timeout_ms, 100), 600_000),
        max_connections=min(max(settings.max_connections, 1), 256),
        record_ttl_ms=None,
        aggregation_enabled=False,  # also for the last records of a flow that a new configuration removed
        on_failure=_is_seen,
        streams={stream: options[_shared_by(stream, streams)] for stream in streams},
        on_buffer_full="raise",
        close_timeout_ms=0,
        metrics_level="none",
    )
    return config, delivery_region


def _shared_by(stream: str, streams: Sequence[str]) -> str:
    """Return the stream, or the name of an ARN if flows use both: they may be one stream, with one set of options."""
    name = name_of(stream)
    return name if name in streams and not is_delivery_stream(stream) else stream


def _is_seen(error: RecordFailedError) -> None:
    """Do nothing: the flows look at all futures, so the producer need not log the failures."""


def _options_of(flow: FlowSettings) -> StreamOptions:
    options: StreamOptions = {
        "record_max_buffered_time_ms": flow.max_buffer_age_ms,
        "collection_max_count": flow.max_buffer_size_records,
        "collection_max_size": max(flow.max_buffer_size_bytes, _LEAST_REQUEST),
    }
    if flow.destination == "firehose":
        return {**options, "joined_record_size": flow.joined_record_size}
    return {
        **options,
        "aggregation_enabled": flow.aggregation,
        "compression": flow.compression,
        "ordered": flow.ordered,
    }


def _smaller(known: StreamOptions | None, new: StreamOptions) -> StreamOptions:
    """Return the options of a stream with one more flow: the smallest limits count."""
    if known is None:
        return new
    smaller: StreamOptions = {
        **new,
        "record_max_buffered_time_ms": min(known["record_max_buffered_time_ms"], new["record_max_buffered_time_ms"]),
        "collection_max_count": min(known["collection_max_count"], new["collection_max_count"]),
        "collection_max_size": min(known["collection_max_size"], new["collection_max_size"]),
    }
    if "joined_record_size" in new:
        smaller["joined_record_size"] = min(known["joined_record_size"], new["joined_record_size"])
    return smaller


def _client_config(settings: AgentSettings) -> Any:
    if settings.user_agent is None:
        return None
    from botocore.config import Config as ClientConfig

    return ClientConfig(user_agent=settings.user_agent)


def _identity_of(settings: AgentSettings) -> tuple[object, ...]:
    """Return everything that the producer depends on."""
    return (
        *(settings.kinesis_region, settings.kinesis_endpoint, settings.firehose_region, settings.firehose_endpoint),
        *(settings.sts_endpoint, settings.access_key_id, settings.secret_access_key),
        *(settings.assume_role_arn, settings.assume_role_external_id, settings.user_agent),
        *(settings.connection_timeout_ms, settings.socket_timeout_ms, settings.max_connections),
        tuple(sorted((flow.destination, flow.stream, *_options_of(flow).items()) for flow in settings.flows)),
    )
