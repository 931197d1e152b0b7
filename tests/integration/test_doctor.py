"""Every problem that the doctor knows is found with its fault in the local Kinesis, and nothing is written."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from kplpy import Config, InvalidRecordError
from kplpy.aws.assumed_role import make_session
from kplpy.doctor import examine
from kplpy.doctor.catalogue import CHECKS
from kplpy.doctor.endpoint import check_endpoint
from kplpy.doctor.tls import check_tls
from kplpy.errors import ConfigError
from kplpy.local import Fault, LocalKinesis
from tests.inside import forget_clock_offsets, ignore_dry_run
from tests.integration import doctor_faults as faults
from tests.integration.clock_front import Clock, front
from tests.integration.doctor_faults import FAULTS, Patient, Setup, denied, event, patient
from tests.stub_aws import fake_sts


@pytest.mark.parametrize(("check", "level", "text", "fault"), FAULTS, ids=[f"{each[0]}-{each[1]}" for each in FAULTS])
def test_a_fault_is_found(check: str, level: str, text: str, fault: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch, https=fault in faults.HTTPS) as one:
        fault(one)
        before = len(one.kinesis.ledger())
        report = one.examine()
        written = len(one.kinesis.ledger()) - before
    found = report.finding(check)
    assert (found.level, text in found.text) == (level, True), found
    assert report.is_sound == (not report.problems)
    assert [each.id for each in report.findings] == list(CHECKS)
    assert written == (1 if one.options.get("put") and found.level == "warning" else 0)


def test_each_problem_has_a_fault() -> None:
    # These two faults are not in the local Kinesis: see the next tests.
    others = {("clock", "warning")}
    documented = {(name, level) for name, check in CHECKS.items() for level in check.problems}
    assert documented == {(each[0], each[1]) for each in FAULTS} | others


@pytest.mark.parametrize(
    ("ahead", "text"), [(120, "is 12"), (-90, "s ahead of the service's"), (600, "AWS refuses signatures")]
)
def test_a_wrong_clock_is_found(ahead: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_clock_offsets(monkeypatch)
    with patient(monkeypatch) as one, front(one.kinesis, Clock(ahead)) as web:
        one.config["endpoint_url"] = web.url
        found = one.examine().finding("clock")
    assert (found.level, text in found.text) == ("warning", True), found
    assert found.figures["seconds_ahead"] == pytest.approx(-ahead, abs=3)


def test_a_certificate_that_ends_soon_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import datetime, timedelta, timezone

    issue, end = trustme.CA.issue_cert, datetime.now(timezone.utc) + timedelta(days=3)
    monkeypatch.setattr(trustme.CA, "issue_cert", lambda self, *names: issue(self, *names, not_after=end))
    with patient(monkeypatch, https=True) as one:
        found = one.examine().finding("tls")
    assert found.level == "warning"
    assert "the certificate ends in 3.0 days" in found.text


def test_a_verified_certificate_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch, https=True) as one:
        found = one.examine().finding("tls")
    assert found.level == "ok"
    assert found.text.startswith("TLSv1.3, verified; the certificate is valid for ")
    assert found.figures["certificate_days"] > 1000


def test_the_end_of_a_roles_credentials_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_sts() as sts, patient(monkeypatch) as one:
        role = "arn:aws:iam::123456789012:role/app"
        config = Config(region_name="us-east-1")
        one.config["session"] = make_session(config, ("AKIA1", "secret", None), role, "session", sts.endpoint_url)
        found = one.examine().finding("credentials")
    assert found.level == "ok"
    assert "a role, assumed by kplpy" in found.text
    assert found.text.endswith("minutes (renewed before that)")
    assert (found.figures["expires"], found.figures["temporary"]) == ("2099-01-01T00:00:00Z", True)


def test_an_unknown_profile_is_not_reported_as_a_missing_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "region-eu")
    report = examine("orders", Config(endpoint_url="http://127.0.0.1:9", region_name="us-east-1"))
    assert report.finding("region").level == "unchecked"
    assert [each.id for each in report.problems] == ["credentials"]


def test_a_failed_credential_process_is_one_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("[default]\ncredential_process = false\n", encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    with patient(monkeypatch) as one:
        faults.no_credentials(one)
        report = one.examine()
    assert [each.id for each in report.problems] == ["credentials"]
    assert "CredentialProcessFailed" in report.finding("credentials").text


def test_without_a_sample_the_permission_to_read_is_unchecked_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        one.options["sample"] = 0
        report = one.examine()
    assert report.finding("permission.GetRecords").text == report.finding("sample").text


def test_a_malformed_region_is_a_failure_of_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        one.config["region_name"] = "us east"
        report = one.examine()
    assert [each.id for each in report.problems] == ["region"]
    assert "'us east'" in report.finding("region").text


@pytest.mark.parametrize(
    ("region", "level", "text"),
    [("eu-west-1", "ok", "ms"), ("us-east-1", "note", "name the region us-east-1")],
)
def test_an_address_of_another_region_is_noted(region: str, level: str, text: str) -> None:
    answer = SimpleNamespace(is_from_service=True, seconds=0.01)
    url = "https://vpce-0a.kinesis.eu-west-1.vpce.amazonaws.com"
    given: Any = {"calls": object(), "description": answer, "listing": None, "obstacle": ""}
    (found,) = check_endpoint(SimpleNamespace(**given, endpoint=url, region=region))  # type: ignore[arg-type]
    assert (found.level, text in found.text) == (level, True), found


@pytest.mark.parametrize(
    ("region", "arn"),
    [
        ("cn-north-1", "arn:aws-cn:kinesis:cn-north-1:*:stream/orders"),
        ("us-gov-west-1", "arn:aws-us-gov:kinesis:us-gov-west-1:*:stream/orders"),
        ("us-isob-east-1", "arn:aws-iso-b:kinesis:us-isob-east-1:*:stream/orders"),
    ],
)
def test_the_policy_is_of_the_regions_partition(region: str, arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        one.config["region_name"] = region
        one.options["sample"] = 0
        for operation in ("DescribeStreamSummary", "ListShards"):
            one.fail("AccessDeniedException", operation)
        policy = one.examine().policy
    assert policy is not None
    assert policy["Statement"][0]["Resource"] == arn


def test_clear_text_to_another_machine_is_a_warning() -> None:
    elsewhere: Any = SimpleNamespace(calls=object(), endpoint="http://kinesis.example:4567")
    (found,) = check_tls(elsewhere)
    assert (found.level, "to kinesis.example in clear text" in found.text) == ("warning", True)


def test_a_sound_stream_has_no_problem_and_a_put_is_written_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        one.put([(event(number), f"c{number}") for number in range(300)], 60)
        one.options["put"] = True
        report = one.examine()
        assert [each.partition_key for each in one.kinesis.ledger()].count("kplpy-doctor") == 1
    assert report.is_sound
    assert report.policy is None
    checked = [each.id for each in report.findings if each.level == "unchecked"]
    assert checked == ["permission.others"]
    assert report.finding("test_put").figures["attempts"] == 1


def test_a_sound_streams_report_has_each_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch, https=True) as one:
        one.put([(event(number), f"c{number}") for number in range(300)], 60)
        one.options["put"] = True
        report = json.loads(json.dumps(one.examine().to_json()))
    for found in report["findings"]:
        expected = set(CHECKS[found["id"]].figures) - {"code", "zstd"}
        assert set(found["figures"]) - {"zstd"} == expected, found


def test_the_policy_allows_what_was_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        for operation in ("DescribeStreamSummary", "ListShards", "DescribeStreamConsumer", "ListStreamConsumers"):
            denied(operation)(one)
        report = one.examine()
    assert report.policy == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Producer",
                "Effect": "Allow",
                "Action": ["kinesis:DescribeStreamSummary", "kinesis:ListShards"],
                "Resource": faults.ARN,
            },
            {
                "Sid": "Reader",
                "Effect": "Allow",
                "Action": ["kinesis:ListStreamConsumers"],
                "Resource": faults.ARN,
            },
            {
                "Sid": "FanOut",
                "Effect": "Allow",
                "Action": ["kinesis:DescribeStreamConsumer"],
                "Resource": f"{faults.ARN}/consumer/*",
            },
        ],
    }
    # Without a shard there is no proof that this endpoint honours DryRun.
    assert report.finding("permission.PutRecords").level == "unchecked"


_KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
_BY_ALIAS = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/orders"}}


@pytest.mark.parametrize(
    ("key", "resource", "condition"),
    [
        (f"arn:aws:kms:us-east-1:123456789012:key/{_KEY}", f"arn:aws:kms:us-east-1:123456789012:key/{_KEY}", None),
        (_KEY, f"arn:aws:kms:us-east-1:*:key/{_KEY}", None),
        ("alias/orders", "arn:aws:kms:us-east-1:*:key/*", _BY_ALIAS),
        ("arn:aws:kms:us-east-1:123456789012:alias/orders", "arn:aws:kms:us-east-1:123456789012:key/*", _BY_ALIAS),
    ],
)
def test_the_policy_allows_the_kms_key(
    key: str, resource: str, condition: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with patient(monkeypatch) as one:
        summary = one.kinesis.handle("DescribeStreamSummary", faults.ORDERS)["StreamDescriptionSummary"]
        answer = {"StreamDescriptionSummary": {**summary, "EncryptionType": "KMS", "KeyId": key}}
        one.kinesis.faults.outage(Fault(answer=answer), operation="DescribeStreamSummary")
        assert f"KMS key {key}; producers need" in one.examine().finding("encryption").text
        for operation in ("PutRecords", "GetRecords"):
            one.fail("KMSAccessDeniedException", operation)
        report = one.examine()
    assert report.finding("encryption").level == "failure"
    assert report.policy is not None
    statements = {each["Sid"]: each for each in report.policy["Statement"]}
    assert {sid: each["Action"] for sid, each in statements.items()} == {
        "ProducerKey": ["kms:GenerateDataKey"],
        "ReaderKey": ["kms:Decrypt"],
    }
    for each in statements.values():
        assert (each["Resource"], each.get("Condition")) == (resource, condition)


def test_nothing_is_written_where_dry_run_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    ignore_dry_run(monkeypatch)
    with patient(monkeypatch) as one:
        found = one.examine().finding("permission.PutRecords")
        assert one.kinesis.ledger() == []
    assert found.level == "unchecked"
    assert "may ignore DryRun" in found.text


def test_an_unknown_operation_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        one.fail("UnknownOperationException", "ListStreamConsumers")
        report = one.examine()
    found = report.finding("permission.ListStreamConsumers")
    assert (found.level, found.text) == ("unchecked", "this endpoint does not know ListStreamConsumers")
    assert report.finding("consumers").text.startswith("0 registered; their names are not known")
    assert report.is_sound


def test_a_throttled_call_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        one.fail("ProvisionedThroughputExceededException", "GetRecords")
        report = one.examine()
    assert report.finding("permission.GetRecords").text.startswith("allowed; throttled just now")
    assert report.finding("sample").level == "unchecked"


def test_a_password_in_the_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        one.config["endpoint_url"] = one.kinesis.endpoint_url.replace("://", "://user:s3cret@")
        report = one.examine()
        one.kinesis.faults.outage()
        unreached = one.examine()
    assert report.endpoint == one.kinesis.endpoint_url.replace("://", "://***@")
    assert report.is_sound
    assert "s3cret" not in json.dumps([report.to_json(), unreached.to_json()])


def test_what_cannot_be_checked_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        faults.missing(one)
        report = one.examine()
    assert report.finding("shards").text == "there is no such stream"
    assert report.finding("permission.PutRecords").text == "there is no such stream"


def test_the_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        one.kinesis.faults.outage(Fault(transport="never"), operation="GetShardIterator")
        one.config["request_timeout_ms"] = 700
        one.options |= {"timeout": 1.0, "put": True}
        began = time.monotonic()
        report = one.examine()
        took = time.monotonic() - began
    assert took < 8
    assert "time for the examination is up" in report.finding("test_put").text
    assert report.finding("permission.GetShardIterator").level == "unchecked"


def test_shards_that_are_read_in_part_are_compared_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        one.put([(event(number), "customer-1" if number % 4 else f"c{number}") for number in range(2000)], 600)
        one.options["sample"] = 200
        report = one.examine()
    assert report.finding("sample").figures["kinesis_records"] == 200
    assert report.finding("hot_keys").level == "warning"
    share = report.finding("hot_keys").figures["keys"][0]["share"]
    assert share == pytest.approx(0.75, abs=0.15)
    assert report.finding("sample").figures["user_records_per_second"] == pytest.approx(2000 / 600, rel=0.3)


def test_a_short_sample_of_a_busy_stream_has_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 records of a shard that takes 900 a second are read in 0.1 s, after minutes without a record."""
    with patient(monkeypatch) as one:
        one.put([(event(number), f"c{number}") for number in range(4 * 900 * 3)], 3.0)
        one.kinesis.call(lambda model: setattr(model.streams["orders"], "created", time.time() - 3600))
        one.options["sample"] = 400
        report = one.examine()
    assert report.finding("sample").figures["user_records_per_second"] == pytest.approx(3600, rel=0.1)
    load = report.finding("load")
    assert (load.level, load.figures["part_of_limit"]) == ("warning", pytest.approx(0.9, abs=0.1))
    assert report.finding("capacity").figures["shards_needed"]["as now"] == pytest.approx(5, abs=1)


