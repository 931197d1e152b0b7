"""Is what came back what was sent? And the figures that the demo shows."""

from __future__ import annotations

import random
import threading
from array import array
from collections import Counter
from collections.abc import Iterable

from kplpy import RecordFuture, UserRecord
from kplpy.cli.demo.source import Source
from kplpy.cli.reader import Found


class Comparison:
    """Compares records, as they are read back, with the input, byte for byte and each exactly once."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {each.name.encode(): each for each in sources}
        self._seen = {name: bytearray(len(each) + 1) for name, each in self._sources.items()}
        self._latest: dict[bytes, int] = dict.fromkeys(self._sources, 0)
        self.records = 0
        self.moved = 0
        """Records that came after one of their key that was put later."""
        self.bytes_by_shard: Counter[str] = Counter()
        self.kinesis_records_by_shard: Counter[str] = Counter()

    def add(self, found: Found) -> str | None:
        """The next records; the first difference in words, or None."""
        self.bytes_by_shard[found.shard_id] += found.size
        self.kinesis_records_by_shard[found.shard_id] += found.kinesis_records
        for record in found.records:
            difference = self._add(record)
            if difference:
                return difference
        return None

    def _add(self, record: UserRecord) -> str | None:
        name, line = self._place_of(record.data)
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
            self.moved += 1
        return None

    def _place_of(self, data: bytes) -> tuple[bytes, int]:
        """File and line by the record's own words; line 0 when they make no sense.

        File names may hold colons, so that there are two readings; then the one whose line this is counts.
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
        """The first line that did not come back, and how many there are; None when all did."""
        first = ""
        count = 0
        for name, seen in self._seen.items():
            lost = len(seen) - 1 - sum(seen)
            if lost and not count:
                line = seen.index(0, 1)
                first = f"{self._sources[name].name}, line {line}: {_shown(self._sources[name].record(line))}"
            count += lost
        return f"{count:,} of the lines did not come back, the first: {first}" if count else None


def _shown(data: bytes) -> str:
    return repr(data if len(data) <= 200 else data[:200] + b"...")


class Delays:
    """A fair sample of the time that records waited before they were sent first, of fixed size."""

    SIZE = 20_000

    def __init__(self) -> None:
        self._sample = array("d")
        self._count = 0
        self._lock = threading.Lock()

    def watch(self, future: RecordFuture) -> None:
        future.add_done_callback(self._take)

    def _take(self, future: RecordFuture) -> None:
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
        """0.0 when nothing was seen."""
        with self._lock:
            ordered = sorted(self._sample)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0
