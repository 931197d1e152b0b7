"""Prints what each emulator does, and how many records a second each stores.

python -m benchmarks.emulators [--seconds 3] [--rounds 3] [--no-probes | --no-speed]
"""

from __future__ import annotations

import argparse
import statistics

import boto3

from benchmarks.emulators.probes import PROBES, Service, kept_after_kill, seen
from benchmarks.emulators.servers import EMULATORS, Emulator, running
from benchmarks.environments import UnavailableError
from benchmarks.local_kinesis import measure

SHAPES = {"500 × 100 B": (500, 100), "500 × 1 KB": (500, 1000)}
SHARDS, CONNECTIONS = 16, 4


def print_probes(emulators: list[Emulator]) -> None:
    columns = {each.name: answers(each) for each in emulators}
    print(f"| | {' | '.join(each.title for each in emulators)} |")
    print("|---" * (len(emulators) + 1) + "|")
    for name in [*PROBES, "records survive SIGKILL"]:
        print(f"| {name} | {' | '.join(columns[each.name][name] for each in emulators)} |")


def answers(emulator: Emulator) -> dict[str, str]:
    with running(emulator) as server:
        service = Service(server.endpoint_url)
        found = {name: seen(probe, service) for name, probe in PROBES.items()}
    found["records survive SIGKILL"] = seen(kept_after_kill, emulator)
    return found


def print_speed(emulators: list[Emulator], seconds: float, rounds: int) -> None:
    """Measure the emulators in turn, in each round again."""
    for shape, (count, size) in SHAPES.items():
        rates: dict[str, list[float]] = {each.name: [] for each in emulators}
        pure: dict[str, list[float]] = {each.name: [] for each in emulators}
        for _ in range(rounds):
            for each in emulators:
                run = stored(each, count, size, seconds)
                rates[each.name].append(run[0])
                pure[each.name].append(run[0] / run[1])
        for each in emulators:
            rate, cpu = statistics.median(rates[each.name]), statistics.median(pure[each.name])
            print(f"| {each.title} | {shape} | {rate:,.0f} | {cpu:,.0f} |", flush=True)


def stored(emulator: Emulator, count: int, size: int, seconds: float) -> tuple[float, float]:
    """Return the accepted records per second, and the server's share of a core."""
    with running(emulator, limits=False) as server:
        service = Service(server.endpoint_url)
        service.client.create_stream(StreamName="bench", ShardCount=SHARDS)
        service.wait("bench")
        run = measure(server, count, size, seconds, CONNECTIONS)
    return run.records_per_second, run.server_cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-probes", action="store_true")
    parser.add_argument("--no-speed", action="store_true")
    options = parser.parse_args()
    available = []
    for each in EMULATORS:
        try:
            with running(each):
                available.append(each)
        except UnavailableError as error:
            print(f"left out: {each.name}: {error}")
    print(f"boto3 {boto3.__version__}")
    if not options.no_probes:
        print_probes(available)
    if options.no_speed:
        return
    print("\n| emulator | PutRecords | records/s | records per CPU second |\n|---|---|---|---|")
    print_speed(available, options.seconds, options.rounds)


if __name__ == "__main__":
    main()
