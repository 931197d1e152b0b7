"""The result of a request to the service: a response, or an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from kplpy.escaping import shown


@dataclass(frozen=True, slots=True)
class RequestError:
    """A request without a usable response.

    code, message: made safe to show, because all reports of the failure quote them.
    maybe_written: the service may still have written the records.
    cause: the exception behind the error, if there was one. It loses its traceback (forget_frames).
    status: the HTTP status, if there was a response.
    """

    code: str
    message: str
    maybe_written: bool
    cause: BaseException | None = None
    status: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", shown(self.code))
        object.__setattr__(self, "message", shown(self.message))
        forget_frames(self.cause)


def forget_frames(error: BaseException | None) -> None:
    """Drop the traceback of an exception that becomes the cause of records' failures, and those of its own causes.

    Their frames hold the request and the records. A failed record that is kept would keep all of them, and be part of a
    cycle, which the garbage collector does not see in compiled code.
    """
    for each in with_causes(error):
        each.__traceback__ = None


def with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exception, and the exceptions that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


class Accepted(Sequence[dict[str, str]]):
    """The entries of a response that accepted all Kinesis records, kept as two lists. Equal to a list of the entries.

    shard_ids, sequence_numbers: one for each Kinesis record. None is empty.
    """

    __slots__ = ("sequence_numbers", "shard_ids")

    def __init__(self, shard_ids: list[str], sequence_numbers: list[str]) -> None:
        self.shard_ids = shard_ids
        self.sequence_numbers = sequence_numbers

    def __len__(self) -> int:
        return len(self.shard_ids)

    @overload
    def __getitem__(self, index: int) -> dict[str, str]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, str]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, str] | list[dict[str, str]]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return {"SequenceNumber": self.sequence_numbers[index], "ShardId": self.shard_ids[index]}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (Accepted, list)) and [*self] == [*other]

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[dict[str, str]]:
        return map(self.__getitem__, range(len(self)))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One PutRecords request and its response, or its error.

    started, ended: on the core's clock.
    wall: the start, in Unix time.
    entries: one for each Kinesis record, as the service sends them. An entry has a SequenceNumber (as a rule also a
    ShardId; of a delivery stream: the RecordId, and no ShardId), or an ErrorCode (as a rule also an ErrorMessage), or
    neither. With neither, its record may be written.
    error: set if there is no usable response.
    """

    started: float
    ended: float
    wall: float
    entries: Sequence[dict[str, str]] | None = None
    error: RequestError | None = None


class ListingError(Exception):
    """The shards of a stream could not be listed. error: the error of the request, if it is known."""

    def __init__(self, text: str, error: RequestError | None = None) -> None:
        super().__init__(text)
        self.error = error