def test_an_on_demand_stream_gets_no_advice_to_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service refuses SplitShard and UpdateShardCount there."""
    with patient(monkeypatch) as one:
        faults.uneven(one)
        one.put([(event(number), "customer-1" if number % 4 else f"c{number}") for number in range(3000)], 1.0)
        one.kinesis.handle(
            "UpdateStreamMode", {"StreamARN": faults.ARN, "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
        )
        report = one.examine()
    assert report.finding("shards").level == "ok"
    assert report.finding("balance").advice == "if it is one key, see hot_keys; else use more distinct keys"
    assert report.finding("load").advice.startswith("the service adds shards by itself")


def test_too_few_shards_are_enough_for_aggregates(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        faults.plain_records(one)
        one.options["rate"] = 20_000.0
        found = one.examine().finding("capacity")
    assert found.advice == "aggregate the records: then they fit into the open shards; or open 25 shards"


def test_empty_records_without_keys_have_no_skew(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        faults.automatic(one)
        one.kinesis.handle("PutRecords", {"StreamName": "orders", "Records": [{"Data": b""}] * 8})
        report = one.examine()
    assert report.finding("sample").figures["bytes"] == 0
    assert report.finding("balance").figures["times_average"] == 1
    assert report.finding("hot_keys").text == "no record has a partition key"


def test_the_streams_own_options_are_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch) as one:
        one.config["streams"] = {"orders": {"max_user_record_size": 2 << 20}, "logs": {"compression": "gzip"}}
        report = one.examine()
    assert report.finding("record_size").figures["producer_bytes"] == 2 << 20


def test_the_time_of_the_test_put_is_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was that of starting a producer and finding the shards too."""
    with patient(monkeypatch) as one:
        one.options["put"] = True
        one.kinesis.faults.delay(0.8, operation="ListShards")
        found = one.examine().finding("test_put")
    assert found.figures["ms"] < 800
    assert re.search(r"by a request of [\d,]+ ms$", found.text)


