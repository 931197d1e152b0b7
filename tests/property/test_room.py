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
    def no_stream_has_more_than_its_share(self) -> None:
        for stream in self.streams:
            records = stream.held_records + stream.kept_records
            sizes = [size for each, size in self.inside if each is stream]
            sizes += [each.size for each in self.waiting if each.stream is stream and each.granted]
            assert records <= -(-3 * MAX_RECORDS // 4)
            assert sum(sizes) <= 0.75 * MAX_BYTES or sum(sizes) - max(sizes) <= 0.75 * MAX_BYTES

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
