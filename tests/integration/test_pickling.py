"""A Producer that is copied or pickled becomes a new producer, or the error says why it cannot."""

from __future__ import annotations

import copy
import io
import marshal
import multiprocessing
import pickle
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CellType, CodeType, FunctionType
from typing import Any

import boto3
import botocore.config
import pytest

from kplpy import Config, ConfigError, KplpyError, NotPicklableError, Producer
from kplpy.dead_letters import DeadLetterFile, DeadLetterStream
from tests.local_stream import PATIENCE, contents, local, producing
from tests.stub_service import install


def by_pickle(producer: Producer) -> Producer:
    made = pickle.loads(pickle.dumps(producer))
    assert isinstance(made, Producer)
    return made


WAYS: dict[str, Callable[[Producer], Producer]] = {
    "pickle": by_pickle,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_a_new_producer_of_the_same_config(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    service = install(monkeypatch)
    service.hold()
    with Producer(region_name="eu-west-1", record_ttl_ms=None, record_max_buffered_time_ms=1) as producer:
        producer.put_record("orders", b"the first one's", "k")
        with WAYS[way](producer) as made:
            assert made is not producer
            assert made.config == producer.config
            assert made.outstanding_records == 0
            future = made.put_record("orders", b"the copy's", "k")
            service.let_go()
            assert future.exception(PATIENCE) is None
        assert producer.put_record("orders", b"after the copy's end", "k").exception(PATIENCE) is None
    with WAYS[way](producer) as made:  # a closed producer can be copied too
        assert made.put_record("orders", b"open", "k").exception(PATIENCE) is None
    assert len(service.sent()) == 4


@pytest.mark.parametrize("way", ["copy", "deepcopy"])
def test_copies_within_a_process_share_what_cannot_be_pickled(way: str) -> None:
    producer = Producer(session=boto3.Session(region_name="eu-west-1"), on_failure=lambda error: None)
    assert WAYS[way](producer).config is producer.config


def test_ready_made_on_failures_are_pickled_too(tmp_path: Path) -> None:
    otherwise = DeadLetterFile(tmp_path / "failed.jsonl")
    made = by_pickle(Producer(on_failure=DeadLetterStream("failed", Producer(rate_limit=7), otherwise=otherwise)))
    letters = made.config.on_failure
    assert isinstance(letters, DeadLetterStream)
    assert isinstance(letters.otherwise, DeadLetterFile)
    assert letters.otherwise.path == otherwise.path
    assert isinstance(letters.producer, Producer)
    assert letters.producer.config == Config(rate_limit=7)


def test_a_pickled_config_has_what_was_set_and_is_checked_again() -> None:
    config = Config(rate_limit=50, record_ttl_ms=None, metrics_sink="emf", session=None)
    assert pickle.loads(pickle.dumps(config)) == config
    assert b"max_connections" not in pickle.dumps(config)
    with pytest.raises(ConfigError, match="rate_limit must be at least 1, got 0"):
        pickle.loads(pickle.dumps(config).replace(b"\x8c\nrate_limit\x94K2", b"\x8c\nrate_limit\x94K\0"))
    assert pickle.loads(pickle.dumps(Config(botocore_config=botocore.config.Config(user_agent_extra="me")))).rate_limit


class ASink:
    def __init__(self) -> None:
        self.file = io.StringIO()

    def __getstate__(self) -> Any:
        raise ValueError("I will not")

    def emit(self, window: object) -> None:
        pass


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session", boto3.Session(region_name="eu-west-1")),
        ("metrics_session", boto3.Session(region_name="eu-west-1")),
        ("on_failure", lambda error: None),
        ("metrics_sink", ASink()),
        ("value_serializer", lambda value: b""),
        ("key_serializer", lambda key: ""),
    ],
)
def test_the_error_names_what_cannot_be_pickled_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, field: str, value: object
) -> None:
    monkeypatch.delitem(sys.modules, "cloudpickle", raising=False)
    said = rf"with {field}=.* cannot be sent to another process \(.+\): make it there, once in each process"
    producer = Producer(**{field: value})  # type: ignore[call-overload]
    for each in (producer, producer.config, DeadLetterStream("failed", producer)):
        with pytest.raises(NotPicklableError, match=said) as raised:
            pickle.dumps(each)
        assert isinstance(raised.value, (KplpyError, TypeError))


class Application:
    """Has a producer whose on_failure it is: a circle."""

    def __init__(self) -> None:
        self.producer = Producer(on_failure=self.failed)

    def failed(self, error: object) -> None:
        pass


def test_a_circle_of_objects_raises_an_error() -> None:
    with pytest.raises(NotPicklableError, match="with on_failure=method"):
        pickle.dumps(Application().producer)


def test_a_future_says_what_to_send_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with Producer(record_max_buffered_time_ms=1) as producer:
        for future in (producer.put_record("orders", b"x", "k"), producer.put_record("orders", b"x")):
            for way in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(
                    NotPicklableError, match=r"of stream 'orders'\): send its result\(\), a RecordResult"
                ):
                    way(future)
            result = future.result(PATIENCE)
            assert pickle.loads(pickle.dumps(result)) == result


def function_of(code: bytes, cells: tuple[object, ...]) -> FunctionType:
    loaded = marshal.loads(code)
    assert isinstance(loaded, CodeType)
    return FunctionType(loaded, {"__builtins__": __builtins__}, closure=tuple(map(CellType, cells)))


class ClosurePickler(pickle.Pickler):
    """Pickles closures with what they hold, as cloudpickle does for Spark, Dask and Ray."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType) and "<" in value.__qualname__:
            cells = tuple(cell.cell_contents for cell in value.__closure__ or ())
            return function_of, (marshal.dumps(value.__code__), cells)
        return NotImplemented


def test_a_closure_is_pickled_with_its_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    service = install(monkeypatch)
    producer = Producer(record_max_buffered_time_ms=1)

    def partition(rows: list[bytes]) -> int:
        with producer:
            return len([future.result(60) for future in producer.put_records("orders", [(row, "k") for row in rows])])

    closure = io.BytesIO()
    ClosurePickler(closure).dump(partition)
    for _ in range(2):  # a worker unpickles the producer for each of its tasks
        assert pickle.loads(closure.getvalue())([b"1", b"2"]) == 2
    assert len(service.sent()) == 4
    producer.put_record("orders", b"still open", "k")
    producer.close()


def put_some(producer: Producer, name: str) -> None:
    """Put records in a child process, whose exit delivers those that nothing waits for."""
    producer.put_record("orders", name.encode(), "k").result(PATIENCE)
    producer.put_record("orders", f"{name}, left to the exit".encode(), "k")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_producer_as_a_process_argument(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    context = multiprocessing.get_context(method)
    with local() as kinesis, producing(kinesis) as producer:
        producer.put_record("orders", b"the parent's", "k")
        child: Any = context.Process(target=put_some, args=(producer, method))  # type: ignore[attr-defined]
        child.start()
        child.join(PATIENCE)
        assert child.exitcode == 0
        producer.flush(timeout=PATIENCE)
        assert contents(kinesis) == Counter([b"the parent's", method.encode(), f"{method}, left to the exit".encode()])
