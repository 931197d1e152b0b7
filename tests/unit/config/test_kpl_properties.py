"""KPL properties files are read as the KPL reads them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from kplpy import Config, ConfigError

# Every key of the KPL with its default, in the form of the KPL's sample file.
SAMPLE = """\
# Configuration of the Amazon Kinesis Producer Library.
# Every key is optional.

# Pack several user records into one.
#
# Default: true
AggregationEnabled = true

# Default: 4294967295
# Minimum: 1
# Maximum (inclusive): 9223372036854775807
AggregationMaxCount = 4294967295

AggregationMaxSize = 51200

# The endpoint of CloudWatch, and its port. Empty: that of the region.
CloudwatchEndpoint =
CloudwatchPort = 443

CollectionMaxCount = 500
CollectionMaxSize = 5242880
ConnectTimeout = 6000
CredentialsRefreshDelay = 5000
DaemonHealthCheckTimeoutMs = 30000
DescribeStreamSummaryIntervalMs = 300000
EnableCoreDumps = false
EnableDaemonHealthCheck = false
EnableOldestFutureTracker = true
FailIfThrottled = false
GlueSchemaRegistryPropertiesFilePath =
KinesisEndpoint =
KinesisPort = 443
LogLevel = info
MaxConnections = 24
MaxUserRecordSize = 1048576
MetricsGranularity = shard
MetricsLevel = detailed
MetricsNamespace = KinesisProducerLibrary
MetricsUploadDelay = 60000
MinConnections = 1
NativeExecutable =
ProxyHost =
ProxyPort = 443
ProxyUserName =
ProxyPassword =
RateLimit = 150
RecordDistributionStrategyDefault = UNSET
RecordMaxBufferedTime = 100
RecordTtl = 30000
Region =
RequestTimeout = 6000
ReturnUserRecordOnFailure = false
StsEndpoint =
StsPort = 443
TempDirectory =
ThreadingModel = PER_REQUEST
ThreadPoolSize = 0
UserRecordTimeoutInMillis = 0
VerifyCertificate = true
"""

# The KPL's defaults as fields of Config, where those of Config differ.
SAMPLE_CONFIG = Config(verify=True, rate_limit=150, metrics_granularity="shard", metrics_level="detailed")

WITHOUT_MEANING = """CredentialsRefreshDelay DaemonHealthCheckTimeoutMs DescribeStreamSummaryIntervalMs
    EnableCoreDumps EnableDaemonHealthCheck EnableOldestFutureTracker GlueSchemaRegistryPropertiesFilePath LogLevel
    MinConnections NativeExecutable ReturnUserRecordOnFailure StsEndpoint StsPort TempDirectory ThreadPoolSize
    ThreadingModel""".split()


def read(tmp_path: Path, text: str | bytes, **overrides: Any) -> Config:
    path = tmp_path / "kpl.properties"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Config.from_properties(path, **overrides)


def refusal(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    return str(raised.value).replace(str(tmp_path / "kpl.properties"), "FILE")


# --- a whole file ---


def test_the_kpls_own_sample(tmp_path: Path) -> None:
    assert read(tmp_path, SAMPLE) == SAMPLE_CONFIG


def test_a_path_as_text_or_as_path(tmp_path: Path) -> None:
    path = tmp_path / "kpl.properties"
    path.write_text("RateLimit = 7")
    assert Config.from_properties(path) == Config.from_properties(str(path)) == Config(rate_limit=7)


# (lines, the field that they set, its value)
SETTINGS: list[tuple[str, str, Any]] = [
    ("AggregationEnabled = false", "aggregation_enabled", False),
    ("AggregationEnabled = FALSE", "aggregation_enabled", False),
    ("AggregationMaxCount = 17", "aggregation_max_count", 17),
    ("AggregationMaxSize = 64", "aggregation_max_size", 64),
    ("CollectionMaxCount = 3", "collection_max_count", 3),
    ("CollectionMaxSize = 10485760", "collection_max_size", 10485760),
    ("ConnectTimeout = 100", "connect_timeout_ms", 100),
    ("FailIfThrottled = true", "fail_if_throttled", True),
    ("MaxConnections = 256", "max_connections", 256),
    ("MaxUserRecordSize = 10485760", "max_user_record_size", 10485760),
    ("MetricsGranularity = global", "metrics_granularity", "global"),
    ("MetricsGranularity = Stream", "metrics_granularity", "stream"),
    ("MetricsLevel = NONE", "metrics_level", "none"),
    ("MetricsNamespace = Mine/All", "metrics_namespace", "Mine/All"),
    ("MetricsUploadDelay = 1", "metrics_upload_delay_ms", 1),
    ("ProxyHost = proxy.local", "proxy_host", "proxy.local"),
    ("ProxyPort = 3128", "proxy_port", 3128),
    ("ProxyUserName = me", "proxy_user_name", "me"),
    ("ProxyPassword = s e=c:r#t", "proxy_password", "s e=c:r#t"),
    ("RateLimit = 33", "rate_limit", 33),
    ("RateLimit = +33", "rate_limit", 33),
    ("RecordDistributionStrategyDefault = UNSET", "assume_distribution_strategy", None),
    ("RecordDistributionStrategyDefault = AUTO", "assume_distribution_strategy", "AUTO"),
    (
        "RecordDistributionStrategyDefault = USER_PARTITION_KEY",
        "assume_distribution_strategy",
        "USER_PARTITION_KEY",
    ),
    ("RecordMaxBufferedTime = 0", "record_max_buffered_time_ms", 0),
    ("RecordTtl = 100", "record_ttl_ms", 100),
    ("Region = eu-west-1", "region_name", "eu-west-1"),
    ("RequestTimeout = 600000", "request_timeout_ms", 600000),
    ("UserRecordTimeout = 5", "user_record_timeout_ms", 5),
    ("UserRecordTimeoutInMillis = 6", "user_record_timeout_ms", 6),
    ("VerifyCertificate = true", "verify", True),
    ("VerifyCertificate = false", "verify", False),
    ("CaCertPath = /etc/ca.pem", "verify", "/etc/ca.pem"),
    ("CaCertFile = /etc/ca.pem", "verify", "/etc/ca.pem"),
    ("CaCertPath = /etc/certs\nCaCertFile = /etc/ca.pem", "verify", "/etc/ca.pem"),
    ("UserRecordTimeout = 5\nUserRecordTimeoutInMillis = 6\nUserRecordTimeout = 7", "user_record_timeout_ms", 7),
    ("VerifyCertificate = true\nCaCertPath = /etc/ca.pem", "verify", "/etc/ca.pem"),
    ("CaCertPath = /etc/ca.pem\nVerifyCertificate = true", "verify", "/etc/ca.pem"),
    ("CaCertPath = /etc/ca.pem\nVerifyCertificate = false", "verify", False),
    ("KinesisEndpoint = kinesis.local", "endpoint_url", "https://kinesis.local"),
    ("KinesisEndpoint = kinesis.local\nKinesisPort = 4567", "endpoint_url", "https://kinesis.local:4567"),
    ("KinesisPort = 4567\nKinesisEndpoint = kinesis.local", "endpoint_url", "https://kinesis.local:4567"),
    ("CustomEndpoint = kinesis.local\nPort = 4567", "endpoint_url", "https://kinesis.local:4567"),
    ("KinesisPort = 443\nKinesisEndpoint =", "endpoint_url", None),
    ("CloudwatchEndpoint = cw.local", "cloudwatch_endpoint_url", "https://cw.local"),
    ("CloudwatchEndpoint = cw.local\nCloudwatchPort = 99", "cloudwatch_endpoint_url", "https://cw.local:99"),
]


@pytest.mark.parametrize(("line", "field", "value"), SETTINGS)
def test_a_key_sets_its_field_and_no_other(tmp_path: Path, line: str, field: str, value: Any) -> None:
    config = read(tmp_path, line)
    assert config == Config(**{field: value})
    assert type(getattr(config, field)) is type(value)


def test_a_switched_off_verification_stays_off(tmp_path: Path) -> None:
    assert read(tmp_path, "VerifyCertificate = false\nCaCertPath = /etc/ca.pem").verify is False


def test_every_key_of_the_sample_with_a_meaning_has_a_case() -> None:
    keys = {line.split("=")[0].strip() for line in SAMPLE.splitlines() if line and not line.startswith("#")}
    tried = {line.split("=")[0].strip() for lines, _, _ in SETTINGS for line in lines.splitlines()}
    assert keys - tried == set(WITHOUT_MEANING)


# --- the syntax of java.util.Properties ---


@pytest.mark.parametrize(
    "text",
    [
        "RateLimit=7",
        "RateLimit = 7",
        "RateLimit:7",
        "RateLimit : 7",
        "RateLimit 7",
        "RateLimit\t7",
        "   RateLimit   =   7   ",
        "\tRateLimit=7\r\nMaxConnections=24\r\n",
        "RateLimit=7\rMaxConnections=24",
        "# RateLimit=9\n! RateLimit=8\nRateLimit=7\n   # RateLimit=6",
        "#comment that goes on? no \\\nRateLimit=7",
        "RateLimit=9\nRateLimit=7",
        "RateLimit=\\\n   7",
        "Rate\\\n   Limit=\\\n\\\n7",
        "RateLimit=7\\",
        "Rate\\u004cimit=\\u0037",
        "\\RateLimit=7",
        "\n\n   \nRateLimit=7\n\n",
    ],
)
def test_one_setting_in_many_spellings(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Config(rate_limit=7)


@pytest.mark.parametrize(
    ("text", "namespace"),
    [
        ("MetricsNamespace = a = b : c", "a = b : c"),
        ("MetricsNamespace : = x", "= x"),
        ("MetricsNamespace = two words # and no comment", "two words # and no comment"),
        ("MetricsNamespace = long, \\\n    longer", "long, longer"),
        ("MetricsNamespace = back\\\\slash", "back\\slash"),
        ("MetricsNamespace = ends with one \\\\\nRateLimit = 100", "ends with one \\"),
        ("MetricsNamespace = caf\\u00e9", "café"),
        ("MetricsNamespace = café 🙂", "café 🙂"),
    ],
)
def test_values_with_separators_in_them(tmp_path: Path, text: str, namespace: str) -> None:
    assert read(tmp_path, text) == Config(metrics_namespace=namespace)


def test_a_byte_order_mark(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfRateLimit=7") == Config(rate_limit=7)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "Region =\nRateLimit=\nVerifyCertificate="])
def test_an_empty_value_sets_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Config()


def test_overrides_win(tmp_path: Path) -> None:
    config = read(tmp_path, "RateLimit = 7\nRegion = eu-west-1", rate_limit=8, max_connections=2)
    assert config == Config(rate_limit=8, region_name="eu-west-1", max_connections=2)
    with pytest.raises(ConfigError, match="there is no Config field 'rate_limits'; did you mean rate_limit"):
        read(tmp_path, "RateLimit = 7", rate_limits=8)


# --- errors ---


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("AggregationMaxsize", "AggregationMaxSize"),
        ("RecordTTL", "RecordTtl"),
        ("RecordMaxBufferedTimeMs", "RecordMaxBufferedTime"),
        ("Endpoint", "KinesisEndpoint"),
        ("LogLevels", "LogLevel"),
        ("aggregation_max_size", "AggregationMaxSize"),
    ],
)
def test_the_error_for_an_unknown_key_names_similar_ones(tmp_path: Path, key: str, near: str) -> None:
    said = refusal(tmp_path, f"# first\nRateLimit = 7\n{key} = 1\n")
    assert said.startswith(f"FILE, line 3: unknown key {key!r}; did you mean "), said
    assert near in said.removesuffix("?").partition("did you mean ")[2].split(" or ")


def test_without_similar_keys_the_error_names_all(tmp_path: Path) -> None:
    said = refusal(tmp_path, "zzz = 1")
    assert said.startswith("FILE, line 1: unknown key 'zzz'; known keys: AggregationEnabled, ")
    assert "VerifyCertificate" in said


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("AggregationEnabled = yes", "AggregationEnabled must be true or false, got 'yes'"),
        ("VerifyCertificate = 1", "VerifyCertificate must be true or false, got '1'"),
        (
            "RecordDistributionStrategyDefault = auto",
            "RecordDistributionStrategyDefault must be one of UNSET, AUTO, USER_PARTITION_KEY, got 'auto'",
        ),
        (
            "DescribeStreamSummaryIntervalMs = 0",
            "DescribeStreamSummaryIntervalMs must be at least 1, got '0'",
        ),
        ("MinConnections = 17", "MinConnections must be from 1 to 16, got '17'"),
        ("ThreadingModel = pooled", "ThreadingModel must be one of PER_REQUEST, POOLED, got 'pooled'"),
        ("EnableDaemonHealthCheck = 0", "EnableDaemonHealthCheck must be true or false, got '0'"),
        ("RateLimit = fast", "RateLimit must be a whole number, got 'fast'"),
        ("RateLimit = 1.5", "RateLimit must be a whole number, got '1.5'"),
        ("RateLimit = 1_000", "RateLimit must be a whole number, got '1_000'"),
        ("RateLimit = \u0661", "RateLimit must be a whole number, got '\u0661'"),
        ("RecordTtl = 30 000", "RecordTtl must be a whole number, got '30 000'"),
        ("RateLimit = 7 # percent", "RateLimit must be a whole number, got '7 # percent'"),
    ],
)
def test_a_value_of_the_wrong_kind(tmp_path: Path, entry: str, rule: str) -> None:
    assert refusal(tmp_path, f"# first\n\nMaxConnections \\\n = \\\n 24\n{entry}\n") == f"FILE, line 6: {rule}"


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("AggregationMaxSize = 1", "from 64 to 10485760"),
        ("RecordTtl = 99", "at least 100"),
        ("MetricsLevel = everything", "'none', 'summary', 'detailed'"),
        ("MetricsNamespace = AWS/Kinesis", "do not start with 'AWS/'"),
        ("ProxyPort = 65536", "from 1 to 65535"),
    ],
)
def test_a_value_out_of_bounds(tmp_path: Path, entry: str, rule: str) -> None:
    said = refusal(tmp_path, f"# first\nMaxConnections = 24\n{entry}\n")
    assert rule in said
    assert entry.partition("= ")[2] in said


@pytest.mark.parametrize("entry", ["AggregationMaxSize = 1", "RecordTtl = 99", "MetricsLevel = everything"])
def test_the_error_for_a_value_out_of_bounds_names_line_and_key(tmp_path: Path, entry: str) -> None:
    said = refusal(tmp_path, f"# first\nMaxConnections = 24\n{entry}\n")
    assert said.startswith("FILE, line 3: ")
    assert entry.partition(" =")[0] in said


@pytest.mark.parametrize("port", ["abc", "0", "70000"])
@pytest.mark.parametrize("keys", [("KinesisEndpoint", "KinesisPort"), ("CloudwatchEndpoint", "CloudwatchPort")])
def test_a_bad_port(tmp_path: Path, keys: tuple[str, str], port: str) -> None:
    host, name = keys
    rule = "must be a whole number" if port == "abc" else "must be from 1 to 65535"
    assert refusal(tmp_path, f"{host} = host\n{name} = {port}\n") == f"FILE, line 2: {name} {rule}, got {port!r}"
    assert refusal(tmp_path, f"{name} = {port}\n") == f"FILE, line 1: {name} {rule}, got {port!r}"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        Config.from_properties(tmp_path / "none.properties")
    assert str(raised.value).startswith(f"cannot read the properties file {str(tmp_path / 'none.properties')!r}: ")
    assert "No such file" in str(raised.value)
    with pytest.raises(ConfigError, match="cannot read the properties file"):
        Config.from_properties(tmp_path)
    assert refusal(tmp_path, b"MetricsNamespace = caf\xe9").startswith(
        "cannot read the properties file 'FILE': 'utf-8'"
    )


# --- keys without a meaning in kplpy ---


def test_keys_without_meaning_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "kplpy"):
        read(tmp_path, SAMPLE)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    names = record.getMessage().partition("ignored: ")[2].split(", ")
    assert names == sorted(WITHOUT_MEANING)
    assert str(tmp_path / "kpl.properties") in record.getMessage()


def test_a_file_without_such_keys_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "kplpy"):
        read(tmp_path, "RateLimit = 7")
    assert not caplog.records
