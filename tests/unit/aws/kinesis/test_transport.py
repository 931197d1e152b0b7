"""Tests the use of botocore: request bodies, clients, listings, descriptions and exceptions."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import boto3
import botocore.config
import botocore.session
import cbor2
import pytest
from botocore import exceptions as boto
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.stub import Stubber
from urllib3 import HTTPResponse

from kplpy import Config, deaggregate
from kplpy.aws import errors
from kplpy.aws.base64_pieces import PIECE
from kplpy.aws.client import make_client
from kplpy.aws.kinesis.request_json import put_records_body
from kplpy.aws.kinesis.transport import KinesisTransport, open_shards
from kplpy.aws.put_calls import CBOR
from kplpy.core.batching.limiter import Limiter
from kplpy.core.batching.shard_queue import Batch, ShardQueue
from kplpy.core.exchange import ListingError
from kplpy.core.policy import policy_of
from kplpy.core.record import PendingRecord
from kplpy.core.routing.placement import Summary
from kplpy.core.shard_range import ShardRange
from kplpy.futures.record_future import Origin, RecordFuture
from kplpy.hash_keys import hash_of
from tests.inside import core_session_of, keeps_service_files, parse_response, signing_credentials_of

WHOLE = ShardRange("shardId-000000000000", 0, (1 << 128) - 1)
ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"


def item(data: bytes, key: str, explicit_hash_key: str | None = None) -> PendingRecord:
    hash_key = int(explicit_hash_key) if explicit_hash_key is not None else hash_of(key)
    return RecordFuture(Origin("orders"), data, key, explicit_hash_key, hash_key, 0.0)


def batch(*items: PendingRecord, **knobs: Any) -> Batch:
    policy = policy_of(Config(**knobs))
    queue = ShardQueue(WHOLE, policy, Limiter(1.0, 0.0))
    made = Batch(queue, items[0])
    assert made.add(list(items[1:]), 1 << 24, 100) == len(items) - 1
    made.close()
    return made


# --- the response ---


def test_the_entries_are_parsed_as_botocore_would() -> None:
    entries = [{"SequenceNumber": "1", "ShardId": "s"}, {"ErrorCode": "InternalFailure", "ErrorMessage": "ü"}]
    body = json.dumps({"FailedRecordCount": 1, "Records": entries}).encode()
    response = {"status_code": 200, "headers": {}, "body": body}
    parsed: dict[str, Any] = {}
    parse_response(response, parsed)
    assert parsed == {"Records": entries}
    assert response["body"] == b"{}"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"Records": []}'),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
    ],
)
def test_a_body_without_entries_is_left_to_botocore(status: int, body: bytes) -> None:
    response = {"status_code": status, "headers": {}, "body": body}
    parsed: dict[str, Any] = {}
    parse_response(response, parsed)
    assert not parsed
    assert response["body"] == body


@pytest.mark.parametrize("records", [None, 1, [None], ["x"], [{"SequenceNumber": 1}]])
def test_botocore_does_not_see_entries_of_the_wrong_type(records: object) -> None:
    response = {"status_code": 200, "headers": {}, "body": json.dumps({"Records": records}).encode()}
    parsed: dict[str, Any] = {}
    parse_response(response, parsed)
    assert parsed == {"Records": records}
    assert response["body"] == b"{}"


@pytest.mark.parametrize(("status", "error"), [(400, {"__type": "X", "message": "ü"}), (500, {"Records": 1})])
def test_an_error_in_cbor_reaches_botocore_as_json(status: int, error: object) -> None:
    response: dict[str, Any] = {"status_code": status, "headers": {"Content-Type": CBOR}, "body": cbor2.dumps(error)}
    parsed: dict[str, Any] = {}
    parse_response(response, parsed)
    assert not parsed
    assert json.loads(response["body"]) == error


@pytest.mark.parametrize("body", [b"", b"\xbf", b"<html>", b'{"__type": "X"}', b"\x00\xff", b"\x9f\xff"])
def test_a_body_wrongly_called_cbor_is_left_to_botocore(body: bytes) -> None:
    """The service has sent such a response in JSON (aws/aws-sdk-java-v2, issue 1595)."""
    response = {"status_code": 400, "headers": {"Content-Type": f"{CBOR}; charset=utf-8"}, "body": body}
    parse_response(response, {})
    assert response["body"] == body


# --- the body ---


def test_the_body_is_what_the_service_expects() -> None:
    one = item(b"\x00\xff\n", 'quo"te \\ ü \u2028 \U0001f600')
    pair = [item(b"a", "k1"), item(b"b", "k2", "7")]
    body = json.loads(put_records_body("orders", None, [batch(one), batch(*pair)]))
    assert body["StreamName"] == "orders"
    single, aggregate = body["Records"]
    assert base64.b64decode(single["Data"]) == one.data
    assert single["PartitionKey"] == one.partition_key
    assert single["ExplicitHashKey"] == str(one.hash_key)
    assert aggregate["PartitionKey"] == "a"
    assert aggregate["ExplicitHashKey"] == str(pair[0].hash_key)
    inner = deaggregate(base64.b64decode(aggregate["Data"]))
    assert [(each.data, each.partition_key, each.explicit_hash_key) for each in inner] == [
        (b"a", "k1", None),
        (b"b", "k2", "7"),
    ]


def test_the_first_records_key_may_be_the_aggregates() -> None:
    made = batch(item(b"a", "k1"), item(b"b", "k2"), aggregate_partition_key="first")
    body = json.loads(put_records_body("orders", ARN, [made]))
    assert body["StreamARN"] == ARN
    assert "StreamName" not in body
    assert body["Records"][0]["PartitionKey"] == "k1"


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 2])
def test_large_data_is_encoded_in_pieces_that_join(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    body = json.loads(put_records_body("orders", None, [batch(item(data, "k"))]))
    assert base64.b64decode(body["Records"][0]["Data"], validate=True) == data


# --- the client ---


def test_the_sdks_retries_are_off_and_the_timeouts_are_the_producers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    client = make_client(
        Config(region_name="eu-west-1", connect_timeout_ms=1500, request_timeout_ms=2500, max_connections=3)
    )
    config: Any = client.meta.config
    assert config.retries["total_max_attempts"] == 1
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (1.5, 2.5, 3)
    assert client.meta.endpoint_url == "https://kinesis.eu-west-1.amazonaws.com"


def test_the_users_client_config_is_merged_with_kplpys() -> None:
    mine = botocore.config.Config(user_agent="shop", retries={"max_attempts": 9}, use_fips_endpoint=True)
    client = make_client(Config(region_name="us-east-1", botocore_config=mine))
    config: Any = client.meta.config
    assert config.user_agent.startswith("shop")
    assert config.retries["total_max_attempts"] == 1
    assert "fips" in client.meta.endpoint_url


def test_files_are_kept_for_the_clients_of_a_users_session_only() -> None:
    own_client: Any = make_client(Config(region_name="us-east-1"))
    assert not keeps_service_files(own_client)
    assert own_client.meta.service_model.operation_model("PutRecords").name == "PutRecords"
    session = boto3.Session(region_name="us-east-1")
    users_client: Any = make_client(Config(session=session))
    assert keeps_service_files(users_client)


@pytest.mark.parametrize("kind", ["boto3", "botocore"])
def test_the_users_session_is_used_and_its_credentials_are_not_frozen(kind: str) -> None:
    session: Any
    if kind == "boto3":
        session = boto3.Session("first", "secret", region_name="eu-central-1")
        core = core_session_of(session)
    else:
        session = core = botocore.session.Session()
        session.set_credentials("first", "secret")
        session.set_config_variable("region", "eu-central-1")
    client: Any = make_client(Config(session=session))
    assert client.meta.region_name == "eu-central-1"
    assert signing_credentials_of(client) is core.get_credentials()


def test_a_custom_endpoint_needs_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    assert make_client(Config(endpoint_url="http://127.0.0.1:1")).meta.region_name == "us-east-1"
    with pytest.raises(boto.NoRegionError):
        make_client(Config())


def test_proxy_settings_reach_the_client() -> None:
    config = Config(
        region_name="us-east-1", proxy_host="proxy", proxy_port=8080, proxy_user_name="a b", proxy_password="p@ss"
    )
    client: Any = make_client(config)
    assert client.meta.config.proxies == {
        "http": "http://a%20b:p%40ss@proxy:8080",
        "https": "http://a%20b:p%40ss@proxy:8080",
    }


# --- listing ---


def shard(number: int, start: int, end: int, closed: bool = False) -> dict[str, Any]:
    sequence = {"StartingSequenceNumber": "1", **({"EndingSequenceNumber": "2"} if closed else {})}
    return {
        "ShardId": f"shardId-{number:012}",
        "HashKeyRange": {"StartingHashKey": str(start), "EndingHashKey": str(end)},
        "SequenceNumberRange": sequence,
    }


@pytest.fixture
def client() -> Iterator[Any]:
    made = boto3.client("kinesis", region_name="us-east-1")
    yield made
    made.close()


@pytest.mark.parametrize("arn", [None, ARN])
def test_pages_after_the_first_carry_the_token_and_nothing_else(client: Any, arn: str | None) -> None:
    place = {"StreamARN": arn} if arn else {"StreamName": "orders"}
    with Stubber(client) as stub:
        stub.add_response(
            "list_shards",
            {"Shards": [shard(0, 0, 9, closed=True), shard(1, 0, 4)], "NextToken": "more"},
            {**place, "MaxResults": 1000, "ShardFilter": {"Type": "AT_LATEST"}},
        )
        stub.add_response("list_shards", {"Shards": [shard(2, 5, 9)]}, {"NextToken": "more", "MaxResults": 1000})
        shards = open_shards(client, "orders", arn)
        stub.assert_no_pending_responses()
    assert shards == [ShardRange("shardId-000000000001", 0, 4), ShardRange("shardId-000000000002", 5, 9)]


def test_a_transient_failure_of_a_page_is_retried(client: Any) -> None:
    with Stubber(client) as stub:
        stub.add_client_error("list_shards", "LimitExceededException", http_status_code=400)
        stub.add_client_error("list_shards", "InternalFailure", http_status_code=500)
        stub.add_response("list_shards", {"Shards": [shard(0, 0, 9)]})
        assert len(open_shards(client, "orders", None)) == 1


def test_a_final_failure_is_not_retried(client: Any) -> None:
    with Stubber(client) as stub:
        stub.add_client_error("list_shards", "ResourceNotFoundException", http_status_code=400)
        with pytest.raises(boto.ClientError):
            open_shards(client, "orders", None)
        stub.assert_no_pending_responses()


def test_the_error_of_a_listing_has_its_code() -> None:
    transport = KinesisTransport(Config(endpoint_url="http://127.0.0.1:9", region_name="us-east-1"))
    with pytest.raises(ListingError, match=r"ListShards: EndpointConnectionError: .*127\.0\.0\.1:9"):
        transport.list_shards("orders", None)


# --- distribution strategy and largest record ---


def summary(mode: str = "ON_DEMAND", **more: Any) -> bytes:
    fields = {"StreamName": "orders", "StreamModeDetails": {"StreamMode": mode}, "OpenShardCount": 3, **more}
    return json.dumps({"StreamDescriptionSummary": fields}).encode()


def described(monkeypatch: pytest.MonkeyPatch, *responses: tuple[int, bytes]) -> Summary:
    """Return the transport's Summary of these responses (status, body), after one another."""
    left = iter(responses)

    def send(self: object, request: Any) -> AWSResponse:
        status, body = next(left)
        raw = HTTPResponse(BytesIO(body), preload_content=False)
        return AWSResponse(request.url, status, HTTPHeaders(), raw)

    monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", send)
    transport = KinesisTransport(Config(endpoint_url="http://127.0.0.1:9", region_name="us-east-1"))
    return transport.describe("orders", None)


