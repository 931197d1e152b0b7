"""The reprs show what a person needs, and never the payload."""

from __future__ import annotations

import pytest

from kplpy import Attempt, Config, ConfigError, Producer, RecordResult, UserRecord
from kplpy.core.exchange import RequestError
from tests.stub_service import PATIENCE, install

SECRET = b"a secret of the customer's"


def test_a_user_record_shows_its_size_and_key() -> None:
    assert repr(UserRecord(SECRET, "k")) == f"UserRecord(<{len(SECRET)} bytes>, partition_key='k')"
    read = UserRecord(SECRET, "k", "7", sequence_number="4711", sub_sequence_number=0)
    assert repr(read).endswith(
        "partition_key='k', explicit_hash_key='7', sequence_number='4711', sub_sequence_number=0)"
    )


def test_a_result_shows_where_and_how() -> None:
    good = Attempt(1.0, 0.1, True, None, None, 0.0)
    bad = Attempt(1.0, 0.1, False, "InternalFailure", "so", 0.0)
    assert repr(RecordResult("shard-1", "4711", (good,), False)) == (
        "RecordResult(shard_id='shard-1', sequence_number='4711', attempts=1, possible_duplicate=False)"
    )
    assert repr(RecordResult("shard-1", "4711", (bad, good), True)) == (
        "RecordResult(shard_id='shard-1', sequence_number='4711', attempts=2 (failed: InternalFailure), "
        "possible_duplicate=True)"
    )


def test_a_producer_its_futures_results_and_errors_never_show_the_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = install(monkeypatch)
    stub.refuse["bad"] = RequestError("InvalidArgumentException", "I do not like it", maybe_written=False)
    producer = Producer(record_max_buffered_time_ms=0)
    assert repr(producer) == "<Producer no streams yet: 0 records outstanding>"
    stub.hold()
    pending = producer.put_record("orders", SECRET, "k")
    assert "1 records outstanding" in repr(producer)
    assert repr(pending).startswith("<RecordFuture orders 'k' pending for 0.")
    shown = [repr(producer), repr(pending)]
    stub.let_go()
    shown.append(repr(pending.result(PATIENCE)))
    shown.append(repr(pending))
    failed = producer.put_record("bad", SECRET, "k")
    error = failed.exception(PATIENCE)
    shown += [repr(failed), repr(error), str(error)]
    assert "delivered to shard-0, sequence number 1" in shown[3]
    assert "InvalidArgumentException: I do not like it" in shown[4]
    for text in shown:
        assert "secret" not in text
        assert len(text) < 400
    for number in range(50):
        producer.put_record(f"stream-{number:02d}", SECRET, "k")
    assert "bad, orders, stream-00, stream-01, stream-02 and 47 more streams: " in repr(producer)
    producer.close()
    assert repr(producer).endswith("streams: closed>")


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("endpoint_url", "http://me:secret@127.0.0.1:4567", "'http://***@127.0.0.1:4567'"),
        ("endpoint_url", "https://me:secret/cr@et@host", None),
        ("cloudwatch_endpoint_url", "http://me:secret@cw", "'http://***@cw'"),
        ("proxy_host", "me:secret@proxy", "'***@proxy'"),
        ("proxy_password", "secret", None),
        ("endpoint_url", "http://127.0.0.1:4567", "'http://127.0.0.1:4567'"),
    ],
)
def test_a_config_shows_no_password(field: str, value: str, shown: str | None) -> None:
    try:
        text = repr(Config(**{field: value}))  # type: ignore[arg-type]
        assert text.startswith("Config(region_name=None, endpoint_url=")
    except ConfigError as error:
        text = str(error)
    assert shown is None or f"{field}={shown}, " in text
    assert "secret" not in text
    assert "cr@et" not in text


def test_a_refused_config_shows_no_password() -> None:
    with pytest.raises(ConfigError, match=r"got 'ftp://\*\*\*@host'") as refused:
        Config(endpoint_url="ftp://me:secret@host")
    assert "secret" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"got {'endpoint_url': 'http://\*\*\*@host'}"):
        Producer({"endpoint_url": "http://me:secret@host"})  # type: ignore[call-overload]
