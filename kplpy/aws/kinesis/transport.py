"""The service through one botocore client: PutRecords, ListShards and DescribeStreamSummary."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from kplpy.aws import errors
from kplpy.aws.causes import FOR_CREDENTIALS
from kplpy.aws.client import load, make_client
from kplpy.aws.credentials import renewed
from kplpy.aws.endpoint import is_regional
from kplpy.aws.kinesis.control_plane import describe, read_strategy
from kplpy.aws.kinesis.request_json import put_records_body
from kplpy.aws.kinesis.response import read_entries
from kplpy.aws.kinesis.sent_body import SentBody
from kplpy.config.options import Config
from kplpy.core.batching.request import Request
from kplpy.core.batching.shard_queue import Batch
from kplpy.core.exchange import Exchange, RequestError
from kplpy.core.results.retry_policy import Verdict, judge_error, needs_fresh_credentials
from kplpy.core.routing.placement import Summary
from kplpy.core.shard_range import ShardRange
from kplpy.errors import ConfigError
from kplpy.logs import log
from kplpy.process import fork

if TYPE_CHECKING:
    from botocore.client import ClientMeta
    from mypy_boto3_kinesis import KinesisClient

logger = logging.getLogger(__name__)

# botocore serialises the body before the handler can replace it; the sender's own waits here meanwhile, beside its
# request, and the SentBody that it becomes once it is signed.
_sending = threading.local()
# One thread encodes at a time: several would only take the GIL from each other, and from the putting threads.
_encoding = threading.Lock()

CBOR = "application/x-amz-cbor-1.1"
# What an endpoint says that does not speak it: nothing was written.
_REFUSALS = frozenset({"SerializationException", "UnknownOperationException", "UnsupportedMediaTypeException", "415"})

# After a rest this long the connections are not trusted: the service, or what lies between, may have dropped them
# without a word, above all where the process was frozen meanwhile. Sent on one of those, a request is lost, and
# whether it was written is not known.
STALE = 30.0
# Credentials that the service refuses are fetched again no more often than this.
RENEWAL_INTERVAL = 5.0


@fork.renew
def _renew_lock() -> None:
    global _encoding
    _encoding = threading.Lock()


def _use_our_body(params: dict[str, Any], **_: Any) -> None:
    params["body"] = _sending.body
    if _sending.in_cbor:
        params["headers"]["Content-Type"] = CBOR


def _note_what_is_sent(request: Any, event_name: str, **_: Any) -> None:
    """Called after all other before-send handlers, among them stubs that answer, and expect bytes."""
    if event_name.endswith(".PutRecords"):
        request.body = _sending.sent_body = SentBody(request.body, _sending.request)


def _parse_ours(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Spare botocore's parser the entries: of a request with 500 that is 0.7 of 2.1 ms of CPU. And it knows no CBOR.

    botocore's parser also trusts the types; here they are left as they are, and read_entries checks them.
    """
    in_cbor = str(response_dict["headers"].get("Content-Type")).startswith(CBOR)
    accepted = response_dict["status_code"] == 200
    if not accepted and not in_cbor:
        return
    try:
        answer = _read_cbor(response_dict["body"]) if in_cbor else json.loads(response_dict["body"])
    except ValueError:
        return  # botocore's own error tells more
    if not isinstance(answer, dict):
        return
    if accepted:
        customized_response_dict["Records"] = answer.get("Records")
        response_dict["body"] = b"{}"
    elif in_cbor:
        response_dict["body"] = json.dumps(answer, default=repr).encode()


def _read_cbor(body: bytes) -> Any:
    from kplpy.aws.kinesis.request_cbor import read

    return read(body)


