"""Kills producers with a spool at random moments: `scripts/spool_kills.py` starts it.

A few processes at a time put numbered records through one spool directory, against a local Kinesis with faults and
outages. Each process ends by SIGKILL, and another one takes its place. At the end a last process sends what is left.
Then the streams are compared with what each process noted in shared memory, which SIGKILL does not touch:

- each record that was stored is in its stream, with its data, key and headers;
- the spool's directory is empty;
- a record with an outcome was never sent again by a later process;
- each record that is there twice, or that a later process sent, says possible_duplicate.

The same seed draws the same loads, faults and moments; the machine decides the rest. Exit status 1 if a check fails.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import mmap
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any, NamedTuple

from kplpy import Producer, RecordFuture
from kplpy.local import Fault, LocalKinesis
from tests.inside import watch_outcomes
from tests.integration.reading import read_all

STREAMS = {"orders": 4, "clicks": 2, "events": 1}
NAMES = list(STREAMS)
RUN_RECORDS = 400
"""The most records of one process."""
LONGEST = 0.5
"""Seconds after which a process is killed at the latest, also during an outage."""
PATIENCE = 120.0
"""Seconds that the last process may take."""
REFUSED = Fault(transport="refused")
FAULTS = [
    (Fault(code="InternalFailure", status=500), 0.04),
    (Fault(entry_code="ProvisionedThroughputExceededException", entries=frozenset(range(0, 500, 2))), 0.05),
    (Fault(transport="cut_before"), 0.02),
    (Fault(transport="cut_after"), 0.03),
    (Fault(transport="cut_answer"), 0.02),
]
# What a process notes of a record, one bit each.
BEGUN, PUT, STORED, RESULT = 1, 2, 4, 8


class Notes:
    """What the processes know of the records, in memory that they share. Each byte has one writer at a time.

    caller: bits of the process that put the record.
    outcomes: how many times a producer had an outcome for the record.
    answered_at: when an outcome was on disk and set, in Unix time.
    answered_by, warned: the process of the newest outcome plus 1, and whether it says possible_duplicate.
    delivered: for each process, 1 once it delivered something.
    """

    def __init__(self, runs: int) -> None:
        count = runs * RUN_RECORDS
        self.caller = mmap.mmap(-1, count)
        self.outcomes = mmap.mmap(-1, count)
        self.warned = mmap.mmap(-1, count)
        self.failed = mmap.mmap(-1, count)
        self.answered_at = memoryview(mmap.mmap(-1, 8 * count)).cast("d")
        self.answered_by = memoryview(mmap.mmap(-1, 4 * count)).cast("I")
        self.delivered = mmap.mmap(-1, runs)
        self.errors = mmap.mmap(-1, runs)


class Made(NamedTuple):
    """The record of a number."""

    stream: str
    data: bytes
    key: str | None
    explicit_hash_key: int | None
    headers: dict[str, str | None] | None


def say(text: str) -> None:
    """Write a line at once, because SIGKILL loses what is buffered."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def record_of(number: int) -> Made:
    """Return the record of the number."""
    size = 3000 if number % 97 == 0 else number % 200
    key = None if number % 5 == 0 else f"key {number % 41}"
    explicit = number << 90 if key is not None and number % 11 == 0 else None
    headers: dict[str, str | None] | None = {"number": str(number), "none": None} if number % 7 == 0 else None
    return Made(NAMES[number % len(NAMES)], b"%d " % number + b"." * size, key, explicit, headers)


def number_of(data: bytes) -> int:
    """Return the number of the record with the data."""
    return int(data.split(b" ", 1)[0])


# --- a process that puts ---


