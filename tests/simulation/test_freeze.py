"""A freeze of fifteen minutes, as Lambda's between two invocations: the clock jumps, and all goes on from there."""

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
    """All that was to happen after AT happens so much later."""

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
    """Steady puts for a minute. `flushed`: the first ones, just before the freeze, while others are under way."""
    scenario = outage("refused", shards)
    load = replace(scenario.load, records=1200, seconds=60.0)
    return replace(
        scenario, policy=policy(ttl=ttl), load=load, troubles=(), flushes=(AT - 0.5,) if flushed else (), senders=4
    )


@pytest.mark.parametrize("shards", [1, 8])
@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("ttl", [NEVER, 30.0, 0.5])
def test_what_is_put_after_the_thaw_is_as_if_nothing_had_been(ttl: float, flushed: bool, shards: int) -> None:
    world = FrozenWorld(invocations(ttl, flushed, shards)).run()
    if ttl == NEVER:  # the invariants would have what is left at the freeze expire in time
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
        assert record.completed_at - record.arrival < 3.0  # the shards may be listed first
    # Of what was left at the freeze only what came in the last second may have expired meanwhile.
    for record in before:
        assert record.completion is not None
        assert isinstance(record.completion.outcome, Delivered) or record.arrival > CORE + AT - 1.0
