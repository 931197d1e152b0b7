"""Reads one flow of agent.json into FlowSettings, and compares the flows with each other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kplpy.agent.configuration.findings import Findings
from kplpy.agent.configuration.json_text import join
from kplpy.agent.configuration.keys import FIREHOSE_MAX_BUFFER_BYTES, FLOW_KEYS, default_of
from kplpy.agent.configuration.overlap import overlap
from kplpy.agent.configuration.processors import check_processors
from kplpy.agent.configuration.reading import FLOW, is_object, note_option_keys, read_keys
from kplpy.agent.settings import AGREEING, FlowSettings
from kplpy.agent.tailing import FilePattern
from kplpy.agent.tailing.patterns import IGNORED_ENDINGS
from kplpy.errors import ConfigError, InvalidRecordError
from kplpy.escaping import brief_repr
from kplpy.stream_names import is_delivery_stream, name_of, parse_stream

_DELIVERY_STREAM = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_PARTITION_KEYS = ("partitionKey", "partitionKeyField", "partitionKeyPattern")


@dataclass(frozen=True, slots=True)
class Placed:
    """A flow, and where it stands."""

    flow: FlowSettings
    path: str
    findings: Findings

    @property
    def place(self) -> str:
        """The flow's place for a message about another flow."""
        return f"{self.path} of {self.findings.name}"


def read_flows(raw: Any, findings: Findings) -> list[Placed]:
    """Return the flows of one file's list. Bad ones are noted as errors."""
    if raw is None:
        return []
    if not isinstance(raw, Sequence) or isinstance(raw, (str, bytes)):
        findings.error("flows", f"must be a list of objects, [{{…}}], got {brief_repr(raw)}")
        return []
    placed = []
    for number, each in enumerate(raw):
        path = join("flows", number)
        if not is_object(each):
            findings.error(path, f"must be an object, got {brief_repr(each)}")
            continue
        errors = len(findings.errors)
        flow = _read_flow(each, path, findings)
        if flow is not None:
            _check_pattern(flow.file_pattern, join(path, "filePattern"), findings)
            check_processors(flow, path, findings)
        if flow is not None and len(findings.errors) == errors:
            placed.append(Placed(flow, path, findings))
    return placed


def _read_flow(raw: Mapping[str, Any], path: str, findings: Findings) -> FlowSettings | None:
    values = read_keys(raw, FLOW, path, findings)
    stream, is_firehose = _destination(raw, values, path, findings)
    if raw.get("filePattern") is None:
        findings.error(path, f"has no filePattern{_unknown_beside(raw)}")
    pattern = values.get("filePattern")
    settings: dict[str, Any] = {
        str(FLOW_KEYS[name].field): value
        for name, value in values.items()
        if name not in ("kinesisStream", "deliveryStream", "dataProcessingOptions")
    }
    for name in ("multi_line_start_pattern", "file_footer_pattern"):
        settings[name] = settings.get(name) or None
    settings["truncated_record_terminator"] = values.get("truncatedRecordTerminator", "\n").encode("utf-8", "replace")
    settings["processing"] = _processing(
        raw.get("dataProcessingOptions"), join(path, "dataProcessingOptions"), findings
    )
    _note_partition_key(values, path, findings)
    if is_firehose:
        settings["max_buffer_size_bytes"] = _firehose_bytes(values, path, findings)
    _note_effects(values, settings, is_firehose, path, findings)
    if stream is None or not isinstance(pattern, str):
        return None
    given = re.sub("/+", "/", pattern.replace("\\", "/") if os.name == "nt" else pattern)
    settings["file_pattern"] = _absolute(given, join(path, "filePattern"), findings)
    return FlowSettings(
        id=f"{'fh' if is_firehose else 'kinesis'}:{stream}:{given}",
        destination="firehose" if is_firehose else "kinesis",
        stream=stream,
        **settings,
    )


