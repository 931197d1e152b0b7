"""Config.streams: the options of single streams, and how a name or an ARN finds them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from kplpy import Config, ConfigError, InvalidRecordError, NotPicklableError, Producer, StreamOptions, serializers
from kplpy.config.options import per_stream
from kplpy.config.streams import STREAM_FIELDS
from kplpy.core.policy import delivery_policy_of
from kplpy.core.policy import policy_of as policy_of_config

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
ANOTHERS = "arn:aws:kinesis:eu-west-1:999999999999:stream/orders"
OTHER_VALUES: dict[str, Any] = {
    "aggregation_enabled": False,
    "aggregation_max_count": 7,
    "aggregation_max_size": 700,
    "aggregate_partition_key": "first",
    "aggregate_single_records": True,
    "assume_distribution_strategy": "AUTO",
    "compression": "zstd",
    "compression_level": 7,
    "compression_min_size": 7,
    "record_max_buffered_time_ms": 7,
    "record_ttl_ms": None,
    "user_record_timeout_ms": 700,
    "ordered": True,
    "rate_limit": 7,
    "fail_if_throttled": True,
    "max_user_record_size": 700,
    "value_serializer": serializers.json,
    "key_serializer": str,
}


def test_every_option_of_a_stream_is_a_field_of_config_with_the_same_type() -> None:
    types = {each.name: each.type for each in dataclasses.fields(Config)}
    own = {name: getattr(kind, "__forward_arg__", kind) for name, kind in StreamOptions.__annotations__.items()}
    assert own == {name: types[name] for name in STREAM_FIELDS}


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_an_option_of_a_stream_changes_the_policy_of_this_stream_only(name: str) -> None:
    config = Config(compression="gzip", streams={"orders": {name: OTHER_VALUES[name]}})  # type: ignore[misc]
    assert config.for_stream("orders") == dataclasses.replace(Config(compression="gzip"), **{name: OTHER_VALUES[name]})
    policy_of = per_stream(config, policy_of_config)
    assert (policy_of("orders") == policy_of("clicks")) is name.endswith("_serializer")
    assert policy_of("clicks") is policy_of("views")


# --- delivery streams ---

DELIVERY = "arn:aws:firehose:eu-west-1:123456789012:deliverystream/orders"
# An option of a delivery stream, and whether it changes the policy.
OF_DELIVERY_STREAMS: dict[str, tuple[Any, bool]] = {
    "aggregation_max_count": (7, True),
    "joined_record_size": (700, True),
    "record_max_buffered_time_ms": (7, True),
    "record_ttl_ms": (None, True),
    "user_record_timeout_ms": (700, True),
    "fail_if_throttled": (True, True),
    "max_user_record_size": (700, True),
    "value_serializer": (serializers.json, False),
    "key_serializer": (str, False),
}


@pytest.mark.parametrize("name", OF_DELIVERY_STREAMS)
def test_an_option_of_a_delivery_stream_is_that_of_its_arn_only(name: str) -> None:
    value, counts = OF_DELIVERY_STREAMS[name]
    config = Config(streams={DELIVERY: {name: value}})  # type: ignore[misc]
    policy = per_stream(config, delivery_policy_of)
    assert (policy(DELIVERY) != policy(DELIVERY.replace("orders", "clicks"))) is counts
    assert getattr(config.for_stream(DELIVERY), name) == value
    for other in ("orders", ARN, DELIVERY.replace("eu-west-1", "eu-west-2")):
        assert config.for_stream(other) is config


@pytest.mark.parametrize("name", [name for name in STREAM_FIELDS if name not in OF_DELIVERY_STREAMS])
def test_options_of_shards_aggregates_and_order_are_refused_for_a_delivery_stream(name: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config(streams={DELIVERY: {name: OTHER_VALUES[name]}})  # type: ignore[misc]
    assert str(raised.value) == (
        f"streams['{DELIVERY}']: '{name}' is an option of a stream, not of a delivery stream (docs/firehose.md)"
    )


@pytest.mark.parametrize("stream", ["orders", ARN])
def test_joining_is_refused_for_a_stream(stream: str) -> None:
    with pytest.raises(ConfigError, match="'joined_record_size' is an option of a delivery stream, not of a stream"):
        Config(streams={stream: {"joined_record_size": 1}})


def test_a_stream_and_a_delivery_stream_of_one_name_have_their_own_options() -> None:
    config = Config(streams={"orders": {"record_ttl_ms": 1000}, DELIVERY: {"record_ttl_ms": 2000}})
    found = [config.for_stream(stream).record_ttl_ms for stream in ("orders", ARN, DELIVERY)]
    assert found == [1000, 1000, 2000]
    assert Config(streams={DELIVERY: {"record_ttl_ms": 2000}}).for_stream("orders").record_ttl_ms == 30_000


def test_the_producers_options_of_shards_aggregates_and_order_do_not_apply_to_delivery_streams() -> None:
    plain = delivery_policy_of(Config())
    everything = {name: value for name, value in OTHER_VALUES.items() if name not in OF_DELIVERY_STREAMS}
    assert delivery_policy_of(Config(**everything)) == plain
    assert not plain.aggregate
    assert not plain.ordered


# --- streams ---


def test_options_that_are_not_given_are_the_producers() -> None:
    config = Config(rate_limit=50, ordered=True, streams={"orders": {"ordered": False}, "clicks": {}})
    assert config.for_stream("orders") == Config(rate_limit=50)
    assert config.for_stream("clicks") is config
    assert config.for_stream("views") is config


def test_a_name_holds_for_its_arns() -> None:
    config = Config(streams={"orders": {"rate_limit": 1}})
    for stream in ("orders", ARN, ANOTHERS):
        assert config.for_stream(stream).rate_limit == 1
    assert config.for_stream(ARN.replace("orders", "order")).rate_limit == 100


def test_an_arn_holds_for_its_name_and_for_no_other_arn() -> None:
    config = Config(streams={ARN: {"rate_limit": 1}})
    assert config.for_stream(ARN).rate_limit == config.for_stream("orders").rate_limit == 1
    assert config.for_stream(ANOTHERS) is config


def test_two_arns_of_one_name() -> None:
    same = Config(streams={ARN: {"rate_limit": 1}, ANOTHERS: {"rate_limit": 1}})
    assert same.for_stream("orders").rate_limit == 1
    differ = Config(streams={ARN: {"rate_limit": 1}, ANOTHERS: {"rate_limit": 2}})
    assert [differ.for_stream(arn).rate_limit for arn in (ARN, ANOTHERS)] == [1, 2]
    with pytest.raises(InvalidRecordError) as raised:
        differ.for_stream("orders")
    assert str(raised.value) == (
        "stream 'orders' must be put by its ARN, because `streams` has different options for several ARNs of this "
        f"name: {ARN}, {ANOTHERS}"
    )


def test_a_put_by_an_ambiguous_name_is_refused_and_leaves_nothing() -> None:
    with Producer(streams={ARN: {"rate_limit": 1}, ANOTHERS: {"rate_limit": 2}}) as producer:
        for _ in range(2):
            with pytest.raises(InvalidRecordError, match="must be put by its ARN"):
                producer.put_record("orders", b"x", "k")
        with pytest.raises(InvalidRecordError, match="must be put by its ARN"):
            producer.put_records("orders", [(b"x", "k")])
        assert producer.outstanding_records == 0
        assert "no streams yet" in repr(producer)


def test_a_name_and_its_arn_must_agree() -> None:
    agreeing: StreamOptions = {"rate_limit": 1}
    assert Config(streams={"orders": agreeing, ARN: agreeing}).for_stream(ARN).rate_limit == 1
    for streams in ({"orders": agreeing, ARN: {}}, {ARN: {"ordered": True}, "orders": agreeing}):
        with pytest.raises(ConfigError) as raised:
            Config(streams=streams)  # type: ignore[arg-type]
        assert str(raised.value) == (
            f"streams has different options for 'orders' and {ARN!r}, which may be one stream, because kplpy does not "
            "know the account of a name: give the options by ARN only"
        )


REFUSED: list[tuple[Any, str]] = [
    ({"orders": {"rate_limit": 0}}, "streams['orders']: rate_limit must be at least 1, got 0"),
    ({ARN: {"ordered": "yes"}}, f"streams[{ARN!r}]: ordered must be True or False, got 'yes'"),
    (
        {"orders": {"aggregation_max_sise": 500}},
        "streams['orders']: there is no option 'aggregation_max_sise' of a stream; did you mean aggregation_max_size",
    ),
    ({"orders": {"zzzz": 1}}, "streams['orders']: there is no option 'zzzz' of a stream; a stream takes aggregation_"),
    ({"orders": {7: 1}}, "streams['orders']: there is no option 7 of a stream; a stream takes "),
    (
        {"orders": {"max_connections": 3}},
        "streams['orders']: 'max_connections' is an option of the whole producer, not of a single stream",
    ),
    ({"orders": {"streams": {}}}, "streams['orders']: 'streams' is an option of the whole producer"),
    ({"orders": True}, "streams['orders'] must be a mapping of options to values, got True"),
    ({"orders": None}, "streams['orders'] must be a mapping of options to values, got None"),
    ({"no such/name": {}}, "streams has a wrong key: stream must be a stream's ARN or its name"),
    ({7: {}}, "streams has a wrong key: stream must be a str, got int: 7"),
    ({None: {}}, "streams has a wrong key: stream must be a str, got NoneType: None"),
]


@pytest.mark.parametrize(("streams", "text"), REFUSED, ids=range(len(REFUSED)))
def test_wrong_options_are_refused_with_stream_field_value_and_rule(streams: Any, text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config(streams=streams)
    assert str(raised.value).startswith(text)
    with pytest.raises(ConfigError):
        Producer(streams=streams)


def test_the_options_cannot_be_changed_through_the_config_nor_through_what_was_given() -> None:
    orders: StreamOptions = {"rate_limit": 1}
    given: dict[str, StreamOptions] = {"orders": orders}
    config = Config(streams=given)
    orders["rate_limit"] = 2
    given["clicks"] = {"ordered": True}
    assert config == Config(streams={"orders": {"rate_limit": 1}})
    assert config.streams is not None
    with pytest.raises(TypeError):
        config.streams["orders"] = {}  # type: ignore[index]
    with pytest.raises(TypeError):
        config.streams["orders"]["rate_limit"] = 3


def test_repr_hash_copy_and_pickle() -> None:
    config = Config(streams={"orders": {"rate_limit": 1}, ARN: {"rate_limit": 1}})
    assert f"streams={{'orders': {{'rate_limit': 1}}, '{ARN}': {{'rate_limit': 1}}}}" in repr(config)
    assert "streams=None" in repr(Config())
    assert hash(config) == hash(dataclasses.replace(config))
    assert config != Config()
    assert copy.copy(config) is copy.deepcopy(config) is config
    assert pickle.loads(pickle.dumps(config)) == config
    assert pickle.loads(pickle.dumps(Producer(config))).config == config
    changed = dataclasses.replace(config, ordered=True)
    assert changed.streams == config.streams
    assert changed.for_stream("orders").ordered


def test_serializers_are_pickled_by_name_and_are_no_part_of_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cloudpickle", raising=False)
    config = Config(streams={"orders": {"value_serializer": serializers.json, "key_serializer": str, "rate_limit": 1}})
    assert pickle.loads(pickle.dumps(config)) == config
    assert "streams={'orders': {'rate_limit': 1}}" in repr(config)
    local = Config(streams={"orders": {"value_serializer": lambda value: b""}})
    said = r"with streams\['orders'\]\['value_serializer'\]=function\(...\) cannot be sent to another process"
    with pytest.raises(NotPicklableError, match=said):
        pickle.dumps(local)


def test_a_properties_file_with_streams(tmp_path: Path) -> None:
    path = tmp_path / "kpl.properties"
    path.write_text("RateLimit = 60\n")
    config = Config.from_properties(path, streams={"orders": {"ordered": True}})
    assert (config.rate_limit, config.for_stream("orders").rate_limit) == (60, 60)
    assert config.for_stream("orders").ordered