def test_a_sample_of_more_time_than_the_retention_has_the_rate_of_the_retention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with patient(monkeypatch) as one:
        one.put([(event(number), f"c{number}") for number in range(864)], 86_000)
        one.kinesis.call(lambda model: setattr(model.streams["orders"], "created", time.time() - 365 * 86_400))
        one.options["since"] = 30 * 86_400.0
        report = one.examine()
    assert report.finding("sample").figures["user_records_per_second"] == pytest.approx(864 / 86_400, rel=0.02)


def test_a_long_time_without_records_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch, shards=1) as one:
        one.options["since"] = 31_536_000.0
        found = one.examine().finding("sample")
    assert found.text == "no records in the last 31,536,000 s in 1 of 1 shards"


def test_aggregates_are_counted_by_their_user_records(monkeypatch: pytest.MonkeyPatch) -> None:
    with patient(monkeypatch, shards=1) as one:
        with one.kinesis.producer() as producer:
            for number in range(500):
                producer.put_record("orders", event(number), f"c{number % 50}")
        report = one.examine()
    figures = report.finding("sample").figures
    assert figures["user_records"] == 500
    assert figures["kinesis_records"] < 50
    assert report.finding("aggregation").figures["now"] == pytest.approx(500 / figures["kinesis_records"], abs=0.01)


