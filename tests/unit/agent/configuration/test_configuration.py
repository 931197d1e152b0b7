"""agent.json is read with every key, and every bad value is named with its place and its rule."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from kplpy import ConfigError
from kplpy.agent.configuration import AgentConfigError, from_mapping, load
from kplpy.agent.configuration.keys import FLOW_KEYS, GLOBAL_KEYS
from kplpy.agent.settings import MIB, AgentSettings, FlowSettings

FLOW = {"filePattern": "/var/log/app.log", "kinesisStream": "orders"}

STREAM_RULE = "must be a stream's ARN or its name (1 to 128 of a-z A-Z 0-9 _ . -)"


def flow(**keys: Any) -> FlowSettings:
    (found,) = from_mapping({"flows": [{**FLOW, **keys}]}).flows
    return found


def firehose(**keys: Any) -> FlowSettings:
    (found,) = from_mapping({"flows": [{"filePattern": "/a/b", "deliveryStream": "logs", **keys}]}).flows
    return found


def agent(**keys: Any) -> AgentSettings:
    return from_mapping({"flows": [FLOW], **keys})


def errors(config: Any) -> tuple[str, ...]:
    with pytest.raises(AgentConfigError) as caught:
        from_mapping(config)
    return tuple(each.removeprefix("the configuration: ") for each in caught.value.problems)


def flow_error(**keys: Any) -> str:
    (found,) = errors({"flows": [{**FLOW, **keys}]})
    return found.removeprefix("flows[0].")


def agent_error(**keys: Any) -> str:
    (found,) = errors({"flows": [FLOW], **keys})
    return found


def flow_warnings(**keys: Any) -> list[str]:
    found = from_mapping({"flows": [{**FLOW, **keys}]}).warnings
    return [each.removeprefix("the configuration: flows[0].") for each in found]


def agent_warnings(**keys: Any) -> list[str]:
    return [each.removeprefix("the configuration: ") for each in agent(**keys).warnings]


def test_a_flow_has_the_agents_defaults() -> None:
    assert flow() == FlowSettings("kinesis:orders:/var/log/app.log", "/var/log/app.log", "kinesis", "orders")
    assert agent() == AgentSettings((flow(),))


def test_a_delivery_stream_has_a_smaller_buffer() -> None:
    settings = firehose()
    assert (settings.id, settings.destination) == ("fh:logs:/a/b", "firehose")
    assert settings.max_buffer_size_bytes == 4 * MIB


def test_all_keys_of_a_flow_are_read() -> None:
    settings = flow(
        partitionKeyOption="DETERMINISTIC",
        initialPosition="START_OF_FILE",
        maxBufferAgeMillis=1000,
        maxBufferSizeRecords=1,
        maxBufferSizeBytes=7,
        minTimeBetweenFilePollsMillis=8,
        maxTimeBetweenFileTrackerRefreshMillis=9,
        multiLineStartPattern="^A",
        skipHeaderLines=2,
        fileFooterPattern="end",
        truncatedRecordTerminator="…\n",
        retryInitialBackoffMillis=3,
        retryMaxBackoffMillis=4,
        publishQueueCapacity=5,
        aggregation=True,
        compression="gzip",
        ordered=True,
        dataProcessingOptions=[{"optionName": "SINGLELINE"}],
    )
    assert settings == FlowSettings(
        id="kinesis:orders:/var/log/app.log",
        file_pattern="/var/log/app.log",
        destination="kinesis",
        stream="orders",
        partition_key_option="DETERMINISTIC",
        aggregation=True,
        compression="gzip",
        ordered=True,
        initial_position="START_OF_FILE",
        max_buffer_age_ms=1000,
        max_buffer_size_records=1,
        max_buffer_size_bytes=7,
        min_time_between_file_polls_ms=8,
        max_time_between_file_tracker_refresh_ms=9,
        multi_line_start_pattern="^A",
        skip_header_lines=2,
        file_footer_pattern="end",
        truncated_record_terminator="…\n".encode(),
        retry_initial_backoff_ms=3,
        retry_max_backoff_ms=4,
        publish_queue_capacity=5,
        processing=({"optionName": "SINGLELINE"},),
    )
    joined = firehose(aggregatedRecordSizeBytes=1000, joinBeforeProcessing="yes")
    assert (joined.aggregated_record_size_bytes, joined.join_before_processing) == (1000, True)


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("partitionKey", "partition_key"),
        ("partitionKeyField", "partition_key_field"),
        ("partitionKeyPattern", "partition_key_pattern"),
    ],
)
def test_a_partition_key_comes_from_one_key(key: str, field: str) -> None:
    assert getattr(flow(**{key: "(a)"}), field) == "(a)"
    assert errors({"flows": [{**FLOW, "partitionKey": "a", "partitionKeyField": "b"}]}) == (
        "flows[0]: partitionKey and partitionKeyField are given; a flow has at most one of them",
    )
    assert flow_warnings(**{key: "(a)", "partitionKeyOption": "RANDOM"}) == [
        f"partitionKeyOption: has no effect, because {key} beside it wins"
    ]


def test_all_keys_of_the_agent_are_read() -> None:
    settings = agent(
        checkpointFile="/data/checkpoints",
        checkpointTimeToLiveDays="3",
        shutdownTimeoutMillis=5,
        maxConnections=6,
        connectionTimeoutMillis=700,
        socketTimeoutMillis=800,
        userAgent="shop/1",
        **{"kinesis.endpoint": "localhost:4567", "kinesis.region": "eu-west-1", "firehose.endpoint": "http://[::1]:1"},
        **{"cloudwatch.endpoint": "https://cw", "sts.endpoint": "sts", "awsAccessKeyId": "id"},
        awsSecretAccessKey="secret",
        assumeRoleARN="arn:aws:iam::123456789012:role/path/log-writer",
        **{"assumeRoleExternalId": "arn:aws:s3:::bucket", "cloudwatch.emitMetrics": "no"},
        **{"cloudwatch.namespace": "Logs", "cloudwatch.metricsBufferTimeMillis": 1000, "cloudwatch.tagInstance": 1},
        **{"log.emitMetrics": "T", "log.statusReportingPeriodSeconds": 0, "statusSocket": "/run/a.sock"},
        maxOpenFiles=100,
        importCheckpointFile="/old",
    )
    assert settings == AgentSettings(
        flows=(flow(),),
        checkpoint_file="/data/checkpoints.kplpy",
        imported_checkpoints="/old",
        checkpoint_ttl_days=3,
        shutdown_timeout_ms=5,
        max_connections=6,
        connection_timeout_ms=700,
        socket_timeout_ms=800,
        kinesis_endpoint="https://localhost:4567",
        kinesis_region="eu-west-1",
        firehose_endpoint="http://[::1]:1",
        cloudwatch_endpoint="https://cw",
        sts_endpoint="https://sts",
        access_key_id="id",
        secret_access_key="secret",
        assume_role_arn="arn:aws:iam::123456789012:role/path/log-writer",
        assume_role_external_id="arn:aws:s3:::bucket",
        user_agent="shop/1",
        emit_metrics=False,
        metrics_namespace="Logs",
        metrics_upload_delay_ms=1000,
        tag_instance=True,
        log_emit_metrics=True,
        status_period_s=0,
        status_socket="/run/a.sock",
        max_open_files=100,
    )


def test_every_field_is_set_by_a_key() -> None:
    by_key = {key.field for key in (*GLOBAL_KEYS.values(), *FLOW_KEYS.values())}
    assert {each.name for each in fields(AgentSettings)} - by_key == {"flows", "warnings", "firehose_region"}
    assert {each.name for each in fields(FlowSettings)} - by_key == {"id", "destination"}


@pytest.mark.parametrize("name", [name for name, key in (*GLOBAL_KEYS.items(), *FLOW_KEYS.items()) if key.no_effect])
def test_keys_without_effect_are_accepted_and_say_why(name: str) -> None:
    warnings = flow_warnings(**{name: 1}) if name in FLOW_KEYS else agent_warnings(**{name: 1})
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{name}: has no effect here, because ")


@pytest.mark.parametrize("word", ["true", "T", "yes", "Y", "1", 1, True])
def test_words_for_true(word: Any) -> None:
    assert flow(aggregation=word).aggregation is True


@pytest.mark.parametrize("word", ["False", "f", "NO", "n", "0", 0, False])
def test_words_for_false(word: Any) -> None:
    assert agent(**{"cloudwatch.emitMetrics": word}).emit_metrics is False


@pytest.mark.parametrize(
    ("given", "expected"), [("500", 500), (7, 7), ("0x10", 16), ("#1f", 31), ("+9", 9), ("0XaF", 175)]
)
def test_numbers_may_be_texts(given: Any, expected: int) -> None:
    assert flow(maxBufferSizeRecords=given).max_buffer_size_records == expected


def test_an_octal_number_is_read_as_the_agent_reads_it() -> None:
    assert flow(maxBufferSizeRecords="0100").max_buffer_size_records == 64
    assert flow_warnings(maxBufferSizeRecords="0100") == [
        "maxBufferSizeRecords: is read as octal, as the Agent does: '0100' is 64"
    ]


@pytest.mark.parametrize(
    "given", [1.0, "1.0", "", " 1", "1 ", "ten", "٣", "09", True, [1], {}, 501, 0, -1, "1_0", 1 << 70, "9" * 5000]
)
def test_other_values_are_no_numbers(given: Any) -> None:
    assert flow_error(maxBufferSizeRecords=given).startswith(
        "maxBufferSizeRecords: must be a whole number from 1 to 500, got "
    )


@pytest.mark.parametrize("given", ["maybe", 2, "", [True], "true "])
def test_other_values_are_no_booleans(given: Any) -> None:
    assert flow_error(aggregation=given).startswith("aggregation: must be true or false, got ")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"maxBufferAgeMillis": 999}, "maxBufferAgeMillis: must be a whole number from 1,000 to 900,000, got 999"),
        (
            {"maxBufferSizeBytes": 5 * MIB + 1},
            "maxBufferSizeBytes: must be a whole number from 1 to 5,242,880, got 5242881",
        ),
        ({"initialPosition": "start"}, "initialPosition: must be END_OF_FILE or START_OF_FILE, got 'start'"),
        ({"partitionKeyOption": "random"}, "partitionKeyOption: must be RANDOM or DETERMINISTIC, got 'random'"),
        ({"compression": "lz4"}, "compression: must be one of none, gzip, zstd, got 'lz4'"),
        (
            {"kinesisStream": "no spaces"},
            f"kinesisStream: {STREAM_RULE}, got 'no spaces'",
        ),
        (
            {"kinesisStream": "arn:aws:firehose:a-b-1:123456789012:deliverystream/x"},
            f"kinesisStream: {STREAM_RULE}, got 'arn:aws:firehose:a-b-1:123456789012:deliverystream/x'",
        ),
        (
            {"kinesisStream": "${STREAM}-x"},
            "kinesisStream: holds ${STREAM}, which nothing replaced with a value, got '${STREAM}-x'",
        ),
        ({"kinesisStream": ["a"]}, "kinesisStream: must be a text, got ['a']"),
        (
            {"filePattern": "/var/log/"},
            "filePattern: must be a path with a file name, which may be a glob, got '/var/log/'",
        ),
        (
            {"filePattern": "C:\new.log"},
            "filePattern: must be a path with a file name, which may be a glob, got 'C:\\new.log'",
        ),
        (
            {"filePattern": "/l/${DAY}"},
            "filePattern: holds ${DAY}, which nothing replaced with a value, got '/l/${DAY}'",
        ),
        (
            {"partitionKey": "x" * 257},
            f"partitionKey: must be a partition key of 1 to 256 characters, got '{'x' * 199}",
        ),
        ({"partitionKeyField": ""}, "partitionKeyField: must be the name of a field, got ''"),
        (
            {"dataProcessingOptions": "SINGLELINE"},
            "dataProcessingOptions: must be a list of objects, [{…}], got 'SINGLELINE'",
        ),
        ({"dataProcessingOptions": [1]}, "dataProcessingOptions[0]: must be an object, got 1"),
    ],
)
def test_a_bad_value_of_a_flow_is_named_with_its_rule(keys: dict[str, Any], expected: str) -> None:
    assert flow_error(**keys) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"checkpointTimeToLiveDays": 0},
            "checkpointTimeToLiveDays: must be a whole number from 1 to 2,147,483,647, got 0",
        ),
        (
            {"kinesis.endpoint": "https://"},
            (
                "kinesis.endpoint: must be a host name or an http:// or https:// URL, with a port from 1 to 65535 "
                "where given, got 'https://'"
            ),
        ),
        (
            {"kinesis.endpoint": "ftp://user:pw@host"},
            (
                "kinesis.endpoint: must be a host name or an http:// or https:// URL, with a port from 1 to 65535 "
                "where given, got 'ftp://***@host'"
            ),
        ),
        (
            {"assumeRoleARN": "log-writer"},
            "assumeRoleARN: must be the ARN of a role (arn:aws:iam::123456789012:role/name), got 'log-writer'",
        ),
        (
            {"awsAccessKeyId": "a", "awsSecretAccessKey": ["hidden"]},
            "awsSecretAccessKey: must be a text, got a text that is not shown",
        ),
        (
            {"cloudwatch.namespace": "AWS/x"},
            "cloudwatch.namespace: must be 1 to 255 characters that do not start with AWS/, got 'AWS/x'",
        ),
        ({"flows": {"filePattern": "/a"}}, "flows: must be a list of objects, [{…}], got {'filePattern': '/a'}"),
        ({"flows": ["x"]}, "flows[0]: must be an object, got 'x'"),
        ({"flows": []}, "has no flow: flows must be a list of objects with filePattern and kinesisStream"),
        ({"flows": [{"kinesisStream": "a"}]}, "flows[0]: has no filePattern"),
        (
            {"flows": [{"filePattern": "/a", "kinesisstream": "a"}]},
            "flows[0]: has neither kinesisStream nor deliveryStream; unknown keys: kinesisstream",
        ),
        (
            {"flows": [{"filePattern": "/a/b", "deliveryStream": "a" * 65}]},
            (
                "flows[0].deliveryStream: must be a delivery stream's ARN or its name (1 to 64 of a-z A-Z 0-9 _ . -), "
                f"got '{'a' * 65}'"
            ),
        ),
        (
            {"flows": [{"filePattern": "/a/b", "deliveryStream": "a", "maxBufferSizeBytes": "5000000"}]},
            "flows[0].maxBufferSizeBytes: must be from 1 to 4,194,304 for a delivery stream, got 5000000",
        ),
    ],
)
def test_a_bad_value_of_the_agent_is_named_with_its_rule(keys: dict[str, Any], expected: str) -> None:
    assert agent_error(**keys) == expected


@pytest.mark.parametrize("config", [[], "x", None, {1: 2}])
def test_a_configuration_is_an_object(config: Any) -> None:
    (problem,) = errors(config)
    assert problem.startswith("must be an object with flows, got ")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"optionName": "NOSUCH"}, "dataProcessingOptions[1].optionName: is 'NOSUCH'; it must be one of "),
        ({"optionName": "CSVTOJSON"}, "dataProcessingOptions[1].customFieldNames: must be given"),
        (
            {"optionName": "CSVTOJSON", "customFieldNames": ["a"], "delimiter": "["},
            "dataProcessingOptions[1].delimiter: the regular expression '[' has at position 0",
        ),
    ],
)
def test_what_the_processors_refuse_is_an_error_at_their_key(option: dict[str, Any], expected: str) -> None:
    assert flow_error(dataProcessingOptions=[{"optionName": "ADDBRACKETS"}, option]).startswith(expected)


def test_all_processors_are_checked() -> None:
    bad = {"optionName": "CSVTOJSON"}
    assert len(errors({"flows": [{**FLOW, "dataProcessingOptions": [bad, bad]}]})) == 2


def test_other_groups_than_names_are_warned_about_with_both_counts() -> None:
    option = {"optionName": "LOGTOJSON", "logFormat": "SYSLOG", "matchPattern": "(a)", "customFieldNames": ["a", "b"]}
    assert flow_warnings(dataProcessingOptions=[option]) == [
        "dataProcessingOptions[0].matchPattern: has 1 groups and customFieldNames 2 names: every record is dropped"
    ]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (
            {"optionName": "SINGLELINE", "parseOptions": ["NOTRIM", "NO_TRIM"]},
            "parseOptions: holds 'NOTRIM', which has no effect: it may hold NO_TRIM and ESCAPE_NEW_LINE",
        ),
        (
            {"optionName": "ADDMETADATA", "metadata": {}, "timestamp": "yes"},
            "timestamp: is 'yes', which counts as false, as in the Agent: only true is true",
        ),
        ({"optionName": "ADDMETADATA"}, "metadata: is missing, and null in every record"),
        (
            {"optionName": "CSVTOJSON", "customFieldNames": []},
            "customFieldNames: is empty: every record becomes an object without fields",
        ),
    ],
)
def test_what_a_processor_takes_silently_is_warned_about(option: dict[str, Any], expected: str) -> None:
    assert flow_warnings(dataProcessingOptions=[option]) == [f"dataProcessingOptions[0].{expected}"]


def test_a_key_of_another_processor_is_warned_about() -> None:
    option = {"optionName": "ADDMETADATA", "metadata": {}, "delimiter": ","}
    assert flow_warnings(dataProcessingOptions=[option]) == [
        "dataProcessingOptions[0].delimiter: has no effect for ADDMETADATA, which has jsonFormat, metadata, timestamp"
    ]


@pytest.mark.parametrize("key", ["multiLineStartPattern", "fileFooterPattern", "partitionKeyPattern"])
def test_a_bad_regular_expression_is_named_with_its_position(key: str) -> None:
    assert flow_error(**{key: "ab(c"}).startswith(f"{key}: the regular expression 'ab(c' has at position ")


@pytest.mark.parametrize("pattern", ["/l/[a", "/l/{a", "/l/{a{b}}"])
def test_a_bad_file_pattern_is_an_error(pattern: str) -> None:
    error = flow_error(filePattern=pattern)
    assert error.startswith("filePattern: ")
    assert error.endswith(f", got {pattern!r}")


@pytest.mark.parametrize("name", ["filePattern", "partitionKey", "partitionKeyField", "truncatedRecordTerminator"])
def test_half_a_character_is_refused(name: str) -> None:
    """JSON can hold it, but no file name, key or record can."""
    assert flow_error(**{name: "/a\ud800"}).startswith(f"{name}: must be ")


def test_a_file_name_of_other_bytes_than_utf_8_is_kept() -> None:
    assert flow(filePattern=os.fsdecode(b"/var/log/\xff*")).file_pattern == os.fsdecode(b"/var/log/\xff*")


@pytest.mark.parametrize("value", [{1: 2}, {None: "a"}])
def test_keys_of_a_dict_are_texts(value: Any) -> None:
    assert errors({"flows": [value]}) == (f"flows[0]: must be an object, got {value}",)
    assert flow_error(dataProcessingOptions=[value]) == f"dataProcessingOptions[0]: must be an object, got {value}"


def test_a_relative_pattern_needs_a_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert flow_error(filePattern="logs/a").startswith(
        "filePattern: is relative to the working directory, which cannot"
    )


def test_an_arn_names_a_stream_of_either_service() -> None:
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
    assert flow(kinesisStream=arn).stream == arn
    arn = "arn:aws:firehose:eu-west-1:123456789012:deliverystream/logs"
    assert firehose(deliveryStream=arn).id == f"fh:{arn}:/a/b"


def test_the_delivery_stream_wins() -> None:
    settings = from_mapping({"flows": [{**FLOW, "deliveryStream": "logs"}]})
    assert settings.flows[0].id == "fh:logs:/var/log/app.log"
    assert settings.warnings == (
        "the configuration: flows[0].kinesisStream: has no effect, because deliveryStream beside it wins",
    )
    assert flow(deliveryStream="").destination == "kinesis"


@pytest.mark.parametrize("name", ["kinesis.endpoint", "awsAccessKeyId", "userAgent", "assumeRoleARN"])
@pytest.mark.parametrize("value", ["", None])
def test_an_empty_value_is_unset(name: str, value: Any) -> None:
    assert agent(**{name: value}) == agent()


def test_null_is_unset_in_a_flow_too() -> None:
    names = FLOW_KEYS.keys() - {"filePattern", "kinesisStream"}
    assert flow(**dict.fromkeys(names)) == flow()
    assert flow(multiLineStartPattern="", fileFooterPattern="") == flow()


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("kinesis.eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://kinesis.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("kinesis-fips.us-gov-west-1.amazonaws.com:443", "us-gov-west-1"),
        ("https://vpce-0a1b-2c3d.kinesis.ap-southeast-2.vpce.amazonaws.com/", "ap-southeast-2"),
        ("http://127.0.0.1:4567", None),
        ("https://kinesis.eu-west-1.amazonaws.com.example.net", None),
    ],
)
def test_the_region_is_known_from_the_endpoint(endpoint: str, region: str | None) -> None:
    assert agent(**{"kinesis.endpoint": endpoint}).kinesis_region == region
    assert agent(**{"kinesis.endpoint": endpoint, "kinesis.region": "eu-north-1"}).kinesis_region == "eu-north-1"
    assert agent(**{"firehose.endpoint": endpoint.replace("kinesis", "firehose")}).firehose_region == region


def test_the_agents_checkpoint_file_is_imported_and_not_written() -> None:
    settings = agent(checkpointFile="/var/run/aws-kinesis-agent/checkpoints")
    assert settings.checkpoint_file == "/var/run/aws-kinesis-agent/checkpoints.kplpy"
    assert settings.imported_checkpoints == "/var/run/aws-kinesis-agent/checkpoints"
    assert agent(importCheckpointFile="").imported_checkpoints is None


def test_half_of_the_credentials_is_not_used() -> None:
    assert agent_warnings(awsAccessKeyId="a") == ["awsAccessKeyId: has no effect without awsSecretAccessKey"]
    assert agent(awsSecretAccessKey="s").secret_access_key is None
    assert agent_warnings(assumeRoleExternalId="id") == ["assumeRoleExternalId: has no effect without assumeRoleARN"]
    assert "secret" not in repr(agent(awsAccessKeyId="a", awsSecretAccessKey="secret"))


@pytest.mark.parametrize(("given", "used"), [(1000, 256), ("0", 1)])
def test_a_number_outside_kplpys_own_bounds_is_brought_inside(given: Any, used: int) -> None:
    assert agent(maxConnections=given).max_connections == used
    assert agent_warnings(maxConnections=given) == [
        f"maxConnections: is {used} here, because it must be a whole number from 1 to 256, got {int(given):,}"
    ]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"initialPostion": "x"}, "initialPostion: is unknown, and has no effect; did you mean initialPosition?"),
        (
            {"maxbufferagemillis": 1},
            "maxbufferagemillis: is unknown, and has no effect; did you mean maxBufferAgeMillis?",
        ),
        ({"log.level": "DEBUG"}, "log.level: is unknown, and has no effect"),
        (
            {"checkpointFile": "/x"},
            (
                "checkpointFile: has no effect here, because it is a key of the whole agent: move it to the top level "
                "of the file"
            ),
        ),
        (
            {"optionName": "CSVTOJSON", "delimiter": ","},
            (
                "optionName: has no effect here (also delimiter), because it is a key of a processor: move it into "
                'dataProcessingOptions, as [{"optionName": …}]'
            ),
        ),
        (
            {"dataProcessingOptions": [{"optionName": "ADDBRACKETS", "initialPostion": "x"}]},
            (
                "dataProcessingOptions[0].initialPostion: is unknown, and has no effect; did you mean initialPosition? "
                "That is a key of a flow: move it into each flow that it is meant for"
            ),
        ),
        (
            {"dataProcessingOptions": {"optionName": "ADDBRACKETS"}},
            (
                "dataProcessingOptions: is an object in place of a list, and used as a list of one; the Agent would "
                "ignore it"
            ),
        ),
        (
            {"multiLineStartPattern": "\bA"},
            (
                r'multiLineStartPattern: holds a control character: "\b" in JSON is a backspace; write "\\b" for a '
                "word boundary"
            ),
        ),
        ({"aggregatedRecordSizeBytes": 5}, "aggregatedRecordSizeBytes: has no effect for a Kinesis stream"),
        (
            {"filePattern": "/var/log/a.GZ"},
            "filePattern: matches no file that is read: .gz, .bz2, .zip files are left out, got '/var/log/a.GZ'",
        ),
        (
            {"filePattern": "~/app.log"},
            "filePattern: begins with ~, which is not replaced with a home directory, got '~/app.log'",
        ),
    ],
)
def test_suspicious_keys_of_a_flow_are_warned_about(keys: dict[str, Any], expected: str) -> None:
    assert flow_warnings(**keys) == [expected]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"initialPosition": "START_OF_FILE"},
            (
                "initialPosition: has no effect here, because it is a key of a flow: move it into each flow that it is "
                "meant for"
            ),
        ),
        (
            {"cloudwatch": {"emitMetrics": False}},
            'cloudwatch: is unknown, and has no effect; write "cloudwatch.emitMetrics": … as one key, with the dot',
        ),
        (
            {"cloudwatch.emitMetric": 1},
            "cloudwatch.emitMetric: is unknown, and has no effect; did you mean cloudwatch.emitMetrics?",
        ),
        ({"whatever": 1}, "whatever: is unknown, and has no effect"),
    ],
)
def test_suspicious_keys_of_the_agent_are_warned_about(keys: dict[str, Any], expected: str) -> None:
    assert agent_warnings(**keys) == [expected]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"partitionKeyOption": "DETERMINISTIC"}, ["partitionKeyOption: has no effect for a delivery stream"]),
        ({"partitionKeyOption": "RANDOM", "aggregation": False}, []),
        ({"aggregation": True}, ["aggregation: has no effect for a delivery stream"]),
        (
            {"aggregatedRecordSizeBytes": 9, "multiLineStartPattern": "^A"},
            ["aggregatedRecordSizeBytes: has no effect with multiLineStartPattern: only single lines are joined"],
        ),
        ({"joinBeforeProcessing": True}, ["joinBeforeProcessing: has no effect without aggregatedRecordSizeBytes"]),
    ],
)
def test_keys_that_mean_nothing_to_a_delivery_stream_are_warned_about(
    keys: dict[str, Any], expected: list[str]
) -> None:
    found = from_mapping({"flows": [{"filePattern": "/a/b", "deliveryStream": "logs", **keys}]}).warnings
    assert [each.removeprefix("the configuration: flows[0].") for each in found] == expected


@pytest.mark.skipif(os.name == "nt", reason="paths of other systems than Windows")
def test_patterns_are_completed_and_ids_keep_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert flow(filePattern="./logs/*.log").file_pattern == f"{tmp_path}/logs/*.log"
    assert flow(filePattern="app.log").file_pattern == f"{tmp_path}/app.log"
    settings = flow(filePattern="/var//log/*.log")
    assert (settings.id, settings.file_pattern) == ("kinesis:orders:/var/log/*.log", "/var/log/*.log")


@pytest.mark.skipif(os.name == "nt", reason="paths of other systems than Windows")
@pytest.mark.parametrize("pattern", ["d:/WEB1_*.log*", "d:\\logs\\*.log", "\\\\server\\share\\a.log"])
def test_a_path_of_windows_is_refused_elsewhere(pattern: str) -> None:
    expected = f"filePattern: must be a path of this system, which is not Windows, got {pattern!r}"
    assert flow_error(filePattern=pattern) == expected


def test_the_same_flow_twice_is_an_error() -> None:
    assert errors({"flows": [FLOW, {**FLOW, "initialPosition": "START_OF_FILE"}]}) == (
        "flows[1]: is the same flow as flows[0] of the configuration: kinesis:orders:/var/log/app.log",
    )


def test_flows_to_one_stream_share_its_options() -> None:
    other = {**FLOW, "filePattern": "/b/c", "aggregation": True, "ordered": True}
    assert errors({"flows": [FLOW, other]}) == (
        "flows[1].aggregation: must be the same in all flows to orders, and differs from flows[0] of the configuration",
        "flows[1].ordered: must be the same in all flows to orders, and differs from flows[0] of the configuration",
    )
    assert len(from_mapping({"flows": [FLOW, {**other, "kinesisStream": "other"}]}).flows) == 2


def test_flows_to_one_delivery_stream_that_join_differently_are_warned_about() -> None:
    def warnings(first: int, second: int) -> tuple[str, ...]:
        one = {"filePattern": "/a", "deliveryStream": "logs", "aggregatedRecordSizeBytes": first}
        other = {**one, "filePattern": "/b", "aggregatedRecordSizeBytes": second}
        return from_mapping({"flows": [one, other]}).warnings

    start = (
        "the configuration: flows[1].aggregatedRecordSizeBytes: differs from flows[0] of the configuration, so lines "
    )
    assert warnings(9000, 5000) == (f"{start}to logs are joined up to 5,000 bytes: the smaller size counts",)
    assert warnings(9000, 0) == (f"{start}to logs are not joined: the smaller size counts",)
    assert warnings(9000, 9000) == ()


def test_patterns_that_overlap_are_warned_about() -> None:
    same = {**FLOW, "filePattern": "/var/log/*.log"}
    assert from_mapping({"flows": [FLOW, same]}).warnings == (
        (
            "the configuration: flows[1].filePattern: can match the same file as /var/log/app.log of flows[0] of the "
            "configuration: its lines go to orders twice"
        ),
    )
    other = {**same, "kinesisStream": "other"}
    assert from_mapping({"flows": [FLOW, other]}).warnings[0].endswith("its lines go to both destinations")
    assert from_mapping({"flows": [FLOW, {**FLOW, "kinesisStream": "other"}]}).warnings == ()


def test_only_equal_names_in_the_next_directory_look_like_rotated_files() -> None:
    def warnings(first: str, second: str, stream: str = "orders") -> int:
        flows = [{**FLOW, "filePattern": first}, {**FLOW, "filePattern": second, "kinesisStream": stream}]
        return len(from_mapping({"flows": flows}).warnings)

    assert warnings("/var/log/app.log*", "/var/log/old/app.log*") == 1
    assert warnings("/var/log/old/app.log*", "/var/log/app.log*") == 1
    assert warnings("/var/log/app.log*", "/var/log/old/app.log*", "other") == 0
    assert warnings("/var/log/app.log*", "/var/log/a/b/app.log*") == 0
    assert warnings("/var/log/*.log", "/var/log/nginx/*.log") == 0


def test_a_name_and_an_arn_with_this_name_may_be_one_stream() -> None:
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
    other = {**FLOW, "filePattern": "/other", "kinesisStream": arn}
    (error,) = errors({"flows": [FLOW, {**other, "ordered": True}]})
    assert error.startswith(f"flows[1].ordered: must be the same in all flows to {arn}")
    assert from_mapping({"flows": [FLOW, {**other, "maxBufferAgeMillis": 1000}]}).warnings == ()


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text('{"maxOpenFiles": 1,\n "flows": [{"filePattern": "/a/b",\n "maxBufferAgeMillis": 1}], "x": 1}')
    with pytest.raises(ConfigError) as caught:
        load(path)
    error = caught.value
    assert isinstance(error, AgentConfigError)
    assert str(error) == (
        "the configuration has 3 errors:\n"
        f"  {path}, line 1: maxOpenFiles: must be a whole number from 8 to 1,000,000, got 1\n"
        f"  {path}, line 2: flows[0]: has neither kinesisStream nor deliveryStream\n"
        f"  {path}, line 3: flows[0].maxBufferAgeMillis: must be a whole number from 1,000 to 900,000, got 1"
    )
    assert error.warnings == (f"{path}, line 3: x: is unknown, and has no effect",)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.problems, copy.warnings) == (str(error), error.problems, error.warnings)


def test_a_key_given_twice_is_warned_about(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text('{"flows": [{"filePattern": "/a/b",\n"kinesisStream": "a",\n"kinesisStream": "b"}]}')
    settings = load(path)
    assert settings.flows[0].stream == "b"
    assert settings.warnings == (f"{path}, line 3: flows[0].kinesisStream: is there twice: the last one counts",)


@pytest.mark.parametrize("content", [b'\xef\xbb\xbf{"flows": []}', b"\xff\xfe{\x00", b"{"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "agent.json"
    path.write_bytes(content)
    with pytest.raises(AgentConfigError, match=r"agent\.json"):
        load(path)
    with pytest.raises(AgentConfigError, match=r"cannot read the configuration .*missing"):
        load(tmp_path / "missing")
    with pytest.raises(AgentConfigError, match="cannot read the configuration"):
        load(tmp_path)


def test_errors_show_no_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({"flows": [FLOW], "a\nb\x1b[2J": 1}))
    assert load(path).warnings == (f"{path}, line 1: a\\nb\\x1b[2J: is unknown, and has no effect",)


class TestAgentD:
    """The directory agent.d adds flows."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        (tmp_path / "agent.d").mkdir()
        path = tmp_path / "agent.json"
        path.write_text(json.dumps({"flows": [FLOW]}))
        return path

    def write(self, path: Path, name: str, content: Any) -> Path:
        file = path.parent / "agent.d" / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    def test_its_files_add_their_flows_in_the_order_of_names(self, path: Path) -> None:
        for name in ("b.json", "a.conf"):
            self.write(path, name, {"flows": [{**FLOW, "filePattern": f"/{name}/x"}]})
        self.write(path, ".hidden.swp", "no configuration")
        settings = load(path)
        assert [each.file_pattern for each in settings.flows] == ["/var/log/app.log", "/a.conf/x", "/b.json/x"]
        assert settings.warnings == ()

    def test_another_directory_can_be_given(self, path: Path, tmp_path: Path) -> None:
        self.write(path, "a", {"flows": [{**FLOW, "filePattern": "/a/x"}]})
        other = tmp_path / "other"
        assert len(load(path, other).flows) == 1
        assert len(load(path, path.parent / "agent.d").flows) == 2

    def test_agent_json_needs_no_flow_of_its_own(self, path: Path) -> None:
        path.write_text("{}")
        self.write(path, "a", {"flows": [FLOW]})
        assert load(path).flows == (flow(),)

    def test_only_flows_count(self, path: Path) -> None:
        file = self.write(path, "a", {"maxConnections": 1, "flows": [{**FLOW, "filePattern": "/a/x", "typo": 1}]})
        settings = load(path)
        assert settings.max_connections == AgentSettings(()).max_connections
        assert settings.warnings == (
            f"{file}: only flows are read from agent.d, so these keys have no effect: maxConnections",
            f"{file}, line 1: flows[0].typo: is unknown, and has no effect",
        )

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("{", ", line 1, column 1: not JSON: this { is not closed before the end of the file"),
            ([], ": must be an object with flows, got []"),
            ({}, ": has no flows"),
            ({"flows": [FLOW, {}]}, ", line 1: flows[1]: has neither kinesisStream nor deliveryStream"),
        ],
    )
    def test_a_bad_file_is_left_out_with_a_warning(self, path: Path, content: Any, expected: str) -> None:
        file = self.write(path, "a", content)
        settings = load(path)
        assert len(settings.flows) == 1
        assert settings.warnings[0] == f"{file}{expected}; the whole file is left out"

    def test_a_flow_that_is_in_both_is_an_error(self, path: Path) -> None:
        file = self.write(path, "a", {"flows": [FLOW]})
        with pytest.raises(AgentConfigError) as caught:
            load(path)
        assert str(caught.value) == (
            f"{file}, line 1: flows[0]: is the same flow as flows[0] of {path}: kinesis:orders:/var/log/app.log"
        )

    def test_patterns_that_overlap_across_files_are_warned_about(self, path: Path) -> None:
        file = self.write(path, "a", {"flows": [{**FLOW, "filePattern": "/var/log/*"}]})
        (warning,) = load(path).warnings
        assert warning.startswith(
            f"{file}, line 1: flows[0].filePattern: can match the same file as /var/log/app.log of flows[0] of {path}: "
        )
