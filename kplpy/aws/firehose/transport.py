"""Calls Firehose through one botocore client: PutRecordBatch, and DescribeDeliveryStream for connect()."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kplpy.aws import errors
from kplpy.aws.client import is_of_aws, make_firehose_client
from kplpy.aws.firehose.request_json import put_record_batch_body
from kplpy.aws.firehose.response import read_responses
from kplpy.aws.put_call import Operation, PutCall
from kplpy.aws.transport import ServiceTransport
from kplpy.config.options import Config
from kplpy.core.batching.request import Request
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.results.retry_policy import NOT_FOUND
from kplpy.core.routing.placement import Summary
from kplpy.core.shard_range import ShardRange

if TYPE_CHECKING:
    from mypy_boto3_firehose import FirehoseClient

    from kplpy.aws.put_calls import PutCalls


class FirehoseTransport(ServiceTransport):
    """Implements the engine's Transport for the delivery streams of one region.

    Firehose's operations take a name, and no ARN. So the client's region must be that of the ARN, and the account is
    that of the credentials.
    """

    operation = Operation("firehose", "PutRecordBatch", "put_record_batch", ("RequestResponses", "FailedPutCount"))

    def _make_client(self, config: Config, credentials: Mapping[str, str]) -> FirehoseClient:
        return make_firehose_client(config, credentials)

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        """Send the batches, on a sender thread. A failure is in the Exchange; nothing is raised."""
        return self._exchange(request, lambda calls, call: self._entries(calls, name, call))

    def _entries(self, calls: PutCalls, name: str, call: PutCall) -> Sequence[dict[str, str]] | None:
        place = {"DeliveryStreamName": name}
        response = self._put(calls, call, place, lambda: put_record_batch_body(name, call.request.batches))
        return read_responses(response.get("RequestResponses"), response.get("FailedPutCount"))

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        """Return no shards, once DescribeDeliveryStream has shown that the delivery stream exists. Raises ListingError.

        At AWS, a delivery stream of the name in another account than the ARN's counts as missing, because puts would go
        there. A stand-in has an account of its own.
        """
        found = self._ask(lambda client: (client.meta.endpoint_url, _arn_of(client, name)))
        if isinstance(found, RequestError):
            raise errors.listing_error(found, "DescribeDeliveryStream") from found.cause
        url, actual = found
        if arn is not None and _account(actual) != _account(arn) and is_of_aws(url):
            text = f"these credentials belong to the account of {actual}, not to that of {arn}"
            raise errors.listing_error(RequestError(NOT_FOUND, text, maybe_written=False), "DescribeDeliveryStream")
        return ()

    def describe(self, name: str, arn: str | None) -> Summary:
        """Return a Summary without content: there is nothing to learn of a delivery stream."""
        return Summary(None)


def _arn_of(client: FirehoseClient, name: str) -> str:
    described = errors.retrying(lambda: client.describe_delivery_stream(DeliveryStreamName=name))
    return str(described["DeliveryStreamDescription"]["DeliveryStreamARN"])


def _account(arn: str) -> str:
    return arn.split(":")[4]