@pytest.mark.parametrize(
    ("stream", "options", "message"),
    [
        ("a b", {}, "stream must be a stream's ARN or its name"),
        ("arn:aws:firehose:us-east-1:123456789012:deliverystream/logs", {}, "not a delivery stream"),
        ("orders", {"sample": -1}, "sample must be from 0 to 100,000, got -1"),
        (5, {}, "stream must be a str, got int: 5"),
        ("orders", {"config": {"region_name": "us-east-1"}}, "config must be a kplpy Config, got {'region_name'"),
        ("orders", {"prices": 0.015}, "prices must be kplpy.doctor.Prices, got 0.015"),
        ("orders", {"sample": "many"}, "sample must be a whole number, got 'many'"),
        ("orders", {"sample": 2.5}, "sample must be a whole number, got 2.5"),
        ("orders", {"rate": True}, "rate must be a number, got True"),
        ("orders", {"since": 0}, "since must be from 0.001"),
        ("orders", {"rate": float("nan")}, "rate must be a number, got nan"),
        ("orders", {"record_size": 0}, "record_size must be from 1 to 10,485,760, got 0"),
        ("orders", {"timeout": 0.5}, "timeout must be from 1 to 3,600, got 0.5"),
    ],
)
def test_bad_arguments_are_refused(stream: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, InvalidRecordError), match=re.escape(message)):
        examine(stream, **options)


def test_a_server_that_is_no_kinesis_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalKinesis(stream="orders") as kinesis:
        one = Patient(kinesis, monkeypatch)
        kinesis.faults.outage(Fault(transport="garbage"))
        report = one.examine()
    assert report.finding("endpoint").level == "failure"
