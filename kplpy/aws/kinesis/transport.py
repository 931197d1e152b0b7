"""Calls Kinesis through one botocore client: PutRecords, ListShards and DescribeStreamSummary."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kplpy.aws import errors
from kplpy.aws.client import make_client
from kplpy.aws.kinesis.control_plane import describe, read_strategy
from kplpy.aws.kinesis.request_json import put_records_body
from kplpy.aws.kinesis.response import read_entries
from kplpy.aws.put_call import Operation, PutCall
from kplpy.aws.transport import ServiceTransport
from kplpy.config.options import Config
from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import Batch
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.results.retry_policy import Verdict, judge_error
from kplpy.core.routing.placement import Summary
from kplpy.core.shard_range import ShardRange
from kplpy.errors import ConfigError
from kplpy.logs import log

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

    from kplpy.aws.put_calls import PutCalls

logger = logging.getLogger(__name__)

# Codes of an endpoint that does not know CBOR: nothing was written.
_REFUSALS = frozenset({"SerializationException", "UnknownOperationException", "UnsupportedMediaTypeException", "415"})


class KinesisTransport(ServiceTransport):
    """Implements the engine's Transport for streams."""

    operation = Operation("kinesis", "PutRecords", "put_records", ("Records",))

    def __init__(self, config: Config) -> None:
        self._make_body = _put_records_in_cbor() if config.request_format == "cbor" else put_records_body
        super().__init__(config)

    def _make_client(self, config: Config, credentials: Mapping[str, str]) -> KinesisClient:
        client = make_client(config, credentials)
        read_strategy(client)
        return client

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        """Send the batches, on a sender thread. A failure is in the Exchange; nothing is raised."""
        return self._exchange(request, lambda calls, call: self._entries(calls, name, arn, call))

    def _entries(self, calls: PutCalls, name: str, arn: str | None, call: PutCall) -> Sequence[dict[str, str]] | None:
        """Send in CBOR if configured and supported, else in JSON. Return the entries, or None if there are none."""
        place = {"StreamARN": arn} if arn else {"StreamName": name}
        make = self._make_body
        in_cbor = make is not put_records_body
        try:
            response = self._put(calls, call, place, lambda: make(name, arn, call.request.batches), in_cbor)
        except Exception as failure:
            if not in_cbor:
                raise
            error = errors.classify(failure, call.may_have_arrived(failure))
            if error.maybe_written or error.code not in _REFUSALS:
                raise
            call.request.body_sent = False  # the service refused the body in CBOR
            if self._make_body is make:
                self._make_body = put_records_body
                log(logger, "cbor_refused", {"stream": name, "code": error.code, "reason": error.message})
            return self._entries(calls, name, arn, call)
        return read_entries(response.get("Records"))

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        """Return all open shards, from all pages. Raises ListingError."""
        shards = self._ask(lambda client: open_shards(client, name, arn))
        if isinstance(shards, RequestError):
            raise errors.listing_error(shards, "ListShards") from shards.cause
        return shards

    def describe(self, name: str, arn: str | None) -> Summary:
        """Return who chooses the stream's shards. If the call fails, the Summary has the problem."""
        place = {"StreamARN": arn} if arn else {"StreamName": name}
        summary = self._ask(lambda client: describe(client, place))
        if isinstance(summary, RequestError):
            problem = f"DescribeStreamSummary: {summary.code}: {summary.message}"
            return Summary(None, problem=problem, passes=judge_error(summary) is Verdict.RETRY)
        return summary


def _put_records_in_cbor() -> Callable[[str, str | None, list[Batch]], bytes]:
    if find_spec("cbor2") is None:
        raise ConfigError("request_format='cbor' needs cbor2: pip install 'kplpy[cbor]'")
    from kplpy.aws.kinesis.request_cbor import put_records_body as put_records_in_cbor

    return put_records_in_cbor


def open_shards(client: KinesisClient, name: str, arn: str | None) -> list[ShardRange]:
    """Return all open shards. boto3's paginator repeats the filter with a NextToken, which the service refuses."""
    shards: list[ShardRange] = []
    arguments: dict[str, Any] = {"StreamARN": arn} if arn else {"StreamName": name}
    arguments |= {"MaxResults": 1000, "ShardFilter": {"Type": "AT_LATEST"}}
    while True:
        page = errors.retrying(_bound(client.list_shards, arguments))
        for shard in page["Shards"]:
            # The filter leaves closed shards out, but local stand-ins ignore it.
            if "EndingSequenceNumber" not in shard["SequenceNumberRange"]:
                keys = shard["HashKeyRange"]
                shards.append(ShardRange(shard["ShardId"], int(keys["StartingHashKey"]), int(keys["EndingHashKey"])))
        token = page.get("NextToken")
        if not token:
            return shards
        arguments = {"NextToken": token, "MaxResults": 1000}


def _bound(call: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[], Any]:
    return lambda: call(**arguments)
