"""The producer's Config of the agent, its credentials, and the ARNs of delivery streams."""

from __future__ import annotations

from typing import Any

import pytest

from kplpy import ConfigError
from kplpy.agent.credentials import make_session
from kplpy.agent.sending import Sending, config_of, regions_of, stream_of
from kplpy.agent.settings import AgentSettings, FlowSettings
from tests.stub_aws import fake_sts

MIB = 1 << 20


def flow(stream: str = "orders", number: int = 1, **options: Any) -> FlowSettings:
    return FlowSettings(f"kinesis:{stream}:/logs/{number}", f"/logs/{number}", "kinesis", stream, **options)


def delivery(stream: str = "archive", **options: Any) -> FlowSettings:
    return FlowSettings(f"fh:{stream}:/logs/*", "/logs/*", "firehose", stream, **options)


def settings(*flows: FlowSettings, **options: Any) -> AgentSettings:
    return AgentSettings(flows, **{"kinesis_region": "eu-west-1", **options})


def options_of(*flows: FlowSettings, **options: Any) -> dict[str, Any]:
    config = config_of(settings(*flows, **options), None)[0]
    return {stream: dict(own) for stream, own in (config.streams or {}).items()}


def test_single_records_are_the_default_and_records_are_kept_for_ever() -> None:
    config = config_of(settings(flow()), None)[0]
    assert config.record_ttl_ms is None
    assert options_of(flow()) == {
        "orders": {
            "record_max_buffered_time_ms": 60_000,
            "collection_max_count": 500,
            "collection_max_size": 5 * MIB,
            "aggregation_enabled": False,
            "compression": "none",
            "ordered": False,
        }
    }


def test_flows_to_one_stream_share_its_smallest_limits() -> None:
    first = flow(max_buffer_age_ms=5000, max_buffer_size_records=7)
    second = flow(number=2, max_buffer_age_ms=9000, max_buffer_size_bytes=1)
    (own,) = options_of(first, second).values()
    assert own["record_max_buffered_time_ms"] == 5000
    assert own["collection_max_count"] == 7
    assert own["collection_max_size"] == 52_224  # the producer's least


@pytest.mark.parametrize("options", [{"aggregation": True}, {"compression": "gzip"}, {"ordered": True}])
def test_flows_to_one_stream_must_agree(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"'kinesis:orders:/logs/1' and .* agree on {next(iter(options))}"):
        options_of(flow(), flow(number=2, **options))


def test_settings_of_the_connection_reach_the_config() -> None:
    given = settings(
        flow(),
        kinesis_endpoint="http://127.0.0.1:1",
        firehose_endpoint="http://127.0.0.1:2",
        connection_timeout_ms=1,
        socket_timeout_ms=900_000,
        max_connections=1000,
        user_agent="mine/1.0",
    )
    config = config_of(given, None)[0]
    assert (config.endpoint_url, config.firehose_endpoint_url) == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert (config.connect_timeout_ms, config.request_timeout_ms, config.max_connections) == (100, 600_000, 256)
    assert config.botocore_config is not None
    assert config.botocore_config.user_agent == "mine/1.0"  # type: ignore[attr-defined]


def test_a_delivery_streams_name_becomes_an_arn_without_a_call() -> None:
    arn = "arn:aws:firehose:eu-central-1:123456789012:deliverystream/logs"
    assert stream_of(delivery(arn), "eu-west-1") == arn
    assert stream_of(delivery("logs"), "eu-west-1") == "arn:aws:firehose:eu-west-1:000000000000:deliverystream/logs"
    assert stream_of(delivery("logs"), "cn-north-1").startswith("arn:aws-cn:")
    assert stream_of(delivery("logs"), "us-gov-west-1").startswith("arn:aws-us-gov:")
    assert stream_of(flow("logs"), "eu-west-1") == "logs"
    (own,) = options_of(delivery("logs", aggregated_record_size_bytes=5000)).values()
    assert own["joined_record_size"] == 5000
    (own,) = options_of(delivery("logs", aggregated_record_size_bytes=5000, join_before_processing=True)).values()
    assert own["joined_record_size"] == 0