class Load:
    """Puts records from a few threads until the process is killed."""

    def __init__(self, notes: Notes, run: int, spool: Path, url: str, random: Random) -> None:
        self.notes = notes
        self.run = run
        self.random = random
        self._numbers = itertools.count(run * RUN_RECORDS)
        self._end = (run + 1) * RUN_RECORDS
        self._futures: SimpleQueue[list[tuple[int, RecordFuture]]] = SimpleQueue()
        self.producer = Producer(endpoint_url=url, region_name="us-east-1", spool=spool, **self._options())
        watch_outcomes(self.producer, self._sees, self._saw)

    def _options(self) -> dict[str, Any]:
        choose = self.random.choice
        return {
            "spool_sync_ms": choose([0, 1, 5, 10, 10, 50]),
            "spool_max_bytes": choose([1 << 20, 1 << 30]),
            "max_buffered_records": choose([200, 1000, 100_000]),
            "record_max_buffered_time_ms": choose([1, 20, 100]),
            "aggregation_enabled": choose([True, True, False]),
            "ordered": choose([False, False, True]),
            "close_timeout_ms": choose([0, 100, 10_000]),
            "metrics_level": "none",
        }

    def start(self) -> None:
        """Start the threads. Return when the producer was closed, or no record is left to put."""
        threads = [threading.Thread(target=self._put, args=(Random(self.random.random()),)) for _ in range(3)]
        for thread in [*threads, *(threading.Thread(target=self._wait, daemon=True) for _ in range(2))]:
            thread.start()
        closes_after = self.random.choice([None, None, None, self.random.uniform(0, 0.3)])
        if closes_after is not None:
            time.sleep(closes_after)
            self.producer.close()
        for thread in threads:
            thread.join()

    def _put(self, random: Random) -> None:
        try:
            while True:
                futures = self._burst(random)
                if random.random() < 0.7:
                    self._futures.put(futures)
                del futures
                time.sleep(random.choice([0, 0, 0.001, 0.01]))
        except EOFError:
            return
        except Exception:
            if not self.producer.health().is_open:
                return
            traceback.print_exc()
            self.notes.errors[self.run] = 1

    def _burst(self, random: Random) -> list[tuple[int, RecordFuture]]:
        numbers = [
            number for number in itertools.islice(self._numbers, random.choice([1, 5, 40])) if number < self._end
        ]
        if not numbers:
            raise EOFError
        caller = self.notes.caller
        for number in numbers:
            caller[number] |= BEGUN
        futures: list[tuple[int, RecordFuture]] = []
        by_stream: dict[str, list[int]] = {}
        for number in numbers:
            by_stream.setdefault(record_of(number).stream, []).append(number)
        for stream, some in by_stream.items():
            plain = [number for number in some if record_of(number).headers is None]
            if len(plain) > 1:
                items = [record_of(number) for number in plain]
                futures += zip(
                    plain,
                    self.producer.put_records(
                        stream, [(each.data, each.key, each.explicit_hash_key) for each in items]
                    ),
                    strict=True,
                )
            for number in some if len(plain) < 2 else set(some) - set(plain):
                made = record_of(number)
                future = self.producer.put_record(
                    stream, made.data, made.key, explicit_hash_key=made.explicit_hash_key, headers=made.headers
                )
                futures.append((number, future))
        for number in numbers:
            caller[number] |= PUT
        return futures

    def _wait(self) -> None:
        """Note which records are stored, and which have a result."""
        caller = self.notes.caller
        while True:
            futures = self._futures.get()
            for number, future in futures:
                try:
                    future.stored(60)
                    caller[number] |= STORED
                except Exception as error:
                    if self.producer.health().is_open:
                        say(f"run {self.run}: {number} is not stored: {error!r}")
                        self.notes.errors[self.run] = 1
            if futures[0][0] % 2:
                continue  # nobody holds these futures any more
            for number, future in futures:
                try:
                    future.result(60)
                    caller[number] |= RESULT
                except Exception as error:
                    if self.producer.health().is_open:
                        say(f"run {self.run}: {number} failed: {error!r}")
                        self.notes.errors[self.run] = 1

    # --- outcomes, on kplpy's threads ---

    def _sees(self, data: bytes, failed: bool, possible_duplicate: bool) -> int:
        """Note an outcome before it is written. Return the record's number."""
        number, notes = number_of(data), self.notes
        if notes.answered_at[number]:
            say(f"run {self.run}: {number} has a second outcome")
            notes.errors[self.run] = 1
        notes.outcomes[number] = min(255, notes.outcomes[number] + 1)
        notes.warned[number] = possible_duplicate
        notes.failed[number] = failed
        notes.answered_by[number] = self.run + 1
        return number

    def _saw(self, numbers: Sequence[int]) -> None:
        now = time.time()
        for number in numbers:
            self.notes.answered_at[number] = now
        self.notes.delivered[self.run] = 1


