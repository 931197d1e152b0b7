"""Plays histories, many in a row, and shrinks the one that fails. scripts/simulate.py is the command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from tests.simulation.invariants import check
from tests.simulation.scenario import FAULTS, SIZE_EVENTS, Scenario, draw
from tests.simulation.world import World

# What must be met by at least one history in twenty.
EVENTS = (*FAULTS, *SIZE_EVENTS, "expiry", "split", "merge", "timeout", "auto")
SHARE = 0.05


@dataclass
class Findings:
    """What a row of histories met."""

    histories: int = 0
    met: Counter[str] = field(default_factory=Counter)
    records: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def rare(self) -> list[str]:
        """What too few histories met."""
        return [name for name in EVENTS if self.met[name] < SHARE * self.histories]


def play(scenario: Scenario) -> World:
    """One history, with all its invariants checked at the end."""
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
        found.met.update(set(world.met))
        found.records.append(len(world.accepted))
        found.seconds.append(world.now - 5000.0)
    return found


def shrink(scenario: Scenario) -> Scenario:
    """Leave out troubles and changes, and halve the load, as long as it still fails."""
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
