"""PutRecords in CBOR: the same records, answers and errors, and JSON where CBOR is not understood."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from kplpy import ConfigError, Producer, RecordFailedError
from kplpy.local import Fault
from kplpy.local.model.errors import ServiceError
from kplpy.local.server import codec
from tests.local_stream import PATIENCE, contents, local, producing


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The content types of the PutRecords requests that come in."""
    seen: list[str] = []
    decode = codec.decode

    def noting(content_type: str, operation: str, body: bytes) -> dict[str, Any]:
        if operation == "PutRecords":
            seen.append(content_type)
        return decode(content_type, operation, body)

    monkeypatch.setattr(codec, "decode", noting)
    return seen


@pytest.mark.parametrize("aggregation", [True, False])
@pytest.mark.parametrize("https", [True, False])
def test_all_records_arrive(kinds: list[str], aggregation: bool, https: bool) -> None:
    rng = random.Random(7)
    records = [rng.randbytes(rng.choice([0, 1, 100, 3000])) for _ in range(2000)]
    with (
        local(shards=4, https=https) as kinesis,
        producing(kinesis, request_format="cbor", aggregation_enabled=aggregation) as producer,
    ):
        futures = [producer.put_record("orders", each, f"kü-{n % 50}") for n, each in enumerate(records)]
        futures.append(producer.put_record("orders", b"no key"))
        futures.append(producer.put_record("orders", b"x" * 600_000, "large"))
        futures.append(producer.put_record("orders", b"hash", "k", explicit_hash_key=2**128 - 1))
        for future in futures:
            assert not future.result(PATIENCE).possible_duplicate
        assert contents(kinesis) == Counter([*records, b"no key", b"x" * 600_000, b"hash"])
    assert set(kinds) == {codec.CBOR}


def test_entries_that_are_refused_are_sent_again() -> None:
    with local() as kinesis, producing(kinesis, request_format="cbor") as producer:
        kinesis.faults.fail_entries("ProvisionedThroughputExceededException")
        attempts = producer.put_record("orders", b"data", "k").result(PATIENCE).attempts
        assert [each.error_code for each in attempts] == ["ProvisionedThroughputExceededException", None]
        assert contents(kinesis) == Counter([b"data"])


def test_an_error_has_its_code_and_message() -> None:
    with local() as kinesis, producing(kinesis, request_format="cbor") as producer:
        kinesis.faults.fail("KMSDisabledException", "the key is off")
        attempts = producer.put_record("orders", b"data", "k").result(PATIENCE).attempts
        assert (attempts[0].error_code, attempts[0].error_message) == ("KMSDisabledException", "the key is off")


@pytest.mark.parametrize("transport", ["empty", "garbage"])
def test_an_answer_that_makes_no_sense(transport: Any) -> None:
    with local() as kinesis, producing(kinesis, request_format="cbor") as producer:
        kinesis.faults.add(Fault(transport=transport))
        assert producer.put_record("orders", b"data", "k").result(PATIENCE).possible_duplicate


def test_where_cbor_is_not_understood_json_is_sent(
    kinds: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    decode = codec.decode

    def knows_json_alone(content_type: str, operation: str, body: bytes) -> dict[str, Any]:
        params = decode(content_type, operation, body)
        if content_type != codec.JSON:
            raise ServiceError("SerializationException", "what is this?")
        return params

    monkeypatch.setattr(codec, "decode", knows_json_alone)
    with local() as kinesis, producing(kinesis, request_format="cbor") as producer:
        for n in range(3):
            result = producer.put_record("orders", b"%d" % n, "k").result(PATIENCE)
            assert len(result.attempts) == 1
            assert not result.possible_duplicate
        assert contents(kinesis) == Counter([b"0", b"1", b"2"])
    assert kinds == [codec.CBOR, codec.JSON, codec.JSON, codec.JSON]
    told = [each for each in caplog.records if getattr(each, "kplpy", {}).get("event") == "cbor_refused"]
    assert [(each.levelname, each.kplpy["code"]) for each in told] == [("WARNING", "SerializationException")]  # type: ignore[attr-defined]


def test_what_json_does_not_help_with_is_told_as_it_is(kinds: list[str]) -> None:
    """A refusal of CBOR and of the JSON after it: the record fails with the service's word."""
    with local() as kinesis, producing(kinesis, request_format="cbor") as producer:
        kinesis.faults.fail("SerializationException", times=2)
        error = producer.put_record("orders", b"data", "k").exception(PATIENCE)
    assert kinds == [codec.CBOR, codec.JSON]
    assert isinstance(error, RecordFailedError)
    assert error.attempts[-1].error_code == "SerializationException"


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kplpy.aws.kinesis.transport.find_spec", {}.get)
    with pytest.raises(ConfigError, match=r"request_format='cbor' needs cbor2: pip install 'kplpy\[cbor\]'"):
        Producer(request_format="cbor")
