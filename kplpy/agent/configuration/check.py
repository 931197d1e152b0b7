"""Explains a configuration without sending: the report of `kplpy agent --check`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from kplpy.agent.configuration import AgentConfigError, load
from kplpy.agent.configuration.keys import FIREHOSE_MAX_BUFFER_BYTES, FLOW_KEYS, GLOBAL_KEYS
from kplpy.agent.configuration.processors import patterns_of
from kplpy.agent.configuration.survey import FoundFile, survey
from kplpy.agent.settings import AgentSettings, FlowSettings
from kplpy.errors import CheckpointError
from kplpy.escaping import shown

SHOWN_FILES = 5
Survey: TypeAlias = Callable[[AgentSettings, float], Mapping[str, Sequence[FoundFile]]]
_FIREHOSE_DEFAULTS: dict[str, Any] = {"max_buffer_size_bytes": FIREHOSE_MAX_BUFFER_BYTES}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a configuration means, for a person.

    text: the report, with a newline at its end.
    errors, warnings: one text each; they are in the report too.
    exit_code: 0; 1 with errors, or with strict=True also with warnings.
    """

    text: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    exit_code: int


def check_file(
    path: str | os.PathLike[str],
    directory: str | os.PathLike[str] | None = None,
    *,
    now: float | None = None,
    strict: bool = False,
    look: Survey = survey,
) -> Explanation:
    """Explain an agent.json, also one that cannot be used.

    directory: agent.d, as for load(). now: Unix time; None: the present. strict: warnings count as errors.
    """
    try:
        settings = load(path, directory)
    except AgentConfigError as error:
        return _verdict([], error.problems, error.warnings, strict)
    return explain(settings, time.time() if now is None else now, strict=strict, look=look)


def explain(settings: AgentSettings, now: float, *, strict: bool = False, look: Survey = survey) -> Explanation:
    """Explain settings: each flow with its files and patterns, what differs from the defaults, and the warnings.

    Nothing is written, and no request is made. look: finds the files and where reading them would begin.
    """
    lines: list[str] = []
    warnings = list(settings.warnings)
    errors = []
    try:
        files = look(settings, now)
    except CheckpointError as error:
        files, errors = {}, [shown(str(error))]
    for number, flow in enumerate(settings.flows):
        lines += [*_flow_lines(number, flow, files.get(flow.id, ())), ""]
        if not errors:
            warnings += _file_warnings(number, flow, files.get(flow.id, ()))
    if not _can_be_written(settings.checkpoint_file):
        warnings.append(f"checkpoints: this user cannot write {shown(settings.checkpoint_file)}")
    differing = _differing(settings, GLOBAL_KEYS)
    imported = settings.imported_checkpoints
    state = "" if os.path.exists(settings.checkpoint_file) else " (not there yet)"
    lines.append(f"checkpoints: {shown(settings.checkpoint_file)}{state}")
    if imported is not None and os.path.exists(imported) and not os.path.exists(settings.checkpoint_file):
        lines.append(f"  the Kinesis Agent's {shown(imported)} is imported at the start")
    if differing:
        lines.append(f"settings that differ from the defaults: {', '.join(differing)}")
    return _verdict(lines, errors, warnings, strict)


def _verdict(lines: list[str], errors: Sequence[str], warnings: Sequence[str], strict: bool) -> Explanation:
    """Return the Explanation of a report that ends with errors, warnings and the verdict."""
    if lines:
        lines.append("")
    lines += [f"ERROR {each}" for each in errors] + [f"WARNING {each}" for each in warnings]
    fails = bool(errors) or (strict and bool(warnings))
    verdict = "the agent would not start" if errors else "the agent would start"
    if fails and not errors:
        verdict += ", but warnings count as errors (--strict)"
    lines.append(f"{counted(len(errors), 'error')}, {counted(len(warnings), 'warning')}: {verdict}")
    return Explanation("\n".join(lines) + "\n", tuple(errors), tuple(warnings), int(fails))