class KinesisTransport:
    """Implements the engine's Transport. The client is made on first use, on the thread that needs it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._make_body = _put_records_in_cbor() if config.request_format == "cbor" else put_records_body
        self._client: KinesisClient | None = None
        self._meta: ClientMeta | None = None  # of the latest client, also when that is closed
        self._lock = threading.Lock()
        self._used = (time.monotonic(), time.time())  # a freeze shows in one clock, or in both
        self._refused_at = float("-inf")
        self._refused = False  # are the credentials to be fetched again?
        self._hurried = False
        if "uwsgi" in sys.modules:  # whose fork skips Python's hooks, and comes right after this
            load()

    def connect(self) -> RequestError | None:
        """Make the client, unless it is there."""
        try:
            self._connected()
        except Exception as failure:
            return errors.classify(failure)
        return None

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        """Send the batches; whatever goes wrong is in the Exchange."""
        started, wall = time.monotonic(), time.time()
        request.wall = wall
        entries: list[dict[str, str]] | None = None
        error: RequestError | None = None
        client: KinesisClient | None = None
        _sending.request, _sending.sent_body = request, None
        try:
            client = self._connected()
            entries = self._entries(client, name, arn, request)
        except Exception as failure:
            error = errors.classify(failure, _may_have_it(request, failure))
            if needs_fresh_credentials(error.code):
                self._discard(client)
        finally:
            _sending.body = b""
            _sending.request = _sending.sent_body = None
            self._used = (time.monotonic(), time.time())
        return Exchange(started, time.monotonic(), wall, entries, error)

    def _entries(
        self, client: KinesisClient, name: str, arn: str | None, request: Request
    ) -> list[dict[str, str]] | None:
        """The answer's entries; None: it has none. In CBOR, where that is asked for and understood."""
        place: dict[str, Any] = {"StreamARN": arn} if arn else {"StreamName": name}
        make = self._make_body
        _sending.in_cbor = make is not put_records_body
        _sending.sent_body = None
        with _encoding:
            _sending.body = make(name, arn, request.batches)
        try:
            answer: Any = client.put_records(Records=[], **place)
        except Exception as failure:
            if make is put_records_body:
                raise
            error = errors.classify(failure, _may_have_it(request, failure))
            if error.maybe_written or error.code not in _REFUSALS:
                raise
            request.body_sent = False  # the service refused it
            if self._make_body is make:
                self._make_body = put_records_body
                log(logger, "cbor_refused", {"stream": name, "code": error.code, "reason": error.message})
            return self._entries(client, name, arn, request)
        return read_entries(answer.get("Records"))

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        """The open shards, all pages; raises ListingError."""
        client: KinesisClient | None = None
        try:
            client = self._connected()
            return _open_shards(client, name, arn)
        except Exception as failure:
            error = errors.classify(failure)
            if needs_fresh_credentials(error.code):
                self._discard(client)
            raise errors.listing_error(error) from failure

    def describe(self, name: str, arn: str | None) -> Summary:
        """Who chooses the stream's shards, as far as that can be learnt."""
        client: KinesisClient | None = None
        try:
            client = self._connected()
            return describe(client, {"StreamARN": arn} if arn else {"StreamName": name})
        except Exception as failure:
            error = errors.classify(failure)
            if needs_fresh_credentials(error.code):
                self._discard(client)
            problem = f"DescribeStreamSummary: {error.code}: {error.message}"
            return Summary(None, problem=problem, passes=judge_error(error) is Verdict.RETRY)

    def is_regional(self) -> bool:
        """Return True if the client speaks to AWS's own endpoint of its region; makes the client if there was none."""
        return is_regional(self._config, self._meta or self._connected().meta)

    def hurry(self, seconds: float) -> None:
        """From now on a request may take this long at the most, should that be less than its timeouts. No connection is
        kept for another: at the interpreter's end nobody may be left to close it."""
        self._hurried = True
        limit = max(100, int(min(seconds, 300) * 1000))
        if limit < max(self._config.connect_timeout_ms, self._config.request_timeout_ms):
            self._config = replace(
                self._config,
                connect_timeout_ms=min(limit, self._config.connect_timeout_ms),
                request_timeout_ms=min(limit, self._config.request_timeout_ms),
            )
            self.close()

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> KinesisClient:
        with self._lock:
            now, before = (time.monotonic(), time.time()), self._used
            self._used = now
            if self._client is None:
                session = self._config.session
                credentials = renewed(session) if self._refused and session is not None else {}
                self._refused = False
                client = make_client(self._config, credentials)
                client.meta.events.register("before-call.kinesis.PutRecords", _use_our_body)
                client.meta.events.register("before-parse.kinesis.PutRecords", _parse_ours)
                read_strategy(client)
                client.meta.events.register("before-send.kinesis", self._keep_or_close)
                client.meta.events.register_last("before-send", _note_what_is_sent)
                self._client, self._meta = client, client.meta
            elif max(now[0] - before[0], now[1] - before[1]) > STALE:
                self._client.close()  # its connections; it opens new ones
            return self._client

    def _keep_or_close(self, request: Any, **_: Any) -> None:
        if self._hurried:  # after signing, for a proxy may drop it
            request.headers["Connection"] = "close"

    def _discard(self, client: KinesisClient | None) -> None:
        """The service refuses the client's credentials; the next request makes a new one."""
        with self._lock:
            now = time.monotonic()
            if self._client is not client or client is None or now - self._refused_at < RENEWAL_INTERVAL:
                return
            self._client, self._refused, self._refused_at = None, True, now
        client.close()


def _may_have_it(request: Request, failure: Exception) -> bool:
    """Return True if the service may have the whole request, as far as the connection shows.

    An answer to a body that no connection asked for comes from a stub within the process, which may have it, unless it
    is about credentials: that one came before.
    """
    body: SentBody | None = _sending.sent_body
    is_answer = isinstance(failure, ClientError) and failure.operation_name not in FOR_CREDENTIALS
    answered_here = is_answer and (body is None or not body.is_begun)
    return request.body_sent or answered_here


def _put_records_in_cbor() -> Callable[[str, str | None, list[Batch]], bytes]:
    if find_spec("cbor2") is None:
        raise ConfigError("request_format='cbor' needs cbor2: pip install 'kplpy[cbor]'")
    from kplpy.aws.kinesis.request_cbor import put_records_body as put_records_in_cbor

    return put_records_in_cbor


def _open_shards(client: KinesisClient, name: str, arn: str | None) -> list[ShardRange]:
    """By hand: boto3's paginator repeats the filter with a NextToken, which the service refuses."""
    shards: list[ShardRange] = []
    arguments: dict[str, Any] = {"StreamARN": arn} if arn else {"StreamName": name}
    arguments |= {"MaxResults": 1000, "ShardFilter": {"Type": "AT_LATEST"}}
    while True:
        page = errors.retrying(_bound(client.list_shards, arguments))
        for shard in page["Shards"]:
            # Closed ones should not be here; local stand-ins know no filters.
            if "EndingSequenceNumber" not in shard["SequenceNumberRange"]:
                keys = shard["HashKeyRange"]
                shards.append(ShardRange(shard["ShardId"], int(keys["StartingHashKey"]), int(keys["EndingHashKey"])))
        token = page.get("NextToken")
        if not token:
            return shards
        arguments = {"NextToken": token, "MaxResults": 1000}


def _bound(call: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[], Any]:
    return lambda: call(**arguments)