def test_records_of_several_lines_are_not_joined() -> None:
    (own,) = options_of(delivery(aggregated_record_size_bytes=5000, multi_line_start_pattern="^A")).values()
    assert own["joined_record_size"] == 0


def test_a_name_and_an_arn_with_this_name_share_their_limits() -> None:
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
    found = options_of(flow(arn, max_buffer_age_ms=5000), flow(max_buffer_size_records=7))
    assert found["orders"] == found[arn]
    assert found[arn]["record_max_buffered_time_ms"] == 5000
    assert found[arn]["collection_max_count"] == 7
    with pytest.raises(ConfigError, match="agree on ordered"):
        options_of(flow(arn, ordered=True), flow())


def test_flows_to_one_delivery_stream_share_the_smallest_joined_record() -> None:
    (own,) = options_of(delivery(aggregated_record_size_bytes=5000), delivery(aggregated_record_size_bytes=9)).values()
    assert own["joined_record_size"] == 9
    (own,) = options_of(delivery(aggregated_record_size_bytes=5000), delivery()).values()
    assert own["joined_record_size"] == 0


def test_the_regions_of_streams_and_delivery_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    assert regions_of(settings(firehose_region="eu-north-1"), None) == ("eu-west-1", "eu-north-1")
    assert regions_of(settings(), None) == ("eu-west-1", "eu-west-1")
    nowhere = settings(kinesis_region=None)
    assert regions_of(nowhere, None) == ("us-east-1", "us-east-1")  # as the Kinesis Agent
    monkeypatch.setenv("AWS_REGION", "eu-south-1")
    assert regions_of(nowhere, None) == ("eu-south-1", "eu-south-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "sa-east-1")
    assert regions_of(nowhere, None) == ("sa-east-1", "sa-east-1")


def test_another_producer_is_made_only_for_what_it_depends_on() -> None:
    given = settings(flow(), kinesis_endpoint="http://127.0.0.1:9")
    sending = Sending(given)
    try:
        first = sending.producer
        same = settings(flow(initial_position="START_OF_FILE"), kinesis_endpoint="http://127.0.0.1:9")
        assert not sending.replace(same, 0.0)
        assert sending.producer is first
        assert sending.replace(settings(flow(aggregation=True), kinesis_endpoint="http://127.0.0.1:9"), 0.0)
        assert sending.producer is not first
        sending.close_retired(0.0)
        assert not first.health().is_open
    finally:
        sending.close()


def frozen(given: AgentSettings) -> tuple[str | None, ...]:
    """Return the credentials that the session has."""
    session = make_session(given)
    assert session is not None
    credentials = session.get_credentials()
    assert credentials is not None
    found = credentials.get_frozen_credentials()
    return found.access_key, found.secret_key, found.token


def test_configured_keys_are_used() -> None:
    assert make_session(settings(flow())) is None
    assert frozen(settings(flow(), access_key_id="KEY", secret_access_key="secret")) == ("KEY", "secret", None)


@pytest.mark.parametrize("external_id", [None, "arn:aws:iam::1:role/x"])
def test_a_role_is_assumed_at_the_configured_endpoint(external_id: str | None) -> None:
    role = "arn:aws:iam::123456789012:role/logs"
    with fake_sts() as sts:
        given = settings(
            flow(),
            access_key_id="KEY",
            secret_access_key="secret",
            assume_role_arn=role,
            assume_role_external_id=external_id,
            sts_endpoint=sts.endpoint_url,
        )
        assert frozen(given) == ("ASIA1", "secret", "token 1")
    (form,) = sts.asked
    assert (form["RoleArn"], form["RoleSessionName"], form["DurationSeconds"]) == (role, "AWSKinesisAgent", "3600")
    assert form.get("ExternalId") == external_id
