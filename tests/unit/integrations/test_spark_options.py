"""The options of Spark's sink, and the module by which Spark finds it. No Spark is needed."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kplpy import ConfigError
from kplpy.integrations.spark_options import SinkOptions
from tests.stub_aws import KinesisBelowBotocore, fake_sts

ROOT = Path(__file__).parents[3]
ROLE = "arn:aws:iam::123456789012:role/producer"


def config(**options: str) -> Any:
    return SinkOptions.parse(options).producer.config()


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("kinesis.region", "eu-west-1", "region_name", "eu-west-1"),
        ("region", "eu-west-1", "region_name", "eu-west-1"),
        ("regionname", "eu-west-1", "region_name", "eu-west-1"),
        ("kinesis.endpointurl", "http://localhost:1", "endpoint_url", "http://localhost:1"),
        ("endpointurl", "http://localhost:1", "endpoint_url", "http://localhost:1"),
        ("kinesis.sink.aggregationenabled", "FALSE", "aggregation_enabled", False),
        ("kinesis.executor.aggregationenabled", "false", "aggregation_enabled", False),
        ("kinesis.sink.recordmaxbufferedtimems", "7", "record_max_buffered_time_ms", 7),
        ("kinesis.executor.recordmaxbufferedtime", "7", "record_max_buffered_time_ms", 7),
        ("kinesis.sink.recordttl", "60000", "record_ttl_ms", 60000),
        ("recordttlms", "none", "record_ttl_ms", None),
        ("RECORD_TTL_MS", "60000", "record_ttl_ms", 60000),
        ("kinesis.sink.maxconnections", "3", "max_connections", 3),
        ("kinesis.sink.proxyaddress", "proxy", "proxy_host", "proxy"),
        ("kinesis.sink.proxyport", "8080", "proxy_port", 8080),
        ("verify", "false", "verify", False),
        ("verify", "/ca.pem", "verify", "/ca.pem"),
        ("compression", "gzip", "compression", "gzip"),
        (
            "additional_metrics_dimensions",
            '[["Job", "a", "stream"]]',
            "additional_metrics_dimensions",
            (("Job", "a", "stream"),),
        ),
        ("streams", '{"orders": {"ordered": true}}', "streams", {"orders": {"ordered": True}}),
    ],
)
def test_an_option_sets_a_field(name: str, text: str, field: str, value: object) -> None:
    assert getattr(config(**{name: text}), field) == value


@pytest.mark.parametrize("name", ["streamname", "kinesis.streamname", "stream", "path"])
def test_the_stream_is_a_name_or_an_arn(name: str) -> None:
    arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
    assert [SinkOptions.parse({name: each}).stream for each in ("orders", arn)] == ["orders", arn]


def test_columns_have_options() -> None:
    given = {"column.data": "body", "column.partitionkey": "", "column.stream": "target", "json": "rest"}
    columns = SinkOptions.parse(given).columns
    assert (columns.data, columns.partition_key, columns.stream, columns.json) == ("body", None, "target", "rest")


def test_records_live_longer_than_in_a_producer_of_ones_own() -> None:
    """Because a failed record repeats the whole task."""
    assert (config().record_ttl_ms, config().max_block_ms) == (300_000, 300_000)
    assert config(record_ttl_ms="1000").record_ttl_ms == 1000


def test_options_of_spark_and_of_the_connectors_polling_set_nothing() -> None:
    given = {"checkpointlocation": "/x", "kinesis.sink.flushwaittimems": "100", "awsuseinstanceprofile": "true"}
    assert SinkOptions.parse(given).producer.key == SinkOptions.parse({}).producer.key


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"streamnam": "x"}, "no option streamnam; did you mean streamName"),
        ({"kinesis.regio": "x"}, "did you mean kinesis.region"),
        ({"record_ttl": "1"}, "did you mean record_ttl_ms"),
        ({"frobnicate": "1"}, "docs/distributed.md"),
        ({"recordttlms": "5"}, "option record_ttl_ms: .* at least 100"),
        ({"kinesis.sink.recordttl": "soon"}, "option kinesis.sink.recordTtl must be a whole number, got 'soon'"),
        ({"ordered": "yes"}, "option ordered must be true or false"),
        ({"region": "a", "kinesis.region": "b"}, "different values"),
        ({"path": "orders", "streamname": "logs"}, "different values"),
        ({"session": "x"}, "cannot be given as a text"),
        ({"on_failure": "print"}, "cannot be given as a text"),
        ({"awssecretkey": "x"}, "awsSecretKey needs awsAccessKeyId"),
        ({"awsaccesskeyid": "x"}, "awsAccessKeyId needs awsSecretKey"),
        ({"awssessiontoken": "x"}, "needs awsAccessKeyId"),
        ({"kinesis.stssessionname": "x"}, "needs kinesis.stsRoleArn"),
        ({"kinesis.credentialproviderclass": "X"}, "Java class"),
        ({"streamname": "a b"}, "option streamName: stream must be"),
        ({"streams": "[1]"}, "must be a JSON object"),
        ({"streams": "{"}, "must be JSON"),
        ({"json": "some"}, "json must be"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SinkOptions.parse(options)


def test_no_secret_is_shown() -> None:
    options = SinkOptions.parse(
        {"awsaccesskeyid": "AKIA", "awssecretkey": "hush", "kinesis.sink.proxypassword": "hush"}
    )
    assert "hush" not in repr(options) + repr(options.producer.config())
    with pytest.raises(ConfigError) as caught:
        SinkOptions.parse({"proxy_password": " "})
    assert "' '" not in str(caught.value)


def test_producers_differ_by_their_credentials() -> None:
    pairs = [{"awsaccesskeyid": key, "awssecretkey": "s"} for key in ("AKIA1", "AKIA2", "AKIA1")]
    first, second, third = (pickle.loads(pickle.dumps(SinkOptions.parse(each))).producer.key for each in pairs)
    assert first == third != second


def test_keys_sign_the_requests() -> None:
    kinesis = KinesisBelowBotocore()
    made = config(awsaccesskeyid="AKIA", awssecretkey="s", awssessiontoken="token", region="eu-west-1")
    _put(made, kinesis)
    assert {(call.access_key, call.token) for call in kinesis.calls} == {("AKIA", "token")}


def test_a_role_is_assumed_with_the_keys() -> None:
    kinesis = KinesisBelowBotocore()
    with fake_sts() as sts:
        options = {
            "kinesis.stsrolearn": ROLE,
            "kinesis.stssessionname": "job",
            "kinesis.stsendpointurl": sts.endpoint_url,
        }
        _put(config(**options, awsaccesskeyid="AKIA", awssecretkey="s", region="eu-west-1"), kinesis)
        assert [(each["RoleArn"], each["RoleSessionName"]) for each in sts.asked] == [(ROLE, "job")]
    assert {(call.access_key, call.token) for call in kinesis.calls} == {("ASIA1", "token 1")}


def _put(made: Any, kinesis: KinesisBelowBotocore) -> None:
    from kplpy import Producer

    kinesis.attach(made.session)
    with Producer(made) as producer:
        producer.put_record("orders", b"x", "k").result(30)


@pytest.mark.parametrize(
    "text",
    [
        None,  # whatever is installed here
        "raise ImportError('no pyspark')",
        "raise RuntimeError('a broken one')",
        "",  # an old pyspark, without data sources
    ],
)
def test_the_module_that_spark_imports_never_fails(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "pyspark" / "sql").mkdir(parents=True)
        (tmp_path / "pyspark" / "__init__.py").write_text(text)
        (tmp_path / "pyspark" / "sql" / "__init__.py").write_text("")
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import pyspark_kplpy as found\n"
    program += "print([name for name in vars(found) if not name.startswith('__')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in (["[]\n"] if text is not None else ["[]\n", "['DefaultSource']\n"])
