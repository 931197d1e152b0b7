"""Has a flow's processors, partition keys and regular expressions checked, and lists the expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from kplpy.agent.configuration.findings import Findings
from kplpy.agent.configuration.json_text import join
from kplpy.agent.configuration.rules import Flag
from kplpy.agent.processing import make_partition_keys, make_process, translate
from kplpy.agent.settings import FlowSettings
from kplpy.errors import ConfigError

_OPTION = re.compile(r"dataProcessingOptions\[\d+\](?: \((?P<name>\w+)\))?: (?P<key>\w+):? (?P<rule>.*)", re.DOTALL)

# Processor → its key with a regular expression. With quoting, CSVTOJSON's delimiter is a character.
_EXPRESSIONS = {"LOGTOJSON": "matchPattern", "CSVTOJSON": "delimiter"}


@dataclass(frozen=True, slots=True)
class FlowPattern:
    """A regular expression of a flow.

    key: its path below the flow. java, python: its text as configured, and as Python matches it.
    """

    key: str
    java: str
    python: str


def check_processors(flow: FlowSettings, path: str, findings: Findings) -> None:
    """Note what the processors, the partition keys and the regular expressions refuse, and what they find odd."""
    for key, expression, flags in _flow_expressions(replace(flow, partition_key_pattern=None)):
        try:
            translate(expression, key, flags=flags)
        except ConfigError as error:
            findings.error(join(path, key), str(error).removeprefix(f"{key}: "))
    try:
        make_partition_keys(flow)
    except ConfigError as error:
        text = str(error).removeprefix(f"flow {flow.id}: ")
        pattern = text.removeprefix("partitionKeyPattern: ")
        findings.error(path if pattern == text else join(path, "partitionKeyPattern"), pattern)
    for number, option in enumerate(flow.processing):
        _check_option(replace(flow, processing=(option,)), join(join(path, "dataProcessingOptions"), number), findings)


def _check_option(flow: FlowSettings, path: str, findings: Findings) -> None:
    """Check a flow's only processor, which is at `path`."""

    def place(text: str) -> tuple[str, str]:
        """Return path and text of a message of the processors."""
        text = text.removeprefix(f"flow {flow.id}: ")
        found = _OPTION.fullmatch(text)
        return (path, text) if found is None else (join(path, found["key"]), found["rule"])

    try:
        process = make_process(flow)
    except ConfigError as error:
        findings.error(*place(str(error)))
        return
    for warning in process.warnings if process is not None else ():
        findings.warn(*place(warning))


def patterns_of(flow: FlowSettings) -> list[FlowPattern]:
    """Return the regular expressions of a flow that was checked."""
    found = [
        FlowPattern(key, java, translate(java, key, flags=flags).text) for key, java, flags in _flow_expressions(flow)
    ]
    for number, option in enumerate(flow.processing):
        key = _EXPRESSIONS.get(str(option.get("optionName")))
        if key is not None and isinstance(option.get(key), str) and not Flag().read(option.get("quoting") or False):
            path = join(join("dataProcessingOptions", number), key)
            java = option[key]
            found.append(FlowPattern(path, java, translate(java, path, for_split=key == "delimiter").text))
    return found


def _flow_expressions(flow: FlowSettings) -> Iterator[tuple[str, str, str]]:
    """Yield key, regular expression and inline flags."""
    for key, expression, flags in (
        ("multiLineStartPattern", flow.multi_line_start_pattern, ""),
        ("fileFooterPattern", flow.file_footer_pattern, "m"),
        ("partitionKeyPattern", flow.partition_key_pattern, ""),
    ):
        if expression is not None:
            yield key, expression, flags