def run_load(notes: Notes, run: int, spool: Path, url: str, seed: str) -> None:
    """Be the process that puts. Does not return."""
    try:
        Load(notes, run, spool, url, Random(seed)).start()
    except BaseException:
        traceback.print_exc()
        notes.errors[run] = 1
    while True:
        signal.pause()  # until it is killed


def run_last(notes: Notes, run: int, spool: Path, url: str) -> None:
    """Be the process that sends what is left. Does not return."""
    code = 1
    try:
        random = Random(0)
        load = Load(notes, run, spool, url, random)
        say(f"the last process takes over {load.producer.recovered} records")
        load.producer.flush(timeout=PATIENCE)
        load.producer.close()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


# --- the service ---


class Copy(NamedTuple):
    """A record in a stream. is_sound: its content is that of its number."""

    number: int
    time: float
    is_sound: bool


def serve(control: Connection, seed: str) -> None:
    """Be the process with the local Kinesis. Does not return."""
    random = Random(seed)
    next_outage, ends = [time.monotonic() + random.uniform(0.5, 3)], [0.0]
    chances = [chance for _, chance in FAULTS]

    def plan(operation: str, params: Mapping[str, Any], now: float) -> Fault | None:
        here = time.monotonic()
        if here >= next_outage[0]:
            ends[0] = here + random.uniform(0.2, 1.5)
            next_outage[0] = ends[0] + random.uniform(1, 5)
        if here < ends[0]:
            return REFUSED
        if operation != "PutRecords":
            return None
        return random.choices([*(fault for fault, _ in FAULTS), None], [*chances, 1 - sum(chances)])[0]

    with LocalKinesis(streams=STREAMS, limits=False, retention_bytes=None) as kinesis:
        control.send(kinesis.endpoint_url)
        kinesis.faults.plan = plan
        while True:
            try:
                asked = control.recv()
            except EOFError:
                os._exit(0)
            if asked == "heal":
                kinesis.faults.plan = None
                control.send(None)
            else:
                control.send([copy for stream in STREAMS for copy in copies(kinesis, stream)])


def copies(kinesis: LocalKinesis, stream: str) -> list[Copy]:
    """Return what is in the stream."""
    entries = {each.sequence_number: each for each in kinesis.ledger(stream)}
    found = []
    for record in read_all(kinesis, stream):
        number, entry = number_of(record.data), entries[str(record.sequence_number)]
        made = record_of(number)
        hash_key = record.explicit_hash_key or entry.explicit_hash_key  # consumers see it in aggregates only
        is_sound = (made.stream, made.data, made.headers or {}) == (stream, record.data, record.headers or {})
        is_sound &= made.key is None or made.key == record.partition_key
        is_sound &= made.explicit_hash_key is None or str(made.explicit_hash_key) == hash_key
        found.append(Copy(number, entry.time, is_sound))
    return found


# --- the test ---


class Running:
    """A process that puts. kill_at: by time.monotonic(); None: a while after its first delivery."""

    def __init__(self, pid: int, run: int, random: Random) -> None:
        self.pid = pid
        self.run = run
        self._started = time.monotonic()
        self._after = random.uniform(0, 0.12)
        self._kill_at = self._started + random.uniform(0, 0.4) if random.random() < 0.4 else None

    def kill_at(self, notes: Notes) -> float:
        if self._kill_at is None and notes.delivered[self.run]:
            self._kill_at = time.monotonic() + self._after
        return min(self._started + LONGEST, self._started + LONGEST if self._kill_at is None else self._kill_at)


def kill_all(notes: Notes, kills: int, processes: int, spool: Path, url: str, seed: int) -> None:
    """Start and kill processes, a few at a time."""
    random = Random(f"{seed} moments")
    running: list[Running] = []
    runs = iter(range(kills))
    reported = time.monotonic()
    while True:
        while len(running) < processes and (run := next(runs, None)) is not None:
            pid = os.fork()
            if not pid:
                run_load(notes, run, spool, url, f"{seed} load {run}")
            running.append(Running(pid, run, random))
        if not running:
            return
        time.sleep(0.001)
        for each in list(running):
            if time.monotonic() >= each.kill_at(notes):
                os.kill(each.pid, signal.SIGKILL)
                status = os.waitpid(each.pid, 0)[1]
                if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                    say(f"run {each.run} ended by itself with status {status}")
                    notes.errors[each.run] = 1
                running.remove(each)
        if time.monotonic() - reported > 30:
            reported = time.monotonic()
            say(f"{running[0].run if running else kills} kills")