@pytest.mark.parametrize(
    ("body", "strategy"),
    [
        (summary(RecordDistributionStrategy="AUTO"), "AUTO"),
        (summary(RecordDistributionStrategy="USER_PARTITION_KEY"), "USER_PARTITION_KEY"),
        (summary("PROVISIONED"), "USER_PARTITION_KEY"),
        (summary(), None),
    ],
)
def test_the_strategy_is_read_with_any_botocore(
    monkeypatch: pytest.MonkeyPatch, body: bytes, strategy: str | None
) -> None:
    found = described(monkeypatch, (200, body))
    assert (found.strategy, found.open_shards) == (strategy, 3)
    assert bool(found.problem) == (strategy is None)


@pytest.mark.parametrize("mode", ["ON_DEMAND", "PROVISIONED"])
@pytest.mark.parametrize(
    ("kib", "size"),
    [(1024, 1 << 20), (10240, 10 << 20), (None, None), ("2048", None), (True, None), (0, None), (-1, None), ({}, None)],
)
def test_the_largest_record_is_read(monkeypatch: pytest.MonkeyPatch, mode: str, kib: object, size: int | None) -> None:
    assert described(monkeypatch, (200, summary(mode, MaxRecordSizeInKiB=kib))).max_record_size == size


def test_a_stand_in_without_a_record_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert described(monkeypatch, (200, summary("PROVISIONED"))).max_record_size is None


