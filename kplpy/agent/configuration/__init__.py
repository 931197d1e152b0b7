"""Reads agent.json, and the flows of agent.d, into AgentSettings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kplpy.agent.configuration.findings import AgentConfigError, Findings, Problem, error_of
from kplpy.agent.configuration.flows import Placed, compare, read_flows
from kplpy.agent.configuration.json_text import Document, JsonError, read
from kplpy.agent.configuration.keys import GLOBAL_KEYS
from kplpy.agent.configuration.reading import GLOBAL, is_object, read_keys
from kplpy.agent.settings import AgentSettings
from kplpy.escaping import brief_repr

__all__ = ["AgentConfigError", "from_mapping", "load"]

_AWS_HOST = re.compile(
    r"(?:[\w-]+\.)?(?:kinesis|firehose)(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d+)\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)


def load(path: str | os.PathLike[str], directory: str | os.PathLike[str] | None = None) -> AgentSettings:
    """Read agent.json, and the flows of the files in agent.d.

    directory: agent.d; None: the directory of this name beside the file, if there is one. A bad file in it is left out
    with a warning. Raises AgentConfigError, a ConfigError, with all errors of the file: line, key, value and rule.
    """
    document, findings = _read_file(path)
    beside = Path(os.fspath(path)).parent / "agent.d"
    more, warnings = _read_directory(beside if directory is None else Path(directory))
    return _settings(document.value, findings, more, warnings)


def from_mapping(config: Mapping[str, Any]) -> AgentSettings:
    """Return the settings of a dict with agent.json's keys. Raises AgentConfigError."""
    return _settings(config, Findings("the configuration"), [], [])


def _read_file(path: str | os.PathLike[str]) -> tuple[Document, Findings]:
    """Return a file's JSON, and its Findings with what the JSON gives cause for."""
    name = os.fspath(path)
    try:
        text = Path(name).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise error_of([f"cannot read the configuration {name!r}: {error}"]) from error
    try:
        document = read(text)
    except JsonError as error:
        findings = Findings(name)
        for problem in error.problems:
            findings.add_error(Problem(f"not JSON: {problem.text}", "", problem.line, problem.column))
        raise error_of(findings.errors) from None
    findings = Findings(name, document.lines)
    for repeated in document.repeated:
        findings.warn(repeated, "is there twice: the last one counts")
    return document, findings


def _read_directory(directory: Path) -> tuple[list[Placed], list[str]]:
    """Return the flows of agent.d, and warnings about files that are left out."""
    flows: list[Placed] = []
    warnings: list[str] = []
    try:
        # Names with a dot in front are not configurations: editors' files, and Kubernetes' ..data.
        files = sorted(each for each in directory.iterdir() if each.is_file() and not each.name.startswith("."))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"cannot read the directory {str(directory)!r}, which is left out: {error}"]
    for file in files:
        try:
            document, findings = _read_file(file)
            placed = _flows_only(document.value, findings)
            findings.raise_errors()
        except AgentConfigError as error:
            warnings += [f"{problem}; the whole file is left out" for problem in error.problems]
            continue
        flows += placed
    return flows, warnings


def _flows_only(raw: Any, findings: Findings) -> list[Placed]:
    """Return the flows of a file in agent.d."""
    if not is_object(raw):
        findings.error("", f"must be an object with flows, got {brief_repr(raw)}")
        return []
    others = [name for name in raw if name != "flows"]
    if others:
        findings.warn("", f"only flows are read from agent.d, so these keys have no effect: {', '.join(others)}")
    placed = read_flows(raw.get("flows"), findings)
    if not placed and not findings.errors:
        findings.error("", "has no flows")
    return placed


def _settings(raw: Any, findings: Findings, more: list[Placed], warnings: list[str]) -> AgentSettings:
    """Return the settings of a file, with the flows and warnings of agent.d. Raises AgentConfigError."""
    if not is_object(raw):
        findings.error("", f"must be an object with flows, got {brief_repr(raw)}")
        findings.raise_errors()
    values = read_keys(raw, GLOBAL, "", findings)
    flows = read_flows(values.pop("flows", None), findings)
    if not flows and not more and not findings.errors:
        findings.error("", "has no flow: flows must be a list of objects with filePattern and kinesisStream")
    compare([*flows, *more])
    settings = {str(GLOBAL_KEYS[name].field): value for name, value in values.items()}
    _credentials(settings, findings)
    _checkpoint_files(settings)
    for service in ("kinesis", "firehose"):
        region = _region_of(settings.get(f"{service}_endpoint"))
        if region is not None:
            settings.setdefault(f"{service}_region", region)
    errors = [*findings.errors, *(error for each in _files(more) for error in each.errors)]
    found = [*findings.warnings, *warnings, *(text for each in _files(more) for text in each.warnings)]
    if errors:
        raise error_of(errors, found)
    placed = [*flows, *more]
    return replace(AgentSettings(tuple(each.flow for each in placed), **settings), warnings=tuple(found))


def _files(flows: list[Placed]) -> list[Findings]:
    """Return the findings of the flows' files, each once."""
    return list({id(each.findings): each.findings for each in flows}.values())


def _credentials(settings: dict[str, Any], findings: Findings) -> None:
    """Warn of credentials' keys that need another one."""
    if ("access_key_id" in settings) != ("secret_access_key" in settings):
        name, other = ("awsAccessKeyId", "awsSecretAccessKey")
        if "secret_access_key" in settings:
            name, other = other, name
        findings.warn(name, f"has no effect without {other}")
        settings.pop("access_key_id", None)
        settings.pop("secret_access_key", None)
    if "assume_role_external_id" in settings and "assume_role_arn" not in settings:
        findings.warn("assumeRoleExternalId", "has no effect without assumeRoleARN")


def _checkpoint_files(settings: dict[str, Any]) -> None:
    """Put kplpy's own file beside the Agent's, which is imported from."""
    given = settings.get("checkpoint_file")
    if given is not None:
        given = os.path.abspath(given)
        settings["checkpoint_file"] = f"{given}.kplpy"
        settings.setdefault("imported_checkpoints", given)
    if settings.get("imported_checkpoints") == "":
        settings["imported_checkpoints"] = None


def _region_of(endpoint: str | None) -> str | None:
    """Return the region that an AWS host name has in it."""
    found = _AWS_HOST.fullmatch(urlsplit(endpoint).hostname or "") if endpoint else None
    return found[1] if found is not None else None
