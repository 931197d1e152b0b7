"""What a put does about tracing: nothing, or what kplpy.tracing.opentelemetry does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from kplpy.futures.record_future import RecordFuture
from kplpy.headers import Headers
from kplpy.validation import PutItem

if TYPE_CHECKING:
    from typing_extensions import Self


class PutSpan:
    """What a put does about tracing: nothing. The subclass for OpenTelemetry has a span.

    A put uses it as a context manager, which ends the span if the put raises.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def headers_of(self, headers: Headers | None) -> Headers | None:
        """Return the headers with the span's context."""
        return headers

    def items_of(self, items: Iterable[PutItem]) -> Iterable[PutItem]:
        """Return the items with the span's context: a list of those that have a length, else an iterator."""
        return items

    def follow(self, records: Sequence[RecordFuture]) -> None:
        """End the span when all these records, which the put made, have their outcome."""


NO_SPAN = PutSpan()
