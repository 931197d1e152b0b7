"""RecordResult behaves like any dataclass, although it reads its fields from the future on first use."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from kplpy.core.outcome import Delivered
from kplpy.core.record import SendAttempt, add_attempt
from kplpy.futures.record_future import Origin, RecordFuture
from kplpy.futures.resolve import resolve
from kplpy.records import Attempt, RecordResult

ATTEMPTS = (
    Attempt(1000.0, 0.5, False, "InternalFailure", "sorry", 1.0),
    Attempt(1002.0, 0.25, True, None, None, 1.5),
)
EXPECTED = RecordResult("shardId-000000000003", "4711", ATTEMPTS, True)


def fresh() -> RecordResult:
    """Return the result of a record that was delivered at the second attempt, with no field read yet."""
    future = RecordFuture(Origin("orders"), b"data", "key", None, 7, 49.0)
    add_attempt(future, SendAttempt(1000.0, 50.0, 50.5, "InternalFailure", "sorry"))
    future.maybe_written = True
    resolve([future], Delivered("shardId-000000000003", "4711", SendAttempt(1002.0, 52.0, 52.25)))
    return future.result()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(RecordResult)])
def test_each_field_alone(field: str) -> None:
    result = fresh()
    assert getattr(result, field) == getattr(EXPECTED, field)
    assert getattr(result, field) is getattr(result, field)


def test_it_compares_and_hashes_like_one_with_its_fields_set() -> None:
    assert fresh() == EXPECTED
    assert len({fresh(), EXPECTED, fresh()}) == 1
    assert repr(fresh()) == repr(EXPECTED)
    assert type(fresh()) is RecordResult


def test_it_can_be_unpacked_and_copied() -> None:
    assert dataclasses.asdict(fresh()) == dataclasses.asdict(EXPECTED)
    assert dataclasses.replace(fresh(), shard_id="other") == dataclasses.replace(EXPECTED, shard_id="other")
    assert copy.copy(fresh()) == copy.deepcopy(fresh()) == EXPECTED
    assert pickle.loads(pickle.dumps(fresh())) == EXPECTED


def test_it_is_frozen_and_has_no_other_attributes() -> None:
    result = fresh()
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.shard_id = "other"  # type: ignore[misc]  # that is what is tried
    for each in (result, RecordResult("shard", "1", (), False), RecordResult.__new__(RecordResult)):
        with pytest.raises(AttributeError, match="'RecordResult' object has no attribute 'shard'"):
            _ = each.shard  # type: ignore[attr-defined]
