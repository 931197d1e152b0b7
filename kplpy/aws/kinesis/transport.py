"""Calls the service through one botocore client: PutRecords, ListShards and DescribeStreamSummary."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kplpy.aws import errors
from kplpy.aws.client import load, make_client
from kplpy.aws.credentials import renew
from kplpy.aws.endpoint import is_regional
from kplpy.aws.kinesis.control_plane import describe, read_strategy
from kplpy.aws.kinesis.put_call import PutCall
from kplpy.aws.kinesis.request_json import put_records_body
from kplpy.aws.kinesis.response import read_entries
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

    from kplpy.aws.kinesis.put_calls import PutCalls

logger = logging.getLogger(__name__)

# Held during imports, so that no fork happens then.
_loading = fork.NoForkSection()
# One thread encodes at a time: several would only take the GIL from each other and from the threads that put.
_encoding = threading.Lock()

# Codes of an endpoint that does not know CBOR: nothing was written.
_REFUSALS = frozenset({"SerializationException", "UnknownOperationException", "UnsupportedMediaTypeException", "415"})

# Seconds without a request after which connections are closed. The service, or a device on the way, may have dropped
# them silently, above all while the process was frozen. A request sent on a dropped connection is lost, and it is not
# known whether its records were written.
STALE = 30.0
# Seconds between two attempts to fetch credentials again that the service refuses.
RENEWAL_INTERVAL = 5.0


@fork.call_in_child
def _renew_lock() -> None:
    global _encoding
    _encoding = threading.Lock()


class KinesisTransport:
    """Implements the engine's Transport, for any thread. The first call makes the client, on its own thread."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._make_body = _put_records_in_cbor() if config.request_format == "cbor" else put_records_body
        self._calls: PutCalls | None = None
        self._meta: ClientMeta | None = None  # of the latest client, even if closed
        self._lock = threading.Lock()
        self._used = (time.monotonic(), time.time())  # monotonic and wall clock: a freeze shows in one or both
        self._refused_at = float("-inf")
        self._needs_renewal = False  # the next client needs credentials fetched again
        self._is_hurried = False
        if "uwsgi" in sys.modules:  # its fork skips Python's hooks and may follow at once
            _load()

    def connect(self) -> RequestError | None:
        """Make the client if there is none. Return the error if that fails."""
        try:
            self._connected()
        except Exception as failure:
            return errors.classify(failure)
        return None

    def put_records(self, name: str, arn: str | None, request: Request) -> Exchange:
        """Send the batches, on a sender thread. A failure is in the Exchange; nothing is raised."""
        started, wall = time.monotonic(), time.time()
        request.wall = wall
        entries: list[dict[str, str]] | None = None
        error: RequestError | None = None
        calls: PutCalls | None = None
        call = PutCall(request)
        try:
            calls = self._connected()
            entries = self._entries(calls, name, arn, call)
        except Exception as failure:
            error = errors.classify(failure, call.may_have_arrived(failure))
            if needs_fresh_credentials(error.code):
                self._discard(calls)
        finally:
            call.forget()
            self._used = (time.monotonic(), time.time())
        return Exchange(started, time.monotonic(), wall, entries, error)

    def _entries(self, calls: PutCalls, name: str, arn: str | None, call: PutCall) -> list[dict[str, str]] | None:
        """Send in CBOR if configured and supported, else in JSON. Return the entries, or None if there are none."""
        make = self._make_body
        in_cbor = make is not put_records_body
        with _encoding:
            call.set_body(make(name, arn, call.request.batches), in_cbor)
        try:
            records = calls.make(call, {"StreamARN": arn} if arn else {"StreamName": name})
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
        return read_entries(records)

    def list_shards(self, name: str, arn: str | None) -> Sequence[ShardRange]:
        """Return all open shards, from all pages. Raises ListingError."""
        calls: PutCalls | None = None
        try:
            calls = self._connected()
            return _open_shards(calls.client, name, arn)
        except Exception as failure:
            error = errors.classify(failure)
            if needs_fresh_credentials(error.code):
                self._discard(calls)
            raise errors.listing_error(error) from failure

    def describe(self, name: str, arn: str | None) -> Summary:
        """Return who chooses the stream's shards. If the call fails, the Summary has the problem."""
        calls: PutCalls | None = None
        try:
            calls = self._connected()
            return describe(calls.client, {"StreamARN": arn} if arn else {"StreamName": name})
        except Exception as failure:
            error = errors.classify(failure)
            if needs_fresh_credentials(error.code):
                self._discard(calls)
            problem = f"DescribeStreamSummary: {error.code}: {error.message}"
            return Summary(None, problem=problem, passes=judge_error(error) is Verdict.RETRY)

    def is_regional(self) -> bool:
        """Return True if the client uses AWS's own endpoint of its region. Makes the client if there is none."""
        return is_regional(self._config, self._meta or self._connected().client.meta)

    def hurry(self, seconds: float) -> None:
        """Shorten the timeouts of later requests to `seconds`, if they are longer.

        Each request then closes its connection, because at the interpreter's exit no thread may be left to do it.
        """
        self._is_hurried = True
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
            calls, self._calls = self._calls, None
        if calls is not None:
            calls.client.close()

    def _connected(self) -> PutCalls:
        with self._lock:
            now, before = (time.monotonic(), time.time()), self._used
            self._used = now
            if self._calls is None:
                session = self._config.session
                credentials = renew(session) if self._needs_renewal and session is not None else {}
                self._needs_renewal = False
                calls_of = _load()
                client = make_client(self._config, credentials)
                read_strategy(client)
                self._calls, self._meta = calls_of(client, session, self._keep_or_close), client.meta
            elif max(now[0] - before[0], now[1] - before[1]) > STALE:
                self._calls.client.close()  # closes its connections; requests open new ones
            return self._calls

    def _keep_or_close(self, request: Any, **_: Any) -> None:
        if self._is_hurried:  # set after signing, because a proxy may drop the header
            request.headers["Connection"] = "close"

    def _discard(self, calls: PutCalls | None) -> None:
        """Drop a client whose credentials the service refuses. The next request makes a new one."""
        with self._lock:
            now = time.monotonic()
            if self._calls is not calls or calls is None or now - self._refused_at < RENEWAL_INTERVAL:
                return
            self._calls, self._needs_renewal, self._refused_at = None, True, now
        calls.client.close()


def _load() -> type[PutCalls]:
    """Import everything that a request needs. Only senders call this, because botocore's client takes long."""
    with _loading:
        load()
        from kplpy.aws.kinesis.put_calls import PutCalls

        return PutCalls


def _put_records_in_cbor() -> Callable[[str, str | None, list[Batch]], bytes]:
    if find_spec("cbor2") is None:
        raise ConfigError("request_format='cbor' needs cbor2: pip install 'kplpy[cbor]'")
    from kplpy.aws.kinesis.request_cbor import put_records_body as put_records_in_cbor

    return put_records_in_cbor


def _open_shards(client: KinesisClient, name: str, arn: str | None) -> list[ShardRange]:
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
