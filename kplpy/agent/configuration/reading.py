"""Reads the keys of one object of agent.json by their rules, and says what is wrong with the others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from kplpy.agent.configuration.findings import Findings
from kplpy.agent.configuration.json_text import join
from kplpy.agent.configuration.keys import FLOW_KEYS, GLOBAL_KEYS, Key
from kplpy.agent.configuration.rules import Text, Whole
from kplpy.agent.processing import OPTION_KEYS
from kplpy.escaping import brief_repr, hide_sign_in

_VARIABLE = re.compile(r"\$\{[^}]*\}")
# Texts in which ${…} can be meant as it stands.
_VERBATIM = frozenset(
    (
        *("multi_line_start_pattern", "file_footer_pattern", "truncated_record_terminator", "user_agent"),
        *("partition_key", "partition_key_field", "partition_key_pattern", "secret_access_key"),
    )
)

GLOBAL, FLOW, OPTION = "agent", "flow", "option"
_KNOWN: dict[str, frozenset[str]] = {
    GLOBAL: frozenset(GLOBAL_KEYS),
    FLOW: frozenset(FLOW_KEYS),
    OPTION: frozenset({"optionName"}.union(*OPTION_KEYS.values())),
}
_HOME = {
    GLOBAL: "of the whole agent: move it to the top level of the file",
    FLOW: "of a flow: move it into each flow that it is meant for",
    OPTION: 'of a processor: move it into dataProcessingOptions, as [{"optionName": …}]',
}


def is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Return True for what JSON calls an object."""
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def read_keys(raw: Mapping[str, Any], section: str, path: str, findings: Findings) -> dict[str, Any]:
    """Return key → value of the keys that are set and good. All others are noted in `findings`.

    section: GLOBAL or FLOW.
    """
    keys = GLOBAL_KEYS if section == GLOBAL else FLOW_KEYS
    values: dict[str, Any] = {}
    for name, value in raw.items():
        key = keys.get(name)
        if key is not None and key.no_effect:
            findings.warn(join(path, name), f"has no effect here, because {key.no_effect}")
        elif key is not None and value is not None and not (value == "" and key.rule.empty_is_unset):
            try:
                values[name] = _read(key, value, join(path, name), findings)
            except ValueError:
                findings.error(join(path, name), f"must be {key.rule.text}, got {_got(key, value)}")
    note_other_keys(raw, section, path, findings)
    return values


def _read(key: Key, value: Any, path: str, findings: Findings) -> Any:
    """Return the value by its key's rule. Raises ValueError if it breaks the rule."""
    found = _VARIABLE.search(value) if isinstance(value, str) and key.field not in _VERBATIM else None
    if found is not None:
        findings.error(path, f"holds {found[0]}, which nothing replaced with a value, got {_got(key, value)}")
        return value
    converted = key.rule.read(value)
    if isinstance(key.rule, Whole):
        if isinstance(value, str) and re.match(r"[+-]?0[0-9]", value):
            findings.warn(path, f"is read as octal, as the Agent does: {value!r} is {converted}")
        if not key.rule.within(converted):
            nearest = key.rule.nearest(converted)
            findings.warn(path, f"is {nearest:,} here, because it must be {key.rule.text}, got {converted:,}")
            return nearest
    elif isinstance(key.rule, Text) and "regular expression" in key.rule.text and re.search("[\b\f]", converted):
        findings.warn(path, r'holds a control character: "\b" in JSON is a backspace; write "\\b" for a word boundary')
    return converted


def _got(key: Key, value: Any) -> str:
    return "a text that is not shown" if key.secret else hide_sign_in(brief_repr(value, 200))


def note_other_keys(raw: Mapping[str, Any], section: str, path: str, findings: Findings) -> None:
    """Warn of keys that are unknown in this section: misplaced, misspelt, or neither."""
    misplaced: dict[str, list[str]] = {}
    for name in raw:
        if name in _KNOWN[section]:
            continue
        home = next((each for each, names in _KNOWN.items() if name in names), None)
        if home is not None:
            misplaced.setdefault(home, []).append(name)
        else:
            findings.warn(join(path, name), f"is unknown, and has no effect{_similar(name, raw[name], section)}")
    for home, names in misplaced.items():
        others = f" (also {', '.join(names[1:])})" if len(names) > 1 else ""
        findings.warn(join(path, names[0]), f"has no effect here{others}, because it is a key {_HOME[home]}")


def note_option_keys(raw: Mapping[str, Any], path: str, findings: Findings) -> None:
    """Warn of keys of an object of dataProcessingOptions that mean nothing to its processor."""
    note_other_keys(raw, OPTION, path, findings)
    name = raw.get("optionName")
    known = OPTION_KEYS.get(name) if isinstance(name, str) else None
    for key in raw:
        if known is not None and key in _KNOWN[OPTION] - known - {"optionName"}:
            findings.warn(join(path, key), f"has no effect for {name}, which has {', '.join(sorted(known))}")


def _similar(name: str, value: Any, section: str) -> str:
    """Return '; did you mean …?' for a name that is close to a known key, or an empty text."""
    if isinstance(value, Mapping):
        inner = [f"{name}.{each}" for each in value if f"{name}.{each}" in _KNOWN[section]]
        if inner:
            return f'; write "{inner[0]}": … as one key, with the dot'
    lowered = {each.lower(): (each, home) for home in _order(section) for each in _KNOWN[home]}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.8)
    if not close:
        return ""
    meant, home = lowered[close[0]]
    return f"; did you mean {meant}?" if home == section else f"; did you mean {meant}? That is a key {_HOME[home]}"


def _order(section: str) -> list[str]:
    """Return the sections with this one last, so that its keys win."""
    return [*(each for each in _KNOWN if each != section), section]