def _flow_lines(number: int, flow: FlowSettings, files: Sequence[FoundFile]) -> list[str]:
    kind = "delivery stream" if flow.destination == "firehose" else "Kinesis stream"
    lines = [f"flow {number + 1}: {shown(flow.file_pattern)} -> {kind} {flow.stream}"]
    size = sum(each.size for each in files)
    lines.append(f"  files now: {len(files):,}, {size:,} bytes" if files else "  files now: none")
    lines += [f"    {shown(each.path)}: {each.size:,} bytes, {_begin(each)}" for each in files[:SHOWN_FILES]]
    if len(files) > SHOWN_FILES:
        rest = files[SHOWN_FILES:]
        behind = sum(max(each.size - each.begins_at, 0) for each in rest)
        lines.append(f"    and {len(rest):,} more, of which {behind:,} bytes would be read")
    for option in flow.processing:
        lines.append(f"  processor: {_processor(option)}")
    for pattern in patterns_of(flow):
        lines.append(f"  {pattern.key}: {shown(pattern.java)}")
        if pattern.python != pattern.java:
            lines.append(f"    as Python's: {shown(pattern.python)}")
    differing = _differing(flow, FLOW_KEYS)
    if differing:
        lines.append(f"  differs from the defaults: {', '.join(differing)}")
    return lines


def _begin(file: FoundFile) -> str:
    """Say where reading a file would begin."""
    if file.has_checkpoint:
        return f"goes on at byte {file.begins_at:,} (checkpoint)"
    if file.begins_at == 0:
        return "read from its beginning"
    if file.begins_at >= file.size:
        return "read from its end (only what is written from now on)"
    return f"read from byte {file.begins_at:,}"


def _processor(option: Mapping[str, Any]) -> str:
    """Return a processor's name and its settings, without its pattern, which has its own place in the report."""
    rest = [
        f"{key} {shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))}"
        for key, value in option.items()
        if key not in ("optionName", "matchPattern")
    ]
    return ", ".join([shown(str(option.get("optionName"))), *rest])


def _file_warnings(number: int, flow: FlowSettings, files: Sequence[FoundFile]) -> list[str]:
    unreadable = [each.path for each in files if not each.is_readable]
    if unreadable:
        count = counted(len(unreadable), "file")
        return [f"flow {number + 1}: {count} cannot be read by this user, such as {shown(unreadable[0])}"]
    if not files:
        return [f"flow {number + 1}: no file matches {shown(flow.file_pattern)} now{_missing(flow)}"]
    return []


def _missing(flow: FlowSettings) -> str:
    """Say which directory is missing, if one is that the pattern names without a wildcard."""
    fixed = os.path.dirname(flow.file_pattern)
    while any(character in fixed for character in "*?[{"):
        fixed = os.path.dirname(fixed)
    return "" if not fixed or os.path.isdir(fixed) else f": there is no directory {shown(fixed)}"


def _can_be_written(path: str) -> bool:
    """Return True if this user may write the file, or make it and its directories."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        above = os.path.dirname(path)
        if above == path or (os.path.lexists(above) and not os.path.isdir(above)):
            return False
        path = above
    return os.access(path, os.W_OK)


def _differing(settings: AgentSettings | FlowSettings, keys: Mapping[str, Any]) -> list[str]:
    """Return 'key value' of each setting that differs from its default, without secrets."""
    defaults = {each.name: each.default for each in fields(settings)}
    if isinstance(settings, FlowSettings) and settings.destination == "firehose":
        defaults |= _FIREHOSE_DEFAULTS
    differing = []
    for key in keys.values():
        if key.field in (None, "stream", "file_pattern", "processing", "checkpoint_file", "imported_checkpoints"):
            continue
        value = getattr(settings, key.field)
        if value != defaults[key.field] and not _is_pattern(key.field):
            differing.append(f"{key.name} {'***' if key.secret else _value(value)}")
    return differing


def _is_pattern(field: str) -> bool:
    return field.endswith("_pattern")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return repr(value.decode("utf-8", "replace"))
    return f"{value:,}" if isinstance(value, int) else shown(str(value))


def counted(number: int, noun: str) -> str:
    """Return "1 file" or "2 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
