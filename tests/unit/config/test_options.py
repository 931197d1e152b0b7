"""Every field of Config: the values that it accepts, and the errors for others."""

from __future__ import annotations

import dataclasses
import inspect
import json
import tempfile
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import boto3
import botocore.config
import botocore.session
import pytest

from kplpy import Config, ConfigError, KplpyError, Producer
from kplpy.config.fields import ConfigFields


@dataclass
class Case:
    """The cases of one field.

    good: values that are accepted unchanged.
    bad: (value, the rule that its error must name).
    secret: the error must not show a bad value.
    """

    default: Any
    good: list[Any]
    bad: list[tuple[Any, str]] = field(default_factory=list)
    secret: bool = False


def refusing(rule: str, *values: Any) -> list[tuple[Any, str]]:
    return [(value, rule) for value in values]


def whole(default: int | None, low: int, high: int | None = None, *, optional: bool = False) -> Case:
    kind = "must be a whole number or None" if optional else "must be a whole number"
    bounds = f"must be at least {low}" if high is None else f"must be from {low} to {high}"
    bounds += " or None" if optional else ""
    wrong: list[Any] = [str(low), float(low), True, False, b"1", [low], Decimal(low), Fraction(low), float("nan")]
    if not optional:
        wrong.append(None)
    outside = [low - 1, -(10**30), *([] if high is None else [high + 1, 10**30])]
    return Case(
        default,
        [low, low + 1, *([10**12] if high is None else [high - 1, high]), *([None] if optional else [])],
        refusing(kind, *wrong) + refusing(bounds, *outside),
    )


def flag(default: bool) -> Case:
    return Case(default, [True, False], refusing("must be True or False", None, 0, 1, "true", []))


def choice(default: str | None, *values: str | None) -> Case:
    rule = f"must be one of {', '.join(map(repr, values))}"
    wrong: list[Any] = ["", values[-1] and values[-1].swapcase(), 0, 1, True, False, ["a"], b"a", f"{values[-1]} "]
    if None not in values:
        wrong.append(None)
    return Case(default, list(values), refusing(rule, *wrong))


def text(*, secret: bool = False) -> Case:
    wrong = refusing("must be a text that is not empty", "", " \t", 1, True, False, b"text", ["text"])
    return Case(None, [None, "x", "ü 🙂"], wrong, secret)


def url() -> Case:
    rule = "must be http:// or https:// with a host, and a port from 1 to 65535 where given"
    wrong = ["localhost", "localhost:4567", "ftp://host", "http:/host", "http://", "https:///path", "HTTP//host"]
    wrong += ["http://two words", "http://host:port", "https://host:65536", "http://:80", "http://host:0"]
    return Case(
        None,
        [
            None,
            "http://localhost:4567",
            "https://kinesis.eu-west-1.amazonaws.com",
            "http://[::1]:80/",
            "http://h:65535",
        ],
        refusing(rule, *wrong) + refusing("must be a text that is not empty", "", " ", 1, True, b"http://host"),
    )


