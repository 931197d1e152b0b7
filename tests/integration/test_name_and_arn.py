"""A stream that is put by its name and by its ARN: one pipeline, once the service has said that it is one stream."""

from __future__ import annotations

from collections import Counter

import pytest

from kplpy import FlushTimeoutError, Producer
from kplpy.core.routing.placement import Summary
from tests.inside import gauges_of, the_stream
from tests.integration.reading import wait_until
from tests.local_stream import contents, local, producing
from tests.stub_service import PATIENCE, StubService, install


def arn_of(account: str = "123456789012", name: str = "orders") -> str:
    return f"arn:aws:kinesis:eu-west-1:{account}:stream/{name}"


ARN, ANOTHERS = arn_of(), arn_of("999999999999")


class Service(StubService):
    """Says the ARNs of its streams, of the first account."""

    tells = True

    def describe(self, name: str, arn: str | None) -> Summary:
        told = arn or arn_of(name=name)
        return Summary("USER_PARTITION_KEY", 1, arn=told if self.tells else None)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    install(monkeypatch)
    service = Service()
    monkeypatch.setattr("kplpy.aws.kinesis.transport.KinesisTransport", lambda config: service)
    return service


def producer_for(**fields: object) -> Producer:
    return Producer(**{"record_max_buffered_time_ms": 1, **fields})  # type: ignore[call-overload, no-any-return]


def test_first_by_name(service: Service) -> None:
    with producer_for() as producer:
        by_name = producer.put_record("orders", b"1", "k")
        by_name.result(PATIENCE)
        by_arn = producer.put_record(ARN, b"2", "k")
        by_arn.result(PATIENCE)
        assert by_name.stream == by_arn.stream == "orders"
        assert [each.stream for each in service.sent()] == ["orders", "orders"]
        metrics = producer.metrics()
        assert list(metrics) == ["orders"]
        assert metrics["orders"].user_records_put == metrics[ARN].user_records_put == 2
        assert ARN in metrics
        assert metrics.find("UserRecordsPut", stream=ARN) == metrics.find("UserRecordsPut", stream="orders")
        assert metrics.find("UserRecordsPut", stream=ARN).count == 2
        assert repr(producer).startswith("<Producer orders: ")


def test_first_by_arn(service: Service) -> None:
    """What is put by name before the service has said its ARN is delivered by itself, and counted with the rest."""
    with producer_for() as producer:
        producer.put_record(ARN, b"1", "k").result(PATIENCE)
        producer.put_record("orders", b"2", "k").result(PATIENCE)
        wait_until(lambda: list(producer.metrics()) == [ARN])
        later = producer.put_record("orders", b"3", "k")
        later.result(PATIENCE)
        assert later.stream == ARN
        assert [each.stream for each in service.sent()] == [ARN, "orders", ARN]
        metrics = producer.metrics()
        assert metrics["orders"] == metrics[ARN]
        assert metrics[ARN].user_records_put == 3
        assert metrics[ARN].listings == 2
        assert repr(producer).startswith(f"<Producer {ARN}: ")
        assert list(gauges_of(producer).streams) == [ARN]


def test_flush_by_either_waits_for_what_was_put_by_both(service: Service) -> None:
    with producer_for(record_max_buffered_time_ms=60_000) as producer:
        first = producer.put_record(ARN, b"1", "k")
        second = producer.put_record("orders", b"2", "k")
        wait_until(lambda: list(producer.metrics()) == [ARN])
        service.hold()
        for given in ("orders", ARN):
            with pytest.raises(FlushTimeoutError) as raised:
                producer.flush(given, timeout=0.01)
            assert raised.value.remaining == 2
        service.let_go()
        producer.flush("orders", timeout=PATIENCE)
        assert first.done()
        assert second.done()


def test_flush_by_arn_of_what_was_put_by_name(service: Service) -> None:
    with producer_for() as producer:
        producer.put_record("orders", b"1", "k").result(PATIENCE)
        service.hold()
        future = producer.put_record("orders", b"2", "k")
        with pytest.raises(FlushTimeoutError):
            producer.flush(ARN, timeout=0.01)
        producer.flush(ANOTHERS, timeout=PATIENCE)  # was not put to
        service.let_go()
        producer.flush(ARN, timeout=PATIENCE)
        assert future.done()


def test_streams_of_one_name_in_two_accounts_stay_apart(service: Service) -> None:
    with producer_for() as producer:
        for _ in range(2):
            for given in (ARN, ANOTHERS, "orders"):
                producer.put_record(given, b"x", "k").result(PATIENCE)
            wait_until(lambda: len(producer.metrics()) == 2)
        assert Counter(each.stream for each in service.sent()) == {ARN: 3, ANOTHERS: 2, "orders": 1}
        assert producer.metrics()[ANOTHERS].user_records_put == 2
        assert producer.metrics()["orders"].user_records_put == 4


def test_where_the_service_does_not_say_they_are_two(service: Service) -> None:
    """Nothing else could tell: the other may be another account's."""
    service.tells = False
    with producer_for() as producer:
        for given in ("orders", ARN, "orders", ARN):
            producer.put_record(given, b"x", "k").result(PATIENCE)
        assert set(producer.metrics()) == {"orders", ARN}
        assert Counter(each.stream for each in service.sent()) == {ARN: 2, "orders": 2}


def test_together_they_have_one_share_of_the_room(service: Service) -> None:
    with producer_for(max_buffered_records=400, on_buffer_full="raise") as producer:
        producer.put_record("orders", b"x", "k").result(PATIENCE)
        service.hold()
        for given in ("orders", ARN) * 100:
            producer.put_record(given, b"x", "k")
        assert producer.outstanding_records == 200
        wait_until(lambda: the_stream(producer).outstanding() == 200)  # the first is settled after its result
        service.let_go()


@pytest.mark.parametrize("order", [("by name", "by ARN"), ("by ARN", "by name")])
def test_with_the_local_kinesis(order: tuple[str, str]) -> None:
    with local() as kinesis, producing(kinesis) as producer:
        arn = kinesis.client().describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]["StreamARN"]
        given = {"by name": "orders", "by ARN": arn}
        for each in order * 2:
            producer.put_record(given[each], each.encode(), "k").result(PATIENCE)
            if len(producer.metrics()) == 2:
                wait_until(lambda: len(producer.metrics()) == 1)
        assert contents(kinesis) == Counter({b"by name": 2, b"by ARN": 2})
        assert producer.metrics()["orders"] == producer.metrics()[arn]
        assert producer.metrics()["orders"].user_records_put == 4
