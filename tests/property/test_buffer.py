"""The buffer under any history: its bounds hold, no put is overtaken or forgotten, and it is empty at the end."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kplpy import RecordFuture
from kplpy.futures.record_future import Origin
from kplpy.runtime.buffer import Buffer
from kplpy.runtime.stream import Stream
from kplpy.runtime.wait_queue import Waiter
from tests.held_stream import HeldStream
from tests.inside import newcomers_of

MAX_RECORDS = 12
MAX_BYTES = 1000
STREAMS = 3


class Put(Waiter):
    """A put of one record. It has buffer space once it is `granted`. It can complete only after it was drained."""

    __slots__ = ("drained", "number")

    def __init__(self, stream: Stream, size: int, number: int) -> None:
        super().__init__(stream, RecordFuture(Origin("test"), b"", "key", None, 0, 0.0), size)
        self.number = number
        self.drained = False

    def wake(self) -> None:
        pass


class BufferMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.buffer = Buffer(MAX_RECORDS, MAX_BYTES)
        self.streams = [HeldStream() for _ in range(STREAMS)]
        self.inside: list[Put] = []
        self.waiting: list[Put] = []  # in the order in which they began to wait
        self.puts = 0
        self.before = [0] * STREAMS  # how many records each stream had after the previous step

    def note_granted(self) -> None:
        granted = [each for each in self.waiting if each.granted]
        for put in granted:
            earlier = [each for each in self.waiting if each.stream is put.stream and each.number < put.number]
            assert all(each.granted for each in earlier), "a large put is overtaken by a later put of its stream"
        self.waiting = [each for each in self.waiting if not each.granted]
        self.inside += granted

    @rule(which=st.integers(0, STREAMS - 1), size=st.integers(0, MAX_BYTES + 200))
    def put(self, which: int, size: int) -> None:
        self.puts += 1
        put = Put(self.streams[which], size, self.puts)
        if self.buffer.admit(put.stream, put.record, 0, size):
            self.inside.append(put)
        else:
            self.waiting.append(put)
            self.buffer.wait_for(put)
            self.note_granted()

    @rule(which=st.integers(0, STREAMS - 1))
    def drain(self, which: int) -> None:
        stream = self.streams[which]
        staged = [each for each in self.inside if each.stream is stream and not each.drained]
        assert {id(each.record) for each in staged} == {id(record) for record in stream.staging}
        self.buffer.charge_drained(stream, len(staged), sum(each.size for each in staged))
        stream.staging.clear()
        stream.charged_by_place = {}
        for each in staged:
            each.drained = True
        self.buffer.renew(stream)
        self.note_granted()

    @precondition(lambda self: any(each.drained for each in self.inside))
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        put = data.draw(st.sampled_from([each for each in self.inside if each.drained]))
        self.inside.remove(put)
        self.buffer.release(put.stream, 1, put.size)
        self.note_granted()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """A waiting put times out or is cancelled."""
        put = data.draw(st.sampled_from(self.waiting))
        assert not self.buffer.stop_waiting(put)
        self.waiting.remove(put)
        self.note_granted()

    @precondition(lambda self: any(each.granted for each in self.inside))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """A put is cancelled just after it was granted: its record is taken back unless it was drained."""
        put = data.draw(st.sampled_from([each for each in self.inside if each.granted]))
        assert self.buffer.withdraw(put) == (not put.drained)
        if not put.drained:
            self.inside.remove(put)
        self.note_granted()

    @invariant()
    def counts_are_right(self) -> None:
        assert self.buffer.records == len(self.inside)
        assert self.buffer.bytes == sum(each.size for each in self.inside)
        for stream in self.streams:
            mine = [each.size for each in self.inside if each.stream is stream]
            assert (stream.held_records, stream.held_bytes) == (len(mine), sum(mine))
            assert stream.credit == stream.credit_records == 0, "a small buffer gives no credit"

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.inside) <= MAX_RECORDS
        sizes = [each.size for each in self.inside]
        # An empty buffer accepts a record of any size. Other records wait until that record has left.
        assert sum(sizes) <= MAX_BYTES or sum(sizes) - max(sizes) <= MAX_BYTES

    @invariant()
    def no_stream_is_given_more_than_its_share_beside_others(self) -> None:
        """A stream may have more from when it was alone. It then gets nothing until it is below its share."""
        has = [(each.held_records, each.held_bytes) for each in self.streams]
        for number, (records, size) in enumerate(has):
            before = self.before[number]
            if records > before > 0 and sum(others for others, _ in has) > records:
                assert records <= -(-3 * MAX_RECORDS // 4)
                assert size <= 0.75 * MAX_BYTES
        self.before = [records for records, _ in has]

    @invariant()
    def a_stream_alone_waits_only_for_the_bound(self) -> None:
        """While no other stream has records or waits, only the bound and earlier puts hold a stream back."""
        streams = {each.stream for each in [*self.inside, *self.waiting]}
        if len(streams) == 1 and self.waiting and not set(newcomers_of(self.buffer)) - streams:
            assert self.buffer.records >= MAX_RECORDS or self.buffer.bytes + self.waiting[0].size > MAX_BYTES

    @invariant()
    def no_put_waits_for_an_empty_buffer(self) -> None:
        assert self.inside or not self.waiting

    def teardown(self) -> None:
        """When all records complete, every waiting put is granted, and the buffer becomes empty."""
        while self.inside:
            for which in range(STREAMS):
                self.drain(which)
            put = self.inside.pop()
            if put.drained:
                self.buffer.release(put.stream, 1, put.size)
            else:
                self.inside.insert(0, put)
            self.note_granted()
        assert not self.waiting, "puts wait for ever"
        assert (self.buffer.records, self.buffer.bytes) == (0, 0)
        assert self.buffer.admit(self.streams[0], Put(self.streams[0], 0, 0).record, 0, MAX_BYTES)


TestBuffer = BufferMachine.TestCase
