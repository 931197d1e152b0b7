"""The invariants that hold at the end of every history, checked against the model's ledger."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from kplpy.core.outcome import Delivered, Failed, Reason
from kplpy.core.policy import MALFORMED_ATTEMPTS
from kplpy.core.record import KEPT_ATTEMPTS
from kplpy.core.results.outcomes import WRONG_SHARD
from kplpy.core.results.retry_policy import MALFORMED
from kplpy.hash_keys import HashKeys
from kplpy.local.model.sequence import shard_index
from kplpy.wire.compressed import unpack_batch
from kplpy.wire.decode import InnerRecord, decode_aggregate, decode_message
from tests.simulation.scenario import NEVER
from tests.simulation.world import DENIED, POISON, Record, Violation, World

INVALID = "InvalidArgumentException"


# A copy's place in a consumer's order: stream, shard (parents before children), sequence number, sub-sequence number.
Place = tuple[int, int, int, int]


@dataclass(frozen=True)
class Copy:
    """One copy of a user record in the stream."""

    shard_id: str
    sequence_number: str
    readable: bool  # a KCL consumer does not drop it
    in_order: bool  # it is readable, and its hash key is in the range of the shard
    place: Place
    headers: dict[str, str | None] | None


def check(world: World) -> None:
    """Raise Violation if an invariant does not hold."""
    copies = _copies(world)
    for record in world.records:
        _check_record(world, record, copies[record.ident])
    if any(record.completion is None for record in world.accepted):
        raise Violation("a record was never answered")
    if world.scenario.policy.ordered and not world.event_counts["auto"]:
        _check_order(world, copies)
    _check_accounts(world)
    _check_effort(world)


def _copies(world: World) -> dict[int, list[Copy]]:
    """Return all copies of each record in the ledger, deleted streams included."""
    streams = {each.incarnation: each for each in [*world.model.account.deleted, *world.model.streams.values()]}
    era = {incarnation: number for number, incarnation in enumerate(streams)}
    copies: dict[int, list[Copy]] = defaultdict(list)
    hashes = HashKeys()
    for entry in world.model.ledger():
        index = shard_index(entry.shard_id) or 0
        shard = streams[entry.incarnation].shards[index]
        message = unpack_batch(entry.data)
        if message is not None:
            inner, readable = decode_message(message), True
        else:
            inner = decode_aggregate(entry.data)
            readable = decode_aggregate(entry.data, shard.first, shard.last) != []
        for within, each in enumerate(inner or [InnerRecord(entry.data, "", None)]):
            if POISON in each.data:
                raise Violation("the model accepted a record that it refuses")
            in_order = readable
            if message is not None:
                explicit = each.explicit_hash_key
                hash_key = hashes.compute(each.partition_key) if explicit is None else int(explicit)
                in_order = shard.first <= hash_key <= shard.last
            place = era[entry.incarnation], index, int(entry.sequence_number), within
            copy = Copy(entry.shard_id, entry.sequence_number, readable, in_order, place, each.headers)
            copies[int.from_bytes(each.data[:6], "big")].append(copy)
    return copies


def _check_record(world: World, record: Record, copies: list[Copy]) -> None:
    def wrong(what: str) -> Violation:
        return Violation(f"record {record.ident}: {what}; {record.completion}; tries {record.tries}; copies {copies}")

    completion = record.completion
    if completion is None:
        raise wrong("never answered")
    outcome = completion.outcome
    if isinstance(outcome, Delivered):
        same = [each for each in copies if each.sequence_number == outcome.sequence_number]
        if not same or same[0].shard_id != outcome.shard_id:
            raise wrong("acknowledged, and not in the ledger")
        # Until shards are listed, only DescribeStreamSummary can show that the service places records.
        unseen = world.event_counts["auto"] and outcome.final.ended <= world.knowledge.first_listed
        if not same[0].readable and not (unseen and completion.batches and len(completion.batches[0].items) == 1):
            raise wrong("acknowledged where a consumer drops it")
        if world.scenario.policy.ordered and not world.event_counts["auto"] and not same[0].in_order:
            raise wrong("acknowledged where its order is lost")
        if len(copies) > 1 and not record.maybe_written:
            raise wrong("written more than once, and not marked as a possible duplicate")
        if outcome.final.code is not None or not CLOCK_ORDER(outcome.final.started, outcome.final.ended):
            raise wrong("its last attempt was not a success")
    else:
        _check_failure(world, record, outcome, copies)
    if any(each.headers != record.headers for each in copies):
        raise wrong(f"has other headers than {record.headers}")
    resent = any(each.code == WRONG_SHARD for each in record.tries)
    if record.malformed > MALFORMED_ATTEMPTS and len(record.tries) < KEPT_ATTEMPTS:
        raise wrong(f"sent again after {record.malformed} malformed entries")
    if record.maybe_written and not (
        record.ambiguous or resent or record.off_shard or _may_have_failed_in_flight(world, record)
    ):
        raise wrong("marked as a possible duplicate for no reason")
    # Each request is a try, except the one that delivered the record, and the one in flight when the record failed.
    last = isinstance(outcome, Delivered) or _may_have_failed_in_flight(world, record)
    if not min(record.sent - last, KEPT_ATTEMPTS) <= len(record.tries) <= record.sent - isinstance(outcome, Delivered):
        raise wrong(f"{len(record.tries)} attempts for {record.sent} requests that held it")
    ends = [each.ended for each in record.tries]
    if ends != sorted(ends) or any(each.code is None for each in record.tries):
        raise wrong("its attempts are not in order, or one of them succeeded")


def CLOCK_ORDER(started: float, ended: float) -> bool:
    return started <= ended


def _may_have_failed_in_flight(world: World, record: Record) -> bool:
    """Return True if the record failed, and a request that held it may have been in flight then."""
    completion = record.completion
    assert completion is not None
    return isinstance(completion.outcome, Failed) and (
        completion.outcome.reason is Reason.CLOSED or world.scenario.policy.answer_timeout < NEVER
    )


def _check_failure(world: World, record: Record, outcome: Failed, copies: list[Copy]) -> None:
    def wrong(what: str) -> Violation:
        return Violation(f"record {record.ident}: {what}; {outcome}; tries {record.tries}; copies {copies}")

    policy = world.scenario.policy
    kinds = {trouble.kind for trouble in world.scenario.troubles}
    if copies and not record.maybe_written:
        raise wrong("failed, in the ledger, and not marked as possibly written")
    if not outcome.message:
        raise wrong("failed without a message")
    last = record.tries[-1].code if record.tries else None
    if outcome.reason is Reason.EXPIRED:
        world.event_counts["expiry"] += 1
        if record.completed_at < record.arrival + policy.waiting_ttl - 1e-5:
            raise wrong(f"expired after {record.completed_at - record.arrival} s")
        late = record.completed_at > record.arrival + policy.waiting_ttl + 1.0
        if late and not record.tries and not record.maybe_written:
            raise wrong(f"expired only after {record.completed_at - record.arrival} s")
        denied_for = record.completed_at - world.only_denied_since(record.completed_at)
        # After WRONG_SHARD the record waited for a listing first.
        if denied_for > 9 and policy.waiting_ttl >= 5 and last != WRONG_SHARD:
            raise wrong("expired although the service had denied everything for longer than the grace")
        if world.scenario.calm and policy.ttl >= 5 and not world.overloaded():
            raise wrong("expired although nothing was wrong")
    elif outcome.reason is Reason.REJECTED:
        code = outcome.message.partition(":")[0]
        if code == INVALID:
            if not record.poisoned and "all_invalid" not in kinds:
                raise wrong("rejected because of another record")
        elif code not in DENIED:
            raise wrong("rejected for an error that may be temporary")
        elif world.denied_for[record.ident] < 4.9:
            raise wrong(f"rejected after {world.denied_for[record.ident]} s of denial")
    elif outcome.reason is Reason.TOO_LARGE:
        pass  # World._check_too_large() has checked it
    elif outcome.reason is Reason.HEADERS:
        world.event_counts["headers refused"] += 1
        if not record.tags or not world.event_counts["auto"]:
            raise wrong("refused for its headers on a stream that takes them")
    elif outcome.reason is Reason.THROTTLED:
        if not policy.fail_if_throttled or last != "ProvisionedThroughputExceededException":
            raise wrong("failed as throttled")
    elif outcome.reason is Reason.UNCLEAR:
        if last == MALFORMED and record.malformed >= MALFORMED_ATTEMPTS:
            pass  # another attempt could write another copy
        elif world.denied_for[record.ident] < 4.9:
            raise wrong(f"given up after {record.malformed} malformed answers")
    elif outcome.reason is not Reason.CLOSED or world.scenario.gives_up_at == NEVER:
        raise wrong("failed for no reason")
    if len(record.tries) > KEPT_ATTEMPTS:
        raise wrong("keeps too many attempts")


def _check_order(world: World, copies: dict[int, list[Copy]]) -> None:
    """Check that the first copies of each key's delivered records are in the order of the puts."""
    latest: dict[tuple[str, str | None], tuple[Place, Record]] = {}
    for record in world.accepted:
        if record.keyless or record.completion is None or not isinstance(record.completion.outcome, Delivered):
            continue
        key = record.partition_key, record.explicit_hash_key
        first = min(each.place for each in copies[record.ident] if each.in_order)
        before = latest.get(key)
        if before is not None and first < before[0]:
            raise Violation(
                f"record {record.ident} of {key} overtook {before[1].ident}: {copies[record.ident]} before "
                f"{copies[before[1].ident]}; tries {record.tries} and {before[1].tries}"
            )
        latest[key] = first, record