MIB = 1 << 20
CASES: dict[str, Case] = {
    "region_name": text(),
    "endpoint_url": url(),
    "verify": Case(
        None,
        [None, True, False, "/etc/ca.pem"],
        refusing("must be True, False, the path of a CA bundle or None", 0, 1, "", b"ca", [], 2.0),
    ),
    "session": Case(
        None,
        [None, boto3.Session(region_name="us-east-1"), botocore.session.Session()],
        refusing("must be a boto3 or botocore session", "default", 1, 0, {}, object()),
    ),
    "botocore_config": Case(
        None,
        [None, botocore.config.Config(connect_timeout=1)],
        refusing("must be a botocore.config.Config", {}, "x", 0, {"connect_timeout": 1}),
    ),
    "proxy_host": text(),
    "proxy_port": whole(443, 1, 65535),
    "proxy_user_name": text(),
    "proxy_password": text(secret=True),
    "aggregation_enabled": flag(True),
    "aggregation_max_count": whole(4294967295, 1),
    "aggregation_max_size": whole(51200, 64, 10 * MIB),
    "aggregate_partition_key": choice("a", "a", "first"),
    "collection_max_count": whole(500, 1, 500),
    "collection_max_size": whole(5242880, 52224, 10 * MIB),
    "max_user_record_size": whole(1048576, 64, 10 * MIB),
    "record_max_buffered_time_ms": whole(100, 0),
    "record_ttl_ms": whole(30000, 100, optional=True),
    "user_record_timeout_ms": whole(0, 0),
    "connect_timeout_ms": whole(6000, 100, 300000),
    "request_timeout_ms": whole(6000, 100, 600000),
    "rate_limit": whole(100, 1),
    "ordered": flag(False),
    "fail_if_throttled": flag(False),
    "max_connections": whole(24, 1, 256),
    "max_buffered_records": whole(100_000, 1),
    "max_buffered_bytes": whole(64 * MIB, 1024),
    "max_inflight_bytes": whole(32 * MIB, 1),
    "hot_partition_keys": whole(0, 0, 100_000),
    "request_format": choice("json", "json", "cbor"),
    "compression": choice("none", "none", "gzip", "zstd"),
    "compression_level": whole(None, 1, 19, optional=True),
    "compression_min_size": whole(1024, 1, 10 * MIB),
    "aggregate_single_records": flag(False),
    "assume_distribution_strategy": choice(None, None, "USER_PARTITION_KEY", "AUTO"),
    "on_buffer_full": choice(None, None, "block", "raise"),
    "max_block_ms": whole(60_000, 0),
    "close_timeout_ms": whole(30_000, 0),
    "on_failure": Case(
        None, [None, print, lambda _: None], refusing("must be callable or None", "print", 1, 0, [], {})
    ),
    **{
        name: Case(None, [None, str, lambda _: b""], refusing("must be callable or None", "json", 1, 0, [], {}))
        for name in ("value_serializer", "key_serializer")
    },
    "spool": Case(
        None,
        [None, tempfile.gettempdir()],  # a directory that exists, because a Producer makes a missing one
        refusing("must be the path of a directory, or None", "", " \t", "a\0b", 1, True, b"spool", ["spool"], Path),
    ),
    "spool_sync_ms": whole(10, 0, 60_000),
    "spool_max_bytes": whole(1024 * MIB, MIB),
    "spool_on_full": choice("block", "block", "raise", "drop_oldest"),
    "spool_on_error": choice("raise", "raise", "memory"),
    "spool_ttl_ms": whole(None, 100, optional=True),
    "stats_path": Case(None, [None, "stats", "ü" * 40], [*text().bad, *refusing("at most 80 bytes", "ü" * 41)]),
    "cloudwatch_endpoint_url": url(),
    "metrics_sink": Case(
        None,
        [None, "cloudwatch", "emf", "prometheus", "opentelemetry", SimpleNamespace(emit=print)],
        refusing(
            "must be one of 'cloudwatch', 'emf', 'prometheus', 'opentelemetry', an object with a method emit(window)",
            *("CloudWatch", "", 1, True, print, object(), ["emf"]),
        ),
    ),
    "tracing": choice(None, None, "opentelemetry"),
    "metrics_session": Case(
        None,
        [None, boto3.Session(region_name="us-east-1"), botocore.session.Session()],
        refusing("must be a boto3 or botocore session", "default", 1, {}, object()),
    ),
    "metrics_level": choice("summary", "none", "summary", "detailed"),
    "metrics_granularity": choice("stream", "global", "stream", "shard"),
    "metrics_namespace": Case(
        "KinesisProducerLibrary",
        ["x", "x" * 255, "aws/lower", "AWS", "my/AWS/"],
        refusing(
            "must be 1 to 255 characters that do not start with 'AWS/'",
            *("", "AWS/", "AWS/K", "x" * 256, "two\nlines", None, 1, True, b"x", ["x"]),
        ),
    ),
    "additional_metrics_dimensions": Case(
        (),
        [(), (("HostName", "web-1", "stream"),), (("A", "1", "global"), ("x" * 255, " y", "shard"))],
        refusing(
            "must be a tuple of (name, value, granularity)",
            *(None, "HostName", ("HostName", "web-1", "stream"), [("HostName", "web-1", "stream")], (("a", "b"),)),
            *((("", "b", "shard"),), (("a", " ", "shard"),), ((":a", "b", "shard"),), (("a", "b", "Shard"),)),
            *((("ä", "b", "shard"),), (("a", "x" * 256, "shard"),), (("a", 1, "shard"),)),
        )
        + refusing(
            "must have names that differ",
            (("ShardId", "1", "shard"),),
            (("A", "1", "global"), ("A", "2", "stream")),
            tuple((f"n{number}", "x", "global") for number in range(28)),
        ),
    ),
    "metrics_upload_delay_ms": whole(60000, 1, 60000),
    # test_streams.py has the options of a stream
    "streams": Case(
        None,
        [None, MappingProxyType({}), MappingProxyType({"orders": MappingProxyType({"ordered": True})})],
        refusing("must be a mapping of stream names or ARNs to options, or None", "orders", 1, True, [], {"orders"}),
    ),
}


