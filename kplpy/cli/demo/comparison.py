"""Compares the records read back with the input, and collects the demo's figures."""

from __future__ import annotations

import random
import threading
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kplpy import RecordFuture, UserRecord
from kplpy.cli.demo.source import Source

if TYPE_CHECKING:
    from kplpy.reading import Batch


class Comparison:
    """Checks that each record of the input is read back exactly once, byte for byte.

    records: records read back so far.
    out_of_order: records that were read after a record of the same key that was put later.
    bytes_by_shard, kinesis_records_by_shard: what was read from each shard.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {each.name.encode(): each for each in sources}
        self._seen = {name: bytearray(len(each) + 1) for name, each in self._sources.items()}
        self._latest: dict[bytes, int] = dict.fromkeys(self._sources, 0)
        self.records = 0
        self.out_of_order = 0
        self.bytes_by_shard: Counter[str] = Counter()
        self.kinesis_records_by_shard: Counter[str] = Counter()

    def add(self, found: Batch) -> str | None:
        """Compare the next records. Return the first difference as text, or None."""
        self.bytes_by_shard[found.shard_id] += found.size_bytes
        self.kinesis_records_by_shard[found.shard_id] += found.kinesis_records
        for record in found.records:
            difference = self._add(record)
            if difference:
                return difference
        return None

    def _add(self, record: UserRecord) -> str | None:
        name, line = self._file_and_line(record.data)
        if not line:
            return f"a record that was never put: {_shown(record.data)}"
        source, seen = self._sources[name], self._seen[name]
        wanted = source.record(line)
        if record.data != wanted:
            return f"{source.name}, line {line}: put {_shown(wanted)}, read {_shown(record.data)}"
        if record.partition_key != source.key:
            return f"{source.name}, line {line}: put with key {source.key!r}, read with {record.partition_key!r}"
        if seen[line]:
            return f"{source.name}, line {line}: read twice: {_shown(wanted)}"
        seen[line] = 1
        self.records += 1
        if line > self._latest[name]:
            self._latest[name] = line
        else:
            self.out_of_order += 1
        return None

    def _file_and_line(self, data: bytes) -> tuple[bytes, int]:
        """Parse the record's file and line. The line is 0 if the record names no line of the input.

        File names may contain colons, so a record can be parsed in several ways. A file and line whose record this is
        wins.
        """
        place = b"", 0
        at = data.find(b":")
        while at > 0:
            name = data[:at]
            end = data.find(b":", at + 1)
            if name in self._sources:
                number, source = data[at + 1 : end], self._sources[name]
                if number.isdigit() and 1 <= int(number) <= len(source):
                    place = name, int(number)
                    if source.record(int(number)) == data and not self._seen[name][int(number)]:
                        break
            at = end
        return place

    def missing(self) -> str | None:
        """Return the first line that was not read back and the number of such lines, or None if all were."""
        first = ""
        count = 0
        for name, seen in self._seen.items():
            lost = len(seen) - 1 - sum(seen)
            if lost and not count:
                line = seen.index(0, 1)
                first = f"{self._sources[name].name}, line {line}: {_shown(self._sources[name].record(line))}"
            count += lost
        return f"{count:,} of the lines were not read back, the first: {first}" if count else None


def _shown(data: bytes) -> str:
    return repr(data if len(data) <= 200 else data[:200] + b"...")


class Delays:
    """A uniform sample, of at most SIZE, of the seconds that records waited before their first attempt.

    Callbacks add to it on kplpy's threads, under a lock.
    """

    SIZE = 20_000

    def __init__(self) -> None:
        self._sample = array("d")
        self._count = 0
        self._lock = threading.Lock()

    def watch(self, future: RecordFuture) -> None:
        future.add_done_callback(self._add_sample)

    def _add_sample(self, future: RecordFuture) -> None:
        if future.exception() is not None:
            return
        delay = future.result().attempts[0].delay
        with self._lock:
            self._count += 1
            if len(self._sample) < self.SIZE:
                self._sample.append(delay)
            elif (place := random.randrange(self._count)) < self.SIZE:
                self._sample[place] = delay

    def percentile(self, percent: float) -> float:
        """Return the percentile in seconds, 0.0 without samples."""
        with self._lock:
            ordered = sorted(self._sample)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
