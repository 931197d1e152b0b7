"""A producer's streams, by the names and ARNs that they are put by.

A name and an ARN are known to be one stream once DescribeStreamSummary has said the name's ARN, with the first records
that are put by name. Nothing else can tell: the account of the credentials is not known here, and two accounts may have
streams of one name. Until then, and where the call is not allowed, they are two streams to the producer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from kplpy.runtime.stream import Stream
from kplpy.stream_names import parse_stream


class Directory:
    """Guarded by `lock`; a put looks into `targets` without it, and both are copied before they are iterated over.

    streams: each Stream, by the name or ARN that it was first put by, and that requests carry.
    targets: which Stream takes what is put, by every name and ARN that was put to.
    """

    def __init__(self, make: Callable[[str, str | None], Stream]) -> None:
        self._make = make
        # Reentrant: the first put to a stream may come from a signal handler within another's.
        self.lock = threading.RLock()
        self.streams: dict[str, Stream] = {}
        self.targets: dict[str, Stream] = {}

    def open(self, given: str) -> Stream:
        """The stream of this name or ARN, made on its first record. InvalidRecordError: it is neither."""
        name, arn = parse_stream(given)
        with self.lock:
            target = self._find(given)
            if target is None:
                made = self._make(name, arn)
                # A __del__ may have put, and made one, within the line before.
                target = self.streams.setdefault(given, made)
            self.targets[given] = target
            return target

    def all_of(self, given: str) -> list[Stream]:
        """What takes records of this name or ARN, and what took some before they were known to be one stream."""
        with self.lock:
            target = self._find(given)
            return [each for each in self.streams.values() if target is not None and target in (each, each.merged_into)]

    def set_arn(self, stream: Stream, arn: str) -> None:
        """The service says that the stream, which was put by name, has this ARN. If that was put to as well, puts by
        name go there from now on; what the stream still has is delivered by it."""
        with self.lock:
            stream.known_arn = arn
            other = self.streams.get(arn)
            if stream.arn is None and other is not None:
                stream.merged_into = other
                self.targets[stream.name] = other

    def keys(self) -> dict[str, str]:
        """By every name and ARN that leads to a stream, the one that it was first put by."""
        with self.lock:
            known = {each.known_arn: each for each in self.streams.values() if each.known_arn is not None}
            targets = {**known, **self.targets}
            return {given: (target.merged_into or target).origin.stream for given, target in targets.items()}

    def _find(self, given: str) -> Stream | None:
        target = self.targets.get(given)
        if target is None:
            target = next((each for each in self.streams.values() if each.known_arn == given), None)
        return target
