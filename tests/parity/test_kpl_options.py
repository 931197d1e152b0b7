"""Every option of the KPL has its place in kplpy, with the KPL's default and bounds (kpl_options.py recorded them)."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from benchmarks.environments import kpl_version
from kplpy import Config, ConfigError
from kplpy.config.kpl_properties import UNUSED, field_of
from tests.parity.kpl_options import FILES, recorded

ANSWERS = recorded()
OPTIONS: dict[str, dict[str, Any]] = {name: each for name, each in ANSWERS["options"].items() if each["in_file"]}
FIELDS = {name: field for name in OPTIONS if (field := field_of(name)) is not None}
DEFAULTS = {each.name: each.default for each in fields(Config)}

# kplpy's own choice: see Config's docstring, and docs/kpl.md for the reasons.
OTHER_DEFAULTS = {"RateLimit": 100, "MetricsGranularity": "stream", "MetricsLevel": "summary"}
OTHER_BOUNDS = {"CollectionMaxSize": (52224, 10 * 1024 * 1024)}  # the service's limit
# How Config says what the KPL says with this default.
DEFAULTS_IN_OTHER_WORDS = {"": None, "UNSET": None}
NOT_COMPARED = {"VerifyCertificate", "CloudwatchPort", "KinesisPort"}  # one part of a field: verify, or a URL

# Files that the KPL takes otherwise than kplpy, and why kplpy does.
STRICTER = {
    "NoSuchKey = 1\nRateLimit = 7": "the KPL logs a warning and goes on; a misspelt key would be lost",
    "recordTtl = 60000": "the same",
    "FailIfThrottled = yes": "the KPL takes every text but true for false",
}
MILDER = {
    "RecordDistributionStrategyDefault =": "an empty value is not set",
    "RateLimit =": "an empty value is not set",
    "RateLimit = 7  ": "blanks at the end of a line are not seen",
    "MetricsLevel = SUMMARY": "no other value can be meant",
    "MetricsLevel = Summary": "no other value can be meant",
    "MetricsGranularity = STREAM": "no other value can be meant",
}
OLDER: dict[str, dict[str, Any]] = {  # keys of KPL 0.x, which 1.1.1 ignores with a warning
    "UserRecordTimeout = 5": {"user_record_timeout_ms": 5},
    "CustomEndpoint = kinesis.local": {"endpoint_url": "https://kinesis.local"},
}


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "kpl.properties"
    path.write_text(text, encoding="utf-8")
    return Config.from_properties(path)


def test_the_answers_are_of_the_kpl_that_the_benchmarks_run() -> None:
    assert ANSWERS["version"] == kpl_version() == "1.1.1"
    assert [each["text"] for each in ANSWERS["files"]] == list(FILES)
    assert len(OPTIONS) == 47


@pytest.mark.parametrize("name", OPTIONS)
def test_a_file_may_have_each_option_with_its_default(name: str, tmp_path: Path) -> None:
    default = OPTIONS[name]["default"]
    text = str(default).lower() if isinstance(default, bool) else default
    config = read(tmp_path, f"{name} = {text}")
    if name in FIELDS and name not in NOT_COMPARED:
        value = getattr(config, FIELDS[name])
        assert value == DEFAULTS_IN_OTHER_WORDS.get(default, default)
        assert DEFAULTS[FIELDS[name]] == OTHER_DEFAULTS.get(name, value)


NUMBERS = [name for name, each in OPTIONS.items() if each["kind"] in ("long", "int")]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_has_the_kpls_bounds(name: str, tmp_path: Path) -> None:
    least, greatest = OTHER_BOUNDS.get(name, (OPTIONS[name]["least"], OPTIONS[name]["greatest"]))
    endpoint = f"{name.replace('Port', 'Endpoint')} = localhost\n" if name in NOT_COMPARED else ""
    for number in (least, greatest or 2**63 - 1):
        read(tmp_path, f"{endpoint}{name} = {number}")
    for number in (least - 1, *([greatest + 1] if greatest else [])):
        with pytest.raises(ConfigError, match=str(number)):
            read(tmp_path, f"{endpoint}{name} = {number}")


@pytest.mark.parametrize("name", [name for name, each in OPTIONS.items() if each["kind"] == "enum"])
def test_a_choice_has_the_kpls_values(name: str, tmp_path: Path) -> None:
    for value in OPTIONS[name]["values"]:
        read(tmp_path, f"{name} = {value}")
    with pytest.raises(ConfigError, match=", ".join(OPTIONS[name]["values"])):
        read(tmp_path, f"{name} = other")


@pytest.mark.parametrize("name", ["LogLevel", "MetricsGranularity", "MetricsLevel"])
def test_a_choice_of_texts_has_the_kpls_values(name: str, tmp_path: Path) -> None:
    pattern = OPTIONS[name]["rule"].partition("the pattern ")[2].partition(",")[0]
    for value in pattern.split("|"):
        read(tmp_path, f"{name} = {value}")
    with pytest.raises(ConfigError):
        read(tmp_path, f"{name} = other")


def test_each_option_sets_a_field_or_has_a_reason_not_to() -> None:
    assert set(OPTIONS) == set(FIELDS) | {name for name in OPTIONS if name in UNUSED}
    assert set(UNUSED) <= set(OPTIONS)
    assert all(each.why for each in UNUSED.values())


@pytest.mark.parametrize("case", ANSWERS["files"], ids=lambda case: ascii(case["text"]))
def test_a_file_is_taken_as_by_the_kpl(case: dict[str, Any], tmp_path: Path) -> None:
    text = case["text"]
    if ("error" in case and text not in MILDER) or text in STRICTER:
        with pytest.raises(ConfigError):
            read(tmp_path, text)
        return
    assert ("error" in case) == (text in MILDER)
    config = read(tmp_path, text)
    if text in OLDER:
        assert config == Config(**OLDER[text])
    elif text not in MILDER:
        expected = {field: value for name, value in case["set"].items() if (field := field_of(name))}
        assert config == Config(**expected)