def test_why_the_strategy_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = json.dumps({"__type": "AccessDeniedException", "message": "not for you"}).encode()
    found = described(monkeypatch, (400, denied))
    assert found == Summary(None, problem="DescribeStreamSummary: AccessDeniedException: not for you")


def test_a_throttled_description_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    throttled = json.dumps({"__type": "LimitExceededException", "message": "later"}).encode()
    described_stream = summary(RecordDistributionStrategy="AUTO")
    assert described(monkeypatch, (400, throttled), (200, described_stream)).strategy == "AUTO"


# --- errors ---


def client_error(code: str, status: int, request_id: str | None = None) -> boto.ClientError:
    metadata = {"HTTPStatusCode": status, **({"RequestId": request_id} if request_id else {})}
    response: Any = {"Error": {"Code": code, "Message": "so"}, "ResponseMetadata": metadata}
    return boto.ClientError(response, "PutRecords")


# Each may be raised before and after the request was sent. Only whether it was sent counts.
WITHOUT_A_RESPONSE: list[Exception] = [
    boto.ReadTimeoutError(endpoint_url="http://x"),
    boto.ConnectTimeoutError(endpoint_url="http://x"),
    boto.EndpointConnectionError(endpoint_url="http://x"),
    boto.ConnectionClosedError(endpoint_url="http://x"),
    boto.ProxyConnectionError(proxy_url="http://x"),
    boto.SSLError(endpoint_url="https://x", error=OSError("bad")),
    boto.HTTPClientError(error=OSError("bad")),
    boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    boto.NoCredentialsError(),
    boto.NoRegionError(),
    boto.ProfileNotFound(profile="nope"),
    boto.ConfigParseError(path="config"),
    boto.CredentialRetrievalError(provider="sso", error_msg="so"),
    boto.TokenRetrievalError(provider="sso", error_msg="expired"),
    boto.UnauthorizedSSOTokenError(),
    boto.SSOTokenLoadError(error_msg="so"),
    boto.MissingDependencyException(msg="awscrt"),
    FileNotFoundError("token"),
    ValueError(),
]


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("failure", WITHOUT_A_RESPONSE, ids=lambda each: type(each).__name__)
def test_without_a_response_a_sent_request_may_be_written(failure: Exception, sent: bool) -> None:
    error = errors.classify(failure, sent)
    assert error.maybe_written is sent
    assert error.message
    assert error.cause is failure