def _check_accounts(world: World) -> None:
    pipeline = world.pipeline
    if pipeline.outstanding:
        raise Violation(f"{pipeline.outstanding} records are still outstanding")
    totals = pipeline.totals
    delivered = sum(isinstance(each.completion.outcome, Delivered) for each in world.accepted if each.completion)
    counted = (totals.user_records_accepted, totals.user_records_put, totals.user_records_failed)
    if counted != (len(world.accepted), delivered, len(world.accepted) - delivered):
        raise Violation(f"the totals say {counted}; {delivered} of {len(world.accepted)} were delivered")
    if world.scenario.gives_up_at < NEVER:
        return
    left = pipeline.leftovers()
    if any(left.values()):
        raise Violation(f"left behind: {left}")


def _check_effort(world: World) -> None:
    """Check that the core was not called too often, and that it did not send too many requests."""
    seconds = world.now - 5000.0
    records = len(world.records)
    queues = 16
    totals = world.pipeline.totals
    # A few entries may be throttled: a large one that needs the service's full bucket may overtake the entry before it.
    limited_alone = world.scenario.limited_alone and not world.sent_without_map
    if limited_alone and totals.entries_throttled > 2 + totals.kinesis_records_sent // 20:
        raise Violation(f"{totals.entries_throttled} entries were throttled although nobody else sends")
    if world.calls > 12 * records + 60 * seconds + 40 * queues:
        raise Violation(f"{world.calls} calls of the core for {records} records in {seconds:.0f} s")
    if world.requests > 4 * records + 20 * seconds:
        raise Violation(f"{world.requests} requests for {records} records in {seconds:.0f} s")
