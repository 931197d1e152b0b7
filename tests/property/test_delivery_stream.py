"""The requests of a delivery stream, for any records and any joined_record_size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kplpy import Config
from kplpy.core.exchange import Exchange
from kplpy.core.outcome import Delivered
from kplpy.core.pipeline import Pipeline
from kplpy.core.policy import delivery_policy_of
from kplpy.core.record import PendingRecord, payload_size
from tests.core_helpers import item

RECORDS = 500
REQUEST_BYTES = 4 << 20
RECORD_BYTES = 1_024_000

SIZES = st.lists(st.one_of(st.integers(0, 300), st.integers(0, RECORD_BYTES)), min_size=1, max_size=60)
JOINED = st.one_of(st.just(0), st.integers(1, 1000), st.integers(1, RECORD_BYTES))


@given(SIZES, JOINED, st.integers(1, 60), st.integers(1, 40))
def test_every_request_is_within_the_limits_and_each_record_gets_the_id_of_its_own(
    record_sizes: list[int], joined: int, together: int, most: int
) -> None:
    """The service's record holds the user records in order, whole, and up to the size that was asked for."""
    policy = delivery_policy_of(
        Config(joined_record_size=joined, aggregation_max_count=most, record_max_buffered_time_ms=0)
    )
    pipeline = Pipeline(policy, lambda: 0.5)
    records = [item(bytes([number]) * size, "key", arrival=1.0) for number, size in enumerate(record_sizes)]
    for start in range(0, len(records), together):
        pipeline.accept(records[start : start + together], 1.0)
    pipeline.flush(1.0)
    now = 1.0
    order: list[PendingRecord] = []
    expected: dict[PendingRecord, str] = {}
    found: dict[PendingRecord, str] = {}
    while len(found) < len(records):
        request = pipeline.next_request(now)
        if request is None:
            now = pipeline.next_wakeup(now)
            continue
        assert len(request.batches) <= RECORDS
        assert request.size == sum(len(b"".join(batch.parts())) for batch in request.batches) <= REQUEST_BYTES
        for batch in request.batches:
            data = b"".join(batch.parts())
            assert data == b"".join(each.data for each in batch.items)
            assert len(batch.items) == 1 or (len(data) <= joined and len(batch.items) <= most)
            assert batch.wire_size == batch.data_size == len(data) <= RECORD_BYTES
            assert batch.payload == payload_size(batch.items)
            lengths = [len(each.data) for each in batch.items]
            assert batch.sizes() == (sum(lengths), min(lengths), max(lengths))
            order += batch.items
        ids = [f"{request.started}-{number}" for number in range(len(request.batches))]
        expected.update({each: ids[n] for n, batch in enumerate(request.batches) for each in batch.items})
        pipeline.request_ended(request, Exchange(now, now, 0.0, [{"SequenceNumber": each} for each in ids]), now)
        for completion in pipeline.take_completions():
            assert isinstance(completion.outcome, Delivered)
            outcomes = completion.outcomes or [completion.outcome] * len(completion.items)
            found.update(
                {each: outcome.sequence_number for each, outcome in zip(completion.items, outcomes, strict=True)}
            )
            pipeline.settled(completion.items)
    assert order == records
    assert found == expected
    assert not any(pipeline.leftovers().values())