def _destination(
    raw: Mapping[str, Any], values: Mapping[str, Any], path: str, findings: Findings
) -> tuple[str | None, bool]:
    """Return the stream, or None for a bad one, and whether it is a delivery stream."""
    is_firehose = bool(raw.get("deliveryStream"))
    if is_firehose and raw.get("kinesisStream"):
        findings.warn(join(path, "kinesisStream"), "has no effect, because deliveryStream beside it wins")
    name = "deliveryStream" if is_firehose else "kinesisStream"
    stream = values.get(name)
    if not raw.get(name):
        findings.error(path, f"has neither kinesisStream nor deliveryStream{_unknown_beside(raw)}")
    elif isinstance(stream, str) and "${" not in stream and not _is_valid(stream, is_firehose):
        kind, most = ("delivery stream", 64) if is_firehose else ("stream", 128)
        rule = f"must be a {kind}'s ARN or its name (1 to {most} of a-z A-Z 0-9 _ . -)"
        findings.error(join(path, name), f"{rule}, got {brief_repr(stream, 200)}")
        return None, is_firehose
    return stream, is_firehose


def _is_valid(stream: str, is_firehose: bool) -> bool:
    """Return True for a name or ARN that the producer takes for this service."""
    if is_firehose and _DELIVERY_STREAM.fullmatch(stream) is not None:
        return True
    try:
        parse_stream(stream)
    except InvalidRecordError:
        return False
    return is_delivery_stream(stream) == is_firehose


def _unknown_beside(raw: Mapping[str, Any]) -> str:
    """Return the unknown keys of a flow without a required one: one of them may be meant."""
    unknown = [name for name in raw if name not in FLOW_KEYS]
    return f"; unknown keys: {', '.join(unknown[:5])}" if unknown else ""


def _processing(raw: Any, path: str, findings: Findings) -> tuple[dict[str, Any], ...]:
    """Return the objects of dataProcessingOptions, whose values the processors check."""
    if raw is None:
        return ()
    if isinstance(raw, Mapping):
        findings.warn(path, "is an object in place of a list, and used as a list of one; the Agent would ignore it")
        raw = [raw]
    if not isinstance(raw, Sequence) or isinstance(raw, (str, bytes)):
        findings.error(path, f"must be a list of objects, [{{…}}], got {brief_repr(raw)}")
        return ()
    for number, each in enumerate(raw):
        if is_object(each):
            note_option_keys(each, join(path, number), findings)
        else:
            findings.error(join(path, number), f"must be an object, got {brief_repr(each)}")
    return tuple(dict(each) for each in raw if is_object(each))


def _note_partition_key(values: Mapping[str, Any], path: str, findings: Findings) -> None:
    given = next((name for name in _PARTITION_KEYS if name in values), None)
    if given is not None and "partitionKeyOption" in values:
        findings.warn(join(path, "partitionKeyOption"), f"has no effect, because {given} beside it wins")


def _firehose_bytes(values: Mapping[str, Any], path: str, findings: Findings) -> int:
    size: int = values.get("maxBufferSizeBytes", FIREHOSE_MAX_BUFFER_BYTES)
    if size > FIREHOSE_MAX_BUFFER_BYTES:
        rule = f"from 1 to {FIREHOSE_MAX_BUFFER_BYTES:,} for a delivery stream"
        findings.error(join(path, "maxBufferSizeBytes"), f"must be {rule}, got {size}")
    return size


def _note_effects(
    values: Mapping[str, Any], settings: Mapping[str, Any], is_firehose: bool, path: str, findings: Findings
) -> None:
    """Warn of keys that mean nothing with the flow's destination or its other keys."""
    for name, value in values.items():
        key = FLOW_KEYS[name]
        if value != default_of(key) and (key.kinesis_only if is_firehose else key.firehose_only):
            destination = "delivery stream" if is_firehose else "Kinesis stream"
            findings.warn(join(path, name), f"has no effect for a {destination}")
    if is_firehose and values.get("aggregatedRecordSizeBytes") and settings["multi_line_start_pattern"]:
        text = "has no effect with multiLineStartPattern: only single lines are joined"
        findings.warn(join(path, "aggregatedRecordSizeBytes"), text)
    if is_firehose and values.get("joinBeforeProcessing") and not values.get("aggregatedRecordSizeBytes"):
        findings.warn(join(path, "joinBeforeProcessing"), "has no effect without aggregatedRecordSizeBytes")