def check(notes: Notes, runs: int, found: Sequence[Copy], left: Sequence[str]) -> list[str]:
    """Return what is wrong, and print what happened."""
    faults = [f"files are left: {', '.join(left)}"] if left else []
    faults += [f"run {run} had an error" for run in range(runs) if notes.errors[run]]
    arrived = Counter(each.number for each in found)
    faults += [f"{each.number} arrived damaged" for each in found if not each.is_sound]
    happened: Counter[str] = Counter(copies=len(found))
    for number in range(runs * RUN_RECORDS):
        caller, outcomes, run = notes.caller[number], notes.outcomes[number], number // RUN_RECORDS
        if not caller:
            if arrived[number]:
                faults.append(f"{number} arrived and was never put")
            continue
        happened["put"] += bool(caller & PUT)
        happened["stored"] += bool(caller & STORED)
        happened["results"] += bool(caller & RESULT)
        happened["duplicated"] += arrived[number] > 1
        recovered = notes.answered_by[number] - 1 > run
        happened["recovered"] += recovered
        happened["more than one process had an outcome"] += outcomes > 1
        if caller & (STORED | RESULT) and not arrived[number]:
            faults.append(f"{number} was stored and is missing")
        if caller & (STORED | RESULT) and not outcomes:
            faults.append(f"{number} was stored and has no outcome")
        if notes.failed[number]:
            faults.append(f"{number} failed")
        if (arrived[number] > 1 or recovered) and not notes.warned[number]:
            faults.append(f"{number} arrived {arrived[number]} times, recovered={recovered}, without a warning")
    for each in found:
        if 0 < notes.answered_at[each.number] < each.time:
            faults.append(f"{each.number} was sent again after its outcome")
    for name, count in happened.items():
        say(f"{count:9,} {name}")
    return faults


def play(kills: int, processes: int, seed: int) -> list[str]:
    """Kill so many processes. Return what is wrong."""
    os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_EC2_METADATA_DISABLED="true")
    logging.getLogger("kplpy").setLevel(logging.CRITICAL)
    notes = Notes(kills + 1)
    control, other = Pipe()
    service = os.fork()
    if not service:
        control.close()
        serve(other, f"{seed} faults")
    other.close()
    with tempfile.TemporaryDirectory(prefix="spool-kills-") as directory, control:
        url = control.recv()
        spool = Path(directory) / "spool"
        _import_all(url, Path(directory) / "unused")
        kill_all(notes, kills, processes, spool, url, seed)
        control.send("heal")
        control.recv()
        last = os.fork()
        if not last:
            run_last(notes, kills, spool, url)
        if os.waitstatus_to_exitcode(os.waitpid(last, 0)[1]):
            notes.errors[kills] = 1
        control.send("copies")
        found = control.recv()
        left = sorted(each.name for each in spool.iterdir())
    os.waitpid(service, 0)
    return check(notes, kills + 1, found, left)


def _import_all(url: str, spool: Path) -> None:
    """Import what a producer imports later on, so that the forked processes start in a few milliseconds."""
    with Producer(endpoint_url=url, region_name="us-east-1", spool=spool) as producer:
        producer.connect(NAMES[0], timeout=30)


def main() -> int:
    """Read the command line, and play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=3, help="processes that put at the same time")
    parser.add_argument("--seed", type=int, default=Random().getrandbits(30))
    options = parser.parse_args()
    say(f"--kills {options.kills} --processes {options.processes} --seed {options.seed}")
    began = time.monotonic()
    faults = play(options.kills, options.processes, options.seed)
    for fault in faults[:20]:
        say(f"WRONG: {fault}")
    say(f"{len(faults)} faults in {time.monotonic() - began:.0f} s")
    return 1 if faults else 0
