"""Plays simulated histories and shrinks one that fails. scripts/simulate.py is the command for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from tests.simulation.invariants import check
from tests.simulation.scenario import FAULTS, SIZE_EVENTS, Scenario, draw
from tests.simulation.world import World

# Events that at least one history in twenty must have.
EVENTS = (*FAULTS, *SIZE_EVENTS, "expiry", "split", "merge", "timeout", "auto", "aggregate of one")
SHARE = 0.05


@dataclass
class Findings:
    """The results of several histories.

    event_counts: for each event, the number of histories that had it
    records, seconds: one value per history that passed
    failures: seed and error of each history that failed
    """

    histories: int = 0
    event_counts: Counter[str] = field(default_factory=Counter)
    records: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def rare(self) -> list[str]:
        """Return the events that too few histories had."""
        return [name for name in EVENTS if self.event_counts[name] < SHARE * self.histories]


def play(scenario: Scenario) -> World:
    """Play one history and check its invariants at the end; raise Violation if one does not hold."""
    world = World(scenario).run()
    check(world)
    return world


def play_all(seeds: Iterable[int]) -> Findings:
    found = Findings()
    for seed in seeds:
        found.histories += 1
        try:
            world = play(draw(seed))
        except Exception as error:
            found.failures.append((seed, f"{type(error).__name__}: {str(error)[:2000]}"))
            continue
        found.event_counts.update(set(world.event_counts))
        found.records.append(len(world.accepted))
        found.seconds.append(world.now - 5000.0)
    return found


def shrink(scenario: Scenario) -> Scenario:
    """Remove troubles and changes, and halve the load, as long as the history still fails."""
    smaller = True
    while smaller:
        smaller = False
        tries = [scenario.without_trouble(at) for at in range(len(scenario.troubles))]
        tries += [scenario.without_change(at) for at in range(len(scenario.changes))]
        tries.append(replace(scenario, flushes=(), room_calls=()))
        tries.append(replace(scenario, senders=1))
        tries.append(replace(scenario, load=replace(scenario.load, records=scenario.load.records // 2)))
        for each in tries:
            if each != scenario and each.load.records and _fails(each):
                scenario, smaller = each, True
                break
    return scenario


def _fails(scenario: Scenario) -> bool:
    try:
        play(scenario)
    except Exception:
        return True
    return False