# The ids are numbers: pytest-xdist needs the same ids in every process, and some reprs contain an address.
TAKEN = [
    pytest.param(name, value, id=f"{name}-{number}")
    for name, case in CASES.items()
    for number, value in enumerate(case.good)
]
REFUSED = [
    pytest.param(name, value, rule, id=f"{name}-{number}")
    for name, case in CASES.items()
    for number, (value, rule) in enumerate(case.bad)
]


def test_every_field_has_its_cases() -> None:
    names = {each.name for each in dataclasses.fields(Config)}
    assert names == set(CASES), "give the new field its cases here"
    for name, case in CASES.items():
        assert len(case.good) >= 2, name
        assert len(case.bad) >= 3, name


@pytest.mark.parametrize(("name", "value"), TAKEN)
def test_good_values_are_accepted(name: str, value: Any) -> None:
    taken = getattr(Config(**{name: value}), name)
    assert taken is value or (type(taken) is type(value) and taken == value)


@pytest.mark.parametrize(("name", "value", "rule"), REFUSED)
def test_bad_values_are_refused(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config(**{name: value})
    said = str(raised.value)
    assert said.startswith(f"{name} "), said
    assert rule in said
    if not CASES[name].secret:
        assert said.endswith(f", got {value!r}")
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, KplpyError)


def test_a_module_in_place_of_a_serializer_is_refused_with_an_example() -> None:
    example = r"^value_serializer must .* \(a function such as kplpy.serializers.json\), got <module 'json'"
    with pytest.raises(ConfigError, match=example):
        Config(value_serializer=json)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^key_serializer must .* \(a function such as str\), got 'str'"):
        Config(key_serializer="str")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_producer_accepts_and_refuses_the_same_keywords(name: str) -> None:
    case = CASES[name]
    for value in case.good:
        assert getattr(Producer(**{name: value}).config, name) == value
    with pytest.raises(ConfigError, match=f"^{name} "):
        Producer(**{name: case.bad[0][0]})


@pytest.mark.parametrize("name", CASES)
def test_default(name: str) -> None:
    assert getattr(Config(), name) == CASES[name].default
    assert type(getattr(Config(), name)) is type(CASES[name].default)


@pytest.mark.parametrize("value", [b"hunter2", "", 7777777, ["hunter2"]])
def test_a_bad_password_is_not_shown(value: object) -> None:
    with pytest.raises(ConfigError) as raised:
        Config(proxy_password=value)  # type: ignore[arg-type]
    assert "hunter2" not in str(raised.value)
    assert "7777777" not in str(raised.value)
    assert type(value).__name__ in str(raised.value)


def test_a_spool_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in ("spool", Path("spool"), tmp_path / "other" / ".." / "spool"):
        assert Config(spool=value).spool == str(tmp_path / "spool")
    assert list(tmp_path.iterdir()) == []


def test_secrets_stay_out_of_the_repr() -> None:
    config = Config(proxy_password="hunter2", session=boto3.Session(region_name="mars-1"), region_name="eu-west-1")
    assert "hunter2" not in repr(config)
    assert "mars-1" not in repr(config)
    assert "eu-west-1" in repr(config)


