"""The compiled record and future: what differs from the Python twin only inside."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref
from concurrent.futures import Future
from typing import Any

import pytest

from kplpy import RecordFuture, accelerator
from kplpy.core.outcome import Delivered
from kplpy.core.record import NO_HASH_KEY, SendAttempt, payload_size
from kplpy.errors import NotPicklableError
from kplpy.futures.record_future import FutureState, HeadersFuture, KeylessFuture, Origin
from kplpy.futures.resolve import deliver_plain, first_pending, resolve, resolve_each
from kplpy.hash_keys import HashKeys
from kplpy.runtime.put_target import PutTarget, move_staged, new_staging
from kplpy.validation import plain_records

needs_accelerator = pytest.mark.skipif(not accelerator.accelerated, reason="the accelerator is off")

ORIGIN = Origin("orders")
DELIVERED = Delivered("shardId-0", "1", SendAttempt(1.0, 1.0, 2.0))


def futures(count: int = 1) -> list[RecordFuture]:
    made = plain_records(ORIGIN, [(b"data", f"key-{n}") for n in range(count)], 1000, HashKeys())
    assert made is not None
    return made[0]


@pytest.mark.parametrize("hash_key", [0, 1, (1 << 64) - 1, 1 << 64, (1 << 128) - 1, NO_HASH_KEY])
def test_a_hash_key_of_any_size_comes_back(hash_key: int) -> None:
    record = RecordFuture(ORIGIN, b"x", "k", None, hash_key, 1.0)
    assert record.hash_key == hash_key
    record.hash_key = hash_key ^ 1 if hash_key >= 0 else 5
    assert record.hash_key == (hash_key ^ 1 if hash_key >= 0 else 5)


def test_a_hash_key_above_128_bits_is_refused_in_compiled_code_or_kept() -> None:
    """The checks of a put refuse it long before."""
    if accelerator.accelerated:
        with pytest.raises(OverflowError):
            RecordFuture(ORIGIN, b"x", "k", None, 1 << 128, 1.0)


def test_futures_of_all_kinds_are_standard_futures() -> None:
    for kind in (RecordFuture, KeylessFuture, HeadersFuture):
        made = kind(ORIGIN, b"x", "k", None, 7, 1.0)
        assert isinstance(made, (Future, FutureState))
        assert (made.data, made.partition_key, made.explicit_hash_key, made.arrival) == (b"x", "k", None, 1.0)
        assert (made.tries, made.maybe_written, made.done()) == ((), False, False)
        with pytest.raises(NotPicklableError):
            pickle.dumps(made)
        with pytest.raises(NotPicklableError):
            copy.copy(made)


def test_a_subclass_keeps_its_own_attributes() -> None:
    class Mine(RecordFuture):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.mine = [1]

    made = Mine(ORIGIN, b"x", "k", None, 7, 1.0)
    assert (made.mine, made.hash_key, payload_size([made])) == ([1], 7, 2)
    assert resolve([made], DELIVERED) == []
    assert (made.done(), made.data, made.result().shard_id) == (True, b"", "shardId-0")


@needs_accelerator
def test_the_garbage_collector_sees_a_future_once_something_is_attached() -> None:
    first, second, third = futures(3)
    assert not any(map(gc.is_tracked, (first, second, third)))
    first.mine = first  # type: ignore[attr-defined]
    second.add_done_callback(print)
    assert gc.is_tracked(first)
    assert gc.is_tracked(second)
    assert not gc.is_tracked(third)
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None


def test_a_future_keeps_nothing_alive_and_nothing_keeps_it() -> None:
    data = b"x" * 1000 + str(id(ORIGIN)).encode()
    before = sys.getrefcount(data)
    made = plain_records(ORIGIN, [(data, "key")], 10_000, HashKeys())
    assert made is not None
    [record], size = made
    assert size == len(data) + 3
    assert sys.getrefcount(data) > before
    gone = weakref.ref(record)
    assert list(deliver_plain([record], DELIVERED, [])) in ([], [record])
    resolve([record], DELIVERED)
    assert (record.data, record.done()) == (b"", True)
    del made, record
    assert gone() is None
    assert sys.getrefcount(data) == before


def test_payloads_follow_the_data_and_the_key() -> None:
    [record] = futures()
    assert payload_size([record]) == len(b"data") + len("key-0")
    record.data = b"longer data"
    assert payload_size([record]) == len(b"longer data") + len("key-0")
    record.partition_key = "é"
    assert payload_size([record]) == len(b"longer data") + 1
    tagged = HeadersFuture(ORIGIN, b"x", "k", None, 7, 1.0)
    tagged.tags = b"12345"
    assert payload_size([record, tagged]) == len(b"longer data") + 1 + 7


def test_an_outcome_goes_only_to_those_without_one_and_without_waits() -> None:
    plain, waited, decided = futures(3)
    waited.add_done_callback(print)
    resolve([decided], DELIVERED)
    later = Delivered("shardId-9", "9", SendAttempt(1.0, 1.0, 2.0))
    assert resolve([plain, waited, decided], later) == [waited]
    assert [each.result().shard_id for each in (plain, waited, decided)] == ["shardId-9", "shardId-9", "shardId-0"]


def test_each_future_gets_its_own_outcome_except_those_with_waits() -> None:
    plain, waited, decided = futures(3)
    waited.add_done_callback(print)
    resolve([decided], DELIVERED)
    own = [Delivered("shardId-1", str(number), SendAttempt(1.0, 1.0, 2.0)) for number in range(3)]
    assert resolve_each([plain, waited, decided], own) == [([waited], own[1])]
    assert (plain.result().sequence_number, plain.data) == ("0", b"")
    assert not waited.done()
    assert decided.result().sequence_number == "1"
    with pytest.raises(ValueError, match="zip"):
        resolve_each([plain], own)


def test_the_first_record_without_an_outcome_is_found() -> None:
    records = futures(5)
    resolve(records[:3], DELIVERED)
    assert [first_pending(records, start) for start in range(6)] == [3, 3, 3, 3, 4, 5]
    resolve(records, DELIVERED)
    assert first_pending(records, 0) == 5
    assert first_pending([], 0) == 0


def test_staged_records_move_in_their_order() -> None:
    staging = new_staging()
    first, second, third = futures(3)
    staging.extend([first, second])
    moved: list[RecordFuture] = [third]
    move_staged(staging, moved)
    assert moved == [third, first, second]
    assert not staging
    staging.append(first)
    move_staged(staging, moved)
    assert moved == [third, first, second, first]


def target() -> Any:
    made: Any = PutTarget()
    made.origin, made.staging, made.linger, made.wake_at = ORIGIN, new_staging(), 0.1, float("inf")
    made.credit, made.credit_records, made.staged_bytes, made.plain_size = 10_000, 3, 0, 1000
    made.overhead, made.batch_records, made.batch_bytes, made.wake_requested = 400, 1000, 100_000, True
    return made


@needs_accelerator
@pytest.mark.parametrize(
    ("data", "key"),
    [
        (bytearray(b"x"), "k"),
        (b"x", None),
        (b"x", b"k"),
        (b"x", ""),
        (b"x", "k" * 257),
        (b"x", "\ud800"),
        (b"x" * 1001, "k"),
    ],
)
def test_what_a_put_must_look_at_is_left_to_python(data: Any, key: Any) -> None:
    made = target()
    assert accelerator.native.put_plain(made, data, key) is None
    assert (list(made.staging), made.staged_bytes) == ([], 0)


@needs_accelerator
def test_a_put_stages_on_credit_and_wakes() -> None:
    woken: list[Any] = []
    made = target()
    made.on_due = woken.append
    records = [accelerator.native.put_plain(made, b"x" * 100, "é") for _ in range(4)]
    assert list(made.staging) == records
    assert made.staged_bytes == 4 * 501
    assert accelerator.native.put_plain(made, b"x", "k") is None  # more than credit_records before it
    made.credit_records = 100
    made.credit = made.staged_bytes + 401
    assert accelerator.native.put_plain(made, b"x", "kk") is None
    assert woken == []
    made.wake_requested = False
    made.staging.append(accelerator.native.put_plain(made, b"", "k"))
    assert woken == [made]


@needs_accelerator
def test_an_error_of_the_wake_comes_out_of_the_put_after_the_record_is_staged() -> None:
    made = target()
    made.wake_requested = False

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    made.on_due = interrupted
    with pytest.raises(KeyboardInterrupt):
        accelerator.native.put_plain(made, b"x", "k")
    assert len(made.staging) == 1


@needs_accelerator
@pytest.mark.parametrize(
    "name",
    ["data", "partition_key", "explicit_hash_key", "tries", "arrival", "hash_key", "_origin", "_outcome", "_waits"],
)
def test_a_field_cannot_be_deleted(name: str) -> None:
    """Compiled code reads the fields as they are, also if there is none any more."""
    [future] = futures()
    with pytest.raises(AttributeError, match=f"{name} of a record cannot be deleted"):
        delattr(future, name)
    assert resolve([future], DELIVERED) == []
    assert future.done()


@needs_accelerator
def test_an_attribute_of_the_application_can_be_deleted() -> None:
    [future] = futures()
    future.note = "mine"  # type: ignore[attr-defined]
    del future.note  # type: ignore[attr-defined]
    assert not hasattr(future, "note")
    with pytest.raises(AttributeError):
        del future.note  # type: ignore[attr-defined]
