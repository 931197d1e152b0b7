"""A process frozen for fifteen minutes, as by Lambda between two invocations: the clock jumps, then work continues."""

from __future__ import annotations

from dataclasses import replace
from heapq import heapify

import pytest

from kplpy.core.outcome import Delivered
from tests.core_helpers import policy
from tests.simulation.invariants import check
from tests.simulation.scenario import NEVER, Scenario
from tests.simulation.test_outage import outage
from tests.simulation.world import CORE, World

FREEZE = 900.0
AT = 30.0


class FrozenWorld(World):
    """A world in which all events after AT happen FREEZE seconds later."""

    def _schedule_load(self) -> None:
        super()._schedule_load()
        self._at(CORE + AT, self._freeze)

    def _freeze(self) -> None:
        self._events = [(at + FREEZE, serial, event) for at, serial, event in self._events]
        heapify(self._events)
        self._deadline += FREEZE
        for record in self.records:
            if record.arrival > self.now:
                record.arrival += FREEZE


def invocations(ttl: float, flushed: bool, shards: int) -> Scenario:
    """Return a scenario of steady puts for a minute. `flushed`: flush just before the freeze."""
    scenario = outage("refused", shards)
    load = replace(scenario.load, records=1200, seconds=60.0)
    return replace(
        scenario, policy=policy(ttl=ttl), load=load, troubles=(), flushes=(AT - 0.5,) if flushed else (), senders=4
    )


@pytest.mark.parametrize("shards", [1, 8])
@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("ttl", [NEVER, 30.0, 0.5])
def test_records_put_after_a_freeze_are_delivered_without_delay(ttl: float, flushed: bool, shards: int) -> None:
    world = FrozenWorld(invocations(ttl, flushed, shards)).run()
    if ttl == NEVER:  # else records that the freeze made expire late would break the invariants
        check(world)
    before = [record for record in world.accepted if record.arrival <= CORE + AT]
    after = [record for record in world.accepted if record.arrival > CORE + AT]
    assert len(before) > 400
    assert len(after) > 400
    assert min(record.arrival for record in after) > CORE + FREEZE
    for record in after:
        assert record.completion is not None
        assert isinstance(record.completion.outcome, Delivered)
        assert not record.tries
        assert not record.maybe_written
        assert record.completed_at - record.arrival < 3.0  # enough to list the shards first
    # Only records of the last second before the freeze may have expired during the freeze.
    for record in before:
        assert record.completion is not None
        assert isinstance(record.completion.outcome, Delivered) or record.arrival > CORE + AT - 1.0