@pytest.mark.parametrize(
    ("code", "status", "request_id", "maybe_written"),
    [
        ("AccessDeniedException", 400, "1", False),
        ("ResourceNotFoundException", 400, None, False),  # as botocore's Stubber sends it
        ("KMSThrottlingException", 400, "1", False),
        ("ThrottlingException", 429, "1", False),
        ("SomethingNewException", 400, "1", False),
        ("SomethingNewException", 400, None, True),
        ("InternalFailure", 500, "1", True),
        ("InternalFailure", 400, "1", True),
        ("RequestTimeoutException", 408, "1", True),
        ("ServiceUnavailable", 503, "1", True),
        ("AccessDeniedException", 500, "1", True),
        # Errors of proxies and gateways: botocore takes the status as code, because the body has none.
        ("400", 400, "1", True),
        ("403", 403, None, True),
        ("408", 408, "1", True),
        ("499", 499, None, True),
        ("", 499, "1", True),
        ("301", 301, None, True),
        ("413", 413, None, False),
        ("415", 415, None, False),
        ("", 502, None, True),
    ],
)
def test_only_the_services_own_refusal_says_that_nothing_was_written(
    code: str, status: int, request_id: str | None, maybe_written: bool
) -> None:
    error = errors.classify(client_error(code, status, request_id), sent=True)
    assert error.status == status
    assert error.maybe_written is maybe_written
    assert not errors.classify(client_error(code, status, request_id), sent=False).maybe_written


def test_a_body_too_large_for_a_gateway_has_a_code_of_its_own() -> None:
    assert errors.classify(client_error("413", 413)).code == "RequestEntityTooLarge"


def test_the_traceback_of_a_failure_is_safe_to_show() -> None:
    response: Any = {"Error": {"Code": "Bad\nCode", "Message": "red \x1b[31m\nERROR forged"}, "ResponseMetadata": {}}
    failure = boto.ClientError(response, "PutRecords")
    failure.__context__ = boto.EndpointConnectionError(endpoint_url="http://me:secret@host:1/")
    failure.__context__.__context__ = failure  # a circle of causes ends
    error = errors.classify(failure)
    assert (error.code, error.message) == (r"Bad\nCode", r"red \x1b[31m\nERROR forged")
    failure.__context__.__context__ = None
    shown = "".join(traceback.format_exception(failure))
    assert "\x1b" not in shown
    assert "\nERROR" not in shown
    assert "secret" not in shown
    assert "http://***@host:1/" in shown
    assert failure.response["Error"] == {"Code": error.code, "Message": error.message}
