"""A flow's list of processors as one function, with its counters."""

from __future__ import annotations

from collections.abc import Sequence

from kplpy.agent.processing.options import Option
from kplpy.agent.processing.processors import PROCESSORS, Convert
from kplpy.agent.settings import FlowSettings
from kplpy.errors import ConfigError

MAX_EXAMPLE_BYTES = 1024


class Process:
    """Converts the records of one flow. Used by one thread.

    transformed: records that were converted.
    dropped: records that LOGTOJSON dropped, because they do not match.
    failed: records whose conversion failed. They are sent as they were read.
    last_dropped, last_failed: an example of each, cut to 1 KiB. last_error: what failed.
    warnings: what is odd in the options, for --check.
    """

    __slots__ = (
        *("_convert", "dropped", "failed", "last_dropped", "last_error", "last_failed", "transformed"),
        "warnings",
    )

    def __init__(self, convert: Convert, warnings: Sequence[str] = ()) -> None:
        self._convert = convert
        self.transformed = self.dropped = self.failed = 0
        self.last_dropped: bytes | None = None
        self.last_failed: bytes | None = None
        self.last_error: str | None = None
        self.warnings = tuple(warnings)

    def __call__(self, record: bytes) -> bytes | None:
        """Return the converted record, or None if it is dropped."""
        try:
            result = self._convert(record)
        except Exception as error:  # whatever it is, the record is sent
            self.failed += 1
            self.last_failed = record[:MAX_EXAMPLE_BYTES]
            self.last_error = f"{type(error).__name__}: {error}"
            return record
        if result is None:
            self.dropped += 1
            self.last_dropped = record[:MAX_EXAMPLE_BYTES]
        else:
            self.transformed += 1
        return result


def make_process(settings: FlowSettings) -> Process | None:
    """Return the processors of a flow, or None if it has none.

    Raises ConfigError that names the flow, the processor, its key and the rule; PatternError for a regular expression.
    """
    converts: list[Convert] = []
    warnings: list[str] = []
    for n, keys in enumerate(settings.processing):
        where = f"flow {settings.id}: dataProcessingOptions[{n}]"
        name = Option(keys, where).text("optionName")
        if name == "USINGPLUGGIN":
            raise ConfigError(f"{where}: optionName is USINGPLUGGIN, whose Java class cannot be loaded")
        if name not in PROCESSORS:
            raise ConfigError(f"{where}: optionName is {name!r}; it must be one of {', '.join(PROCESSORS)}")
        option = Option(keys, f"{where} ({name})")
        converts.append(PROCESSORS[name](option))
        warnings += option.warnings
    if not converts:
        return None
    return Process(converts[0] if len(converts) == 1 else _chain(converts), warnings)


def _chain(converts: list[Convert]) -> Convert:
    def convert(record: bytes) -> bytes | None:
        result: bytes | None = record
        for each in converts:
            if result is None:
                return None
            result = each(result)
        return result

    return convert
