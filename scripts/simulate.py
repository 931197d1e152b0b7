"""Plays random histories in parallel processes: `scripts/simulate.py 20000`, or one seed again with `SEED=17`.

JOBS: number of processes, by default one a core. FIRST: the first seed. The exit status is 1 if a history fails, or if
an expected event happened too rarely.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.simulation.run import SHARE, Findings, play, play_all, shrink
from tests.simulation.scenario import draw

CHUNK = 50


def _report(found: Findings, elapsed: float) -> None:
    print(f"{found.histories} histories in {elapsed:.0f} s, {len(found.failures)} failed")
    if found.records:
        median = sorted(found.records)[len(found.records) // 2]
        seconds = sorted(found.seconds)[len(found.seconds) // 2]
        print(f"median: {median} records, {seconds:.0f} virtual seconds")
    for name, count in sorted(found.event_counts.items(), key=lambda each: -each[1]):
        print(f"  {count:6} {count / found.histories:6.1%}  {name}")
    for seed, what in found.failures[:10]:
        print(f"SEED={seed} fails: {what[:600]}")
    if found.rare():
        print(f"in fewer than {SHARE:.0%} of the histories: {', '.join(found.rare())}")


def replay(seed: int) -> int:
    """Play one seed and print its scenario. After a failure print the traceback and a smaller scenario that fails."""
    scenario = draw(seed)
    print(scenario)
    try:
        world = play(scenario)
    except Exception:
        traceback.print_exc()
        scenario = shrink(scenario)
        print(f"shrunk: {scenario}")
        try:
            play(scenario)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
        return 1
    print(f"passes: {len(world.accepted)} records, {world.requests} requests; events {dict(world.event_counts)}")
    print(world.pipeline.totals)
    return 0


def main(arguments: list[str]) -> int:
    if os.environ.get("SEED"):
        return replay(int(os.environ["SEED"]))
    count = int(arguments[0]) if arguments else 2000
    first = int(os.environ.get("FIRST", "0"))
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    started = time.monotonic()
    found = Findings()
    with ProcessPoolExecutor(int(os.environ.get("JOBS", "0")) or os.cpu_count()) as pool:
        for each in pool.map(play_all, chunks):
            found.add(each)
            for seed, what in each.failures:
                print(f"SEED={seed} fails: {what[:300]}", flush=True)
    _report(found, time.monotonic() - started)
    return 1 if found.failures or (count >= 500 and found.rare()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