def test_config_is_a_frozen_value() -> None:
    config = Config(rate_limit=50)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.rate_limit = 60  # type: ignore[misc]
    assert config == Config(rate_limit=50)
    assert config != Config(rate_limit=51)
    assert hash(config) == hash(Config(rate_limit=50))
    assert dataclasses.replace(config, max_connections=3).rate_limit == 50
    with pytest.raises(ConfigError, match=r"^max_connections must be from 1 to 256, got 0$"):
        dataclasses.replace(config, max_connections=0)


def test_config_takes_keywords_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        Config("eu-west-1")  # type: ignore[call-arg]


# --- Producer and its Config ---


def test_producer_keeps_its_config_object() -> None:
    config = Config(region_name="eu-west-1")
    assert Producer(config).config is config
    assert Producer(config=config).config is config
    assert Producer().config == Config()


def test_config_and_keywords_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^give a Config or its fields, not both: rate_limit, region_name$"):
        Producer(Config(), region_name="eu-west-1", rate_limit=3)  # type: ignore[call-overload]


@pytest.mark.parametrize("value", ["eu-west-1", {"region_name": "eu-west-1"}, Path("kpl.properties"), 0, False, Config])
def test_another_object_as_config_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        Producer(value)
    assert str(raised.value) == f"config must be a kplpy Config, got {value!r}"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("record_ttl", "record_ttl_ms"),
        ("region", "region_name"),
        ("aggregation_max_sise", "aggregation_max_size"),
        ("max_buffered_record", "max_buffered_records"),
        ("metric_level", "metrics_level"),
    ],
)
def test_the_error_for_an_unknown_keyword_names_similar_ones(name: str, near: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Producer(**{name: 1})  # type: ignore[call-overload]
    said = str(raised.value)
    with pytest.raises(ConfigError) as raised:
        Config(**{name: 1})  # type: ignore[arg-type]
    assert str(raised.value) == said
    assert said.startswith(f"there is no Config field {name!r}; did you mean ")
    assert near in said.removesuffix("?").partition("did you mean ")[2].split(" or ")


def test_an_unknown_keyword_without_similar_ones() -> None:
    with pytest.raises(ConfigError, match=r"^there is no Config field 'zzzzzz'$"):
        Producer(zzzzzz=1)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match=r"^there is no Config field 'zzzzzz'$"):
        Config(zzzzzz=1)  # type: ignore[call-arg]


def test_an_unknown_field_of_a_changed_config_and_of_a_properties_file(tmp_path: Path) -> None:
    said = r"^there is no Config field 'rate_limits'; did you mean rate_limit"
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(Config(), rate_limits=50)  # type: ignore[call-arg]
    path = tmp_path / "kpl.properties"
    path.write_text("RateLimit = 100\n")
    with pytest.raises(ConfigError, match=said):
        Config.from_properties(path, rate_limits=50)  # type: ignore[call-arg]


def test_editors_and_type_checkers_know_every_field_as_a_keyword() -> None:
    """ConfigFields is a copy of Config for them. Notebooks complete from Producer's signature."""
    typed = {name: getattr(kind, "__forward_arg__", kind) for name, kind in ConfigFields.__annotations__.items()}
    assert typed == {each.name: each.type for each in dataclasses.fields(Config)}
    names = [each.name for each in dataclasses.fields(Config)]
    assert list(inspect.signature(Config).parameters) == names
    assert list(inspect.signature(Producer).parameters) == ["config", *names]
    assert inspect.signature(Producer).parameters["rate_limit"].default == Config().rate_limit


def test_gzip_has_nine_levels() -> None:
    assert Config(compression="gzip", compression_level=9).compression_level == 9
    with pytest.raises(ConfigError, match="compression_level must be from 1 to 9 with gzip, got 10"):
        Config(compression="gzip", compression_level=10)
    with pytest.raises(ConfigError, match=r"streams\['orders'\]: compression_level must be from 1 to 9 with gzip"):
        Config(compression_level=19, streams={"orders": {"compression": "gzip"}})