def _absolute(pattern: str, path: str, findings: Findings) -> str:
    """Return the pattern from the root on, and warn of one that matches nothing."""
    if pattern.lower().endswith(IGNORED_ENDINGS):
        findings.warn(
            path, f"matches no file that is read: {', '.join(IGNORED_ENDINGS)} files are left out, got {pattern!r}"
        )
    if pattern.startswith("~"):
        findings.warn(path, f"begins with ~, which is not replaced with a home directory, got {pattern!r}")
    if _WINDOWS.match(pattern):
        if os.name != "nt":
            findings.error(path, f"must be a path of this system, which is not Windows, got {pattern!r}")
        return pattern
    if pattern.startswith("/"):
        return pattern
    try:
        directory = os.getcwd().replace(os.sep, "/").rstrip("/")
    except OSError as error:  # it was removed
        findings.error(path, f"is relative to the working directory, which cannot be found ({error}), got {pattern!r}")
        return pattern
    return f"{directory}/{pattern.removeprefix('./')}"


def _check_pattern(pattern: str, path: str, findings: Findings) -> None:
    """Note as an error what the tailers refuse: a bracket or brace that is not closed."""
    if not pattern.startswith("/"):
        return
    try:
        FilePattern(pattern)
    except ConfigError as error:
        rule = str(error).removeprefix(f"filePattern {pattern!r}: ")
        findings.error(path, f"{rule}, got {pattern!r}")


def compare(flows: Sequence[Placed]) -> None:
    """Note errors and warnings about flows that do not go together, at the later one of each two."""
    for number, flow in enumerate(flows):
        for earlier in flows[:number]:
            _compare_two(flow, earlier)


def _compare_two(later: Placed, earlier: Placed) -> None:
    flow, other = later.flow, earlier.flow
    if flow.id == other.id:
        later.findings.error(later.path, f"is the same flow as {earlier.place}: {flow.id}")
        return
    is_same_stream = flow.destination == other.destination and _may_be_one(flow.stream, other.stream)
    if is_same_stream:
        for name in _differing(flow, other):
            text = f"must be the same in all flows to {flow.stream}, and differs from {earlier.place}"
            later.findings.error(join(later.path, name), text)
        if flow.joined_record_size != other.joined_record_size:
            size = min(flow.joined_record_size, other.joined_record_size)
            joined = f"are joined up to {size:,} bytes" if size else "are not joined"
            text = f"differs from {earlier.place}, so lines to {flow.stream} {joined}: the smaller size counts"
            later.findings.warn(join(later.path, "aggregatedRecordSizeBytes"), text)
    if flow.file_pattern == other.file_pattern and not is_same_stream:
        return  # the same files to two destinations, on purpose
    if overlap(flow.file_pattern, other.file_pattern):
        twice = f"its lines go to {flow.stream} twice" if is_same_stream else "its lines go to both destinations"
        text = f"can match the same file as {other.file_pattern} of {earlier.place}: {twice}"
        later.findings.warn(join(later.path, "filePattern"), text)
    elif is_same_stream and _may_get_rotated(flow.file_pattern, other.file_pattern):
        text = f"has the names of {other.file_pattern} of {earlier.place} one directory away: if rotation moves files"
        later.findings.warn(join(later.path, "filePattern"), f"{text} there, their lines go to {flow.stream} twice")


def _may_get_rotated(pattern: str, other: str) -> bool:
    """Return True for the same file names in a directory and in one directly below, as rotation uses them."""
    (directory, _, name), (other_directory, _, other_name) = pattern.rpartition("/"), other.rpartition("/")
    is_below = other_directory == directory.rpartition("/")[0] or directory == other_directory.rpartition("/")[0]
    return is_below and name == other_name and name[0] not in "*?[{"


def _may_be_one(stream: str, other: str) -> bool:
    """Return True for one stream, given twice, or by name and by ARN."""
    return stream == other or (name_of(stream) == name_of(other) and (name_of(stream) in (stream, other)))


def _differing(flow: FlowSettings, other: FlowSettings) -> Iterable[str]:
    return [name for name in AGREEING if getattr(flow, name) != getattr(other, name)]
