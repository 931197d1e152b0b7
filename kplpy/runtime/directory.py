"""A producer's streams, by the names and ARNs that they are put by.

A name and an ARN are known to be one stream once DescribeStreamSummary has reported the name's ARN. That call is made
with the first records that are put by name. There is no other way to know: the account of the credentials is not known
here, and two accounts may have streams of the same name. Until then, or if the call is not allowed, the producer treats
name and ARN as two streams.
"""

from __future__ import annotations

from collections.abc import Callable

from kplpy.concurrency import new_rlock
from kplpy.runtime.stream import Stream
from kplpy.stream_names import parse_stream


class Directory:
    """Called by any thread. `lock` guards its state, except that a put reads `targets` without the lock.

    Both dicts are copied before they are iterated over.

    streams: each Stream, by the name or ARN that it was first put by. Requests carry this name or ARN.
    targets: the Stream that takes new records, by every name and ARN that was put to.
    """

    def __init__(self, make: Callable[[str, str | None], Stream]) -> None:
        self._make = make
        # Reentrant, because a signal handler may make the first put to a stream within another first put.
        self.lock = new_rlock()
        self.streams: dict[str, Stream] = {}
        self.targets: dict[str, Stream] = {}

    def open(self, given: str) -> Stream:
        """Return the Stream of this name or ARN, made on its first record. InvalidRecordError: it is neither."""
        name, arn = parse_stream(given)
        with self.lock:
            target = self._find(given)
            if target is None:
                made = self._make(name, arn)
                # During the line above, a __del__ may have put and made the Stream.
                target = self.streams.setdefault(given, made)
            self.targets[given] = target
            return target

    def all_of(self, given: str) -> list[Stream]:
        """Return the Streams that hold records of this name or ARN.

        There are two if a name and an ARN were put to before they were known to be one stream.
        """
        with self.lock:
            target = self._find(given)
            return [each for each in self.streams.values() if target is not None and target in (each, each.merged_into)]

    def set_arn(self, stream: Stream, arn: str) -> None:
        """Note the ARN that the service reported for a stream that is put by name.

        If the ARN was put to as well, puts by name go to that Stream from now on. Records that the Stream of the name
        has already are delivered by it.
        """
        with self.lock:
            stream.known_arn = arn
            other = self.streams.get(arn)
            if stream.arn is None and other is not None:
                stream.merged_into = other
                self.targets[stream.name] = other

    def keys(self) -> dict[str, str]:
        """Return, for every name and ARN that leads to a stream, the one that the stream was first put by."""
        with self.lock:
            known = {each.known_arn: each for each in self.streams.values() if each.known_arn is not None}
            targets = {**known, **self.targets}
            return {given: (target.merged_into or target).origin.stream for given, target in targets.items()}

    def _find(self, given: str) -> Stream | None:
        """Return the Stream of this name or ARN, if it was put to. Called under the lock."""
        target = self.targets.get(given)
        if target is None:
            target = next((each for each in self.streams.values() if each.known_arn == given), None)
        return target
