"""Settings of streams over time, at given times: what ages out, what takes a while, what ends."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kplpy.local import Limits, Model, Phases, ServiceError

HOUR = 3600.0
SHARD = "shardId-000000000000"


def model_of(**phases: float) -> Model:
    model = Model(phases=Phases(**phases), limits=Limits.none())
    model.handle("CreateStream", {"StreamName": "s", "ShardCount": 1}, 0.0)
    return model


def put(model: Model, data: bytes, now: float) -> None:
    model.handle("PutRecord", {"StreamName": "s", "Data": data, "PartitionKey": "k"}, now)


def held(model: Model, now: float) -> list[bytes]:
    start = {"StreamName": "s", "ShardId": SHARD, "ShardIteratorType": "TRIM_HORIZON"}
    iterator = model.handle("GetShardIterator", start, now)["ShardIterator"]
    return [each["Data"] for each in model.handle("GetRecords", {"ShardIterator": iterator}, now)["Records"]]


def retain(model: Model, direction: str, hours: int, now: float) -> None:
    params = {"StreamName": "s", "RetentionPeriodHours": hours}
    model.handle(f"{direction}StreamRetentionPeriod", params, now)


def test_records_age_out_by_the_retention() -> None:
    model = model_of()
    put(model, b"old", 1.0)
    put(model, b"new", 20 * HOUR)
    retain(model, "Increase", 48, 24 * HOUR)
    assert held(model, 30 * HOUR) == [b"old", b"new"]
    retain(model, "Decrease", 24, 30 * HOUR)
    assert held(model, 30 * HOUR) == [b"new"]


def test_records_that_are_too_old_already_do_not_come_back() -> None:
    model = model_of()
    put(model, b"old", 1.0)
    assert held(model, 24 * HOUR) == [b"old"]
    retain(model, "Increase", 48, 24 * HOUR + 30)  # less than a minute after the last trim
    assert held(model, 24 * HOUR + 30) == []


def test_a_change_takes_the_updating_phase() -> None:
    model = model_of(updating=5)
    params = {"StreamName": "s", "EncryptionType": "KMS", "KeyId": "alias/x"}
    model.handle("StartStreamEncryption", params, 10.0)
    put(model, b"not yet", 12.0)

    def described(now: float) -> dict[str, Any]:
        found: dict[str, Any] = model.handle("DescribeStream", {"StreamName": "s"}, now)["StreamDescription"]
        return found

    assert (described(14.9)["StreamStatus"], described(14.9)["EncryptionType"]) == ("UPDATING", "NONE")
    with pytest.raises(ServiceError, match="ResourceInUseException"):
        model.handle("StopStreamEncryption", params, 14.9)
    assert (described(15.0)["StreamStatus"], described(15.0)["EncryptionType"]) == ("ACTIVE", "KMS")


def test_a_commitment_lasts_a_day_at_least() -> None:
    model = model_of()

    def update(status: str, now: float) -> Any:
        params = {"MinimumThroughputBillingCommitment": {"Status": status}}
        return model.handle("UpdateAccountSettings", params, now)["MinimumThroughputBillingCommitment"]

    def shown(now: float) -> Any:
        return model.handle("DescribeAccountSettings", {}, now)["MinimumThroughputBillingCommitment"]

    assert update("ENABLED", 10.0) == {"Status": "ENABLED", "StartedAt": 10.0, "EarliestAllowedEndAt": 24 * HOUR + 10}
    assert update("DISABLED", 20.0)["Status"] == "ENABLED_UNTIL_EARLIEST_ALLOWED_END"
    assert shown(24 * HOUR + 10) == {"Status": "DISABLED", "StartedAt": 10.0, "EndedAt": 24 * HOUR + 10}
    with pytest.raises(ServiceError, match="already DISABLED"):
        update("DISABLED", 24 * HOUR + 20)
    assert update("ENABLED", 24 * HOUR + 30)["StartedAt"] == 24 * HOUR + 30
    assert update("DISABLED", 72 * HOUR)["Status"] == "DISABLED"


def test_the_largest_warm_throughput_is_reached_at_once() -> None:
    model = Model(limits=Limits.none())
    model.handle("UpdateAccountSettings", {"MinimumThroughputBillingCommitment": {"Status": "ENABLED"}}, 0.0)
    model.handle("CreateStream", {"StreamName": "s", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}, 0.0)
    began = time.process_time()
    for mibps, shards in ((10_240, 10_240), (0, 4)):
        model.handle("UpdateStreamWarmThroughput", {"StreamName": "s", "WarmThroughputMiBps": mibps}, 1.0)
        found = model.streams["s"].open
        assert len(found) == shards
        assert [each.first for each in found[1:]] == [each.last + 1 for each in found[:-1]]
        assert all(model.streams["s"].route(each.last) is each for each in found)
    assert time.process_time() - began < 3.0  # it once took 6 s
