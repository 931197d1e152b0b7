"""Minutes without the service: few requests meanwhile, everything delivered soon after."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kplpy.core.outcome import Delivered
from kplpy.core.record import KEPT_ATTEMPTS
from tests.core_helpers import policy
from tests.simulation.invariants import check
from tests.simulation.scenario import NEVER, Load, Scenario, Trouble, draw
from tests.simulation.world import CORE, World

BEGIN, END = 20.0, 200.0


def outage(kind: str, shards: int) -> Scenario:
    load = Load(
        records=2400,
        seconds=240.0,
        pattern="steady",
        sizes=(500, 1500),
        large_share=0.0,
        keys="uniform",
        explicit_share=0.0,
        keyless_share=0.0,
        oversize=False,
        batch=1,
    )
    troubles = (Trouble(kind, BEGIN, END, 1.0), Trouble("listing_fails", BEGIN, END, 1.0))
    return replace(
        draw(0),
        policy=policy(ttl=NEVER),
        load=load,
        troubles=troubles,
        changes=(),
        shards=shards,
        on_demand=False,
        senders=24,
        latency=(0.005, 0.05),
        capacity=1.0,
        windows=False,
        flushes=(),
        room_calls=(),
        inflight_bytes=NEVER,
        gives_up_at=NEVER,
    )


@pytest.mark.parametrize("shards", [1, 8])
@pytest.mark.parametrize("kind", ["refused", "unavailable", "cut_before", "never", "request_throttled"])
def test_an_outage_of_minutes(kind: str, shards: int) -> None:
    world = World(outage(kind, shards)).run()
    check(world)
    asked = world.pipeline.totals.requests_failed
    assert 20 <= asked <= 2 * (END - BEGIN)  # at most two requests a second, however many shards there are
    late = []
    for record in world.accepted:
        assert record.completion is not None
        assert isinstance(record.completion.outcome, Delivered)
        assert len(record.tries) <= KEPT_ATTEMPTS
        late.append(record.completed_at - max(record.arrival, CORE + END))
    # Only what was in a request that hangs waits for its timeout.
    assert max(late) < (13.0 if kind == "never" else 5.0)
    assert sorted(late)[len(late) * 9 // 10] < 5.0
