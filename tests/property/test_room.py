"""Room under any history: its bounds hold, nobody is overtaken or forgotten, and it is empty in the end."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kplpy.runtime.admission import Room
from kplpy.runtime.line import Waiter
from kplpy.runtime.stream import Stream
from tests.held_stream import HeldStream

MAX_RECORDS = 12
MAX_BYTES = 1000
STREAMS = 3


class Put(Waiter):
    """One record that wants in. It is noted when room was granted to it."""

    __slots__ = ("number",)

    def __init__(self, stream: Stream, size: int, number: int) -> None:
        super().__init__(stream, 0, size)
        self.number = number

    def wake(self) -> None:
        pass


class RoomMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.room = Room(MAX_RECORDS, MAX_BYTES)
        self.streams = [HeldStream() for _ in range(STREAMS)]
        self.inside: list[tuple[Stream, int]] = []
        self.waiting: list[Put] = []  # in their order
        self.puts = 0
        self.before = [0] * STREAMS  # how many records each stream had after the step before

    @rule(which=st.integers(0, STREAMS - 1), size=st.integers(0, MAX_BYTES + 200))
    def put(self, which: int, size: int) -> None:
        self.puts += 1
        put = Put(self.streams[which], size, self.puts)
        if self.room.try_take(put.stream, 0, size):
            self.enter(put)
        else:
            self.waiting.append(put)
            self.room.wait_for(put)

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        stream, size = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        self.room.release(stream, 1, size)

    @precondition(lambda self: any(each.granted for each in self.waiting))
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """One of those that were woken goes on."""
        put = data.draw(st.sampled_from([each for each in self.waiting if each.granted]))
        assert self.room.leave(put)
        self.waiting.remove(put)
        self.enter(put)
        self.room.staged(put)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """One whose time is over, or that was cancelled."""
        put = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        self.room.leave(put)
        self.room.staged(put)

    def enter(self, put: Put) -> None:
        self.inside.append((put.stream, put.size))
        self.room.add(put.stream, 1, put.size)

    @invariant()
    def counts_are_right(self) -> None:
        assert self.room.records == len(self.inside)
        assert self.room.bytes == sum(size for _, size in self.inside)
        for stream in self.streams:
            mine = [size for each, size in self.inside if each is stream]
            assert (stream.held_records, stream.held_bytes) == (len(mine), sum(mine))
            kept = [each.size for each in self.waiting if each.stream is stream and each.granted]
            assert (stream.kept_records, stream.kept_bytes) == (len(kept), sum(kept))

    @invariant()
    def bounds_hold(self) -> None:
        granted = [each.size for each in self.waiting if each.granted]
        assert len(self.inside) + len(granted) <= MAX_RECORDS
        sizes = [*granted, *(size for _, size in self.inside)]
        # one record is let into an empty room whatever its size, and others wait until it is gone
        assert sum(sizes) <= MAX_BYTES or sum(sizes) - max(sizes) <= MAX_BYTES

    @invariant()
    def no_stream_is_given_more_than_its_share_beside_others(self) -> None:
        """It may have more from when it was alone; then it gets nothing until it is below."""
        has = [(each.held_records + each.kept_records, each.held_bytes + each.kept_bytes) for each in self.streams]
        for number, (records, size) in enumerate(has):
            before = self.before[number]
            if records > before > 0 and sum(others for others, _ in has) > records:
                assert records <= -(-3 * MAX_RECORDS // 4)
                assert size <= 0.75 * MAX_BYTES
        self.before = [records for records, _ in has]

    @invariant()
    def nobody_alone_waits_for_others(self) -> None:
        """All that stands in a stream's way is the bound, and who waits before it, while no other has or wants any."""
        streams = {stream for stream, _ in self.inside} | {each.stream for each in self.waiting}
        first = next((each for each in self.waiting if not each.granted), None)
        if len(streams) == 1 and first is not None and not self.room._newcomers - streams:
            records = self.room.records + self.room._kept_records
            assert records >= MAX_RECORDS or self.room.bytes + self.room._kept_bytes + first.size > MAX_BYTES

    @invariant()
    def in_order_within_a_stream(self) -> None:
        """Of one stream, nobody is granted room before one that came earlier, large as that may be."""
        for stream in self.streams:
            granted = [each.granted for each in self.waiting if each.stream is stream]
            assert granted == sorted(granted, reverse=True)

    @invariant()
    def nobody_waits_in_an_empty_room(self) -> None:
        if not self.inside and self.waiting:
            assert any(each.granted for each in self.waiting)

    def teardown(self) -> None:
        """When all is answered, everybody gets in, and the room is empty."""
        while self.inside or self.waiting:
            woken = [each for each in self.waiting if each.granted]
            for put in woken:
                self.waiting.remove(put)
                self.enter(put)
                self.room.staged(put)
            if self.inside:
                stream, size = self.inside.pop()
                self.room.release(stream, 1, size)
            else:
                assert woken, "they wait for ever"
        assert (self.room.records, self.room.bytes) == (0, 0)
        assert self.room.tight  # so small a room is always counted
        assert self.room.try_take(self.streams[0], 0, MAX_BYTES)


TestRoom = RoomMachine.TestCase
