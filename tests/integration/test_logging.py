"""Log records on a stream: they arrive, also at exit and from forked children. Logging neither recurses nor waits."""

from __future__ import annotations

import logging
import logging.config
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kplpy import ConfigError, InvalidRecordError, Producer, RecordFuture
from kplpy.integrations.logging import KinesisHandler
from kplpy.local import LocalKinesis
from tests.inside import be_forked_child, drops_of, logging_handlers_kept, producer_of
from tests.integration.reading import read_all, wait_until
from tests.integration.test_exit import ends, start
from tests.local_stream import PATIENCE, local, producing
from tests.stub_service import install


@pytest.fixture(scope="module")
def kinesis() -> Iterator[LocalKinesis]:
    with LocalKinesis(shards=2, limits=False) as running:
        yield running


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger that only has the handlers that the test adds."""
    logger = logging.getLogger("shop.orders")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger at DEBUG, whose handlers get the lines of botocore and urllib3."""
    logger = logging.getLogger()
    before, level = list(logger.handlers), logger.level
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers[:] = before
    logger.setLevel(level)


def test_log_records_become_records(log: logging.Logger) -> None:
    with local() as kinesis:
        handler = KinesisHandler(
            "orders", endpoint_url=kinesis.endpoint_url, partition_key=lambda record: record.name, terminator="\n"
        )
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        log.addHandler(handler)
        log.info("order %d", 7)
        # UTF-8 has no lone surrogates. pytest's own handler would fail too.
        handler.handle(log.makeRecord(log.name, logging.WARNING, "shop.py", 1, "zwölf \ud800", (), None))
        handler.flush()
        got = read_all(kinesis, "orders")
        assert [each.data for each in got] == [b"INFO order 7\n", "WARNING zwölf \\ud800\n".encode()]
        assert {each.partition_key for each in got} == {"shop.orders"}
        log.info("last")
        handler.close()
        assert len(read_all(kinesis, "orders")) == 3
        log.info("after the end")  # no error, and it is not sent
        assert handler.dropped == 1


def test_what_kplpy_and_botocore_log_is_not_sent(root: logging.Logger) -> None:
    """At DEBUG each request logs some 30 lines, on kplpy's threads and, while closing, on others."""
    with local() as kinesis, producing(kinesis) as producer:
        seen: list[str] = []
        watcher = logging.Handler()
        watcher.emit = lambda record: seen.append(record.name)  # type: ignore[method-assign]
        handler = KinesisHandler("orders", producer=producer)
        root.addHandler(handler)
        root.addHandler(watcher)
        logging.getLogger("shop").info("one")
        handler.flush()
        logging.getLogger("botocore.hooks").warning("by any thread")
        logging.getLogger("urllib3").warning("likewise")
        producer.put_record("orders", b"x", "k").add_done_callback(lambda _: logging.getLogger("shop").info("callback"))
        producer.flush(timeout=PATIENCE)
        handler.flush()
        assert {name.partition(".")[0] for name in seen} >= {"botocore", "urllib3", "shop"}
        assert sorted(each.data for each in read_all(kinesis, "orders")) == [b"one", b"x"]
        root.removeHandler(handler)


def test_with_a_full_buffer_it_drops_counts_and_reports(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stub = install(monkeypatch)
    stub.hold()
    with Producer(max_buffered_records=10, on_buffer_full="block", max_block_ms=600_000) as producer:
        handler = KinesisHandler("logs", producer=producer)
        log.addHandler(handler)
        for number in range(100):
            log.info("%d", number)  # if it waited, the test would time out
        assert 80 <= handler.dropped <= 95
        lines = [each.getMessage() for each in caplog.records if each.name == "kplpy.integrations.logging"]
        assert len(lines) == 1
        assert lines[0].startswith("1 log records dropped; the latest: BufferFullError: no buffer space for a record")
        stub.let_go()
        handler.close()
        assert f"{handler.dropped - 1} log records dropped" in caplog.text


def test_a_record_that_is_too_large_is_dropped(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(monkeypatch)
    handler = KinesisHandler("logs", max_user_record_size=100)
    log.addHandler(handler)
    log.info("x" * 101)
    assert handler.dropped == 1
    assert "at most 100 bytes" in caplog.text
    handler.close()


def test_kplpys_warnings_are_shown_if_no_other_handler_would(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With only this handler on the root logger, Python's last resort would be silent."""
    install(monkeypatch)
    root = logging.getLogger()
    before = list(root.handlers)
    handler = KinesisHandler("logs")
    second = KinesisHandler("logs", producer=producer_of(handler))
    try:
        root.handlers[:] = [handler, second]
        logging.getLogger("kplpy.test").warning("two lines")
        logging.getLogger("kplpy.runtime").info("not worth it")
        logging.getLogger("botocore").warning("not ours")
    finally:
        root.handlers[:] = before
        handler.close()
    assert capsys.readouterr().err == "two lines\n"


def test_a_thread_that_puts_never_waits_for_a_thread_that_logs(log: logging.Logger, kinesis: LocalKinesis) -> None:
    """kplpy's threads log and go on while another thread holds the handler's lock."""
    root = logging.getLogger()
    with producing(kinesis) as producer:
        handler = KinesisHandler("test", producer=producer)
        root.addHandler(handler)
        level, library = root.level, logging.getLogger("botocore").level
        root.setLevel(logging.DEBUG)
        try:
            with handler.lock:  # type: ignore[union-attr]
                producer.put_record("test", b"x", "k").result(PATIENCE)
        finally:
            root.setLevel(level)
            logging.getLogger("botocore").setLevel(library)
            root.removeHandler(handler)


def test_dict_config(kinesis: LocalKinesis) -> None:
    """A second dictConfig closes the first handler under logging's own lock. Its records are delivered all the same."""
    config: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "%(message)s"}},
        "handlers": {
            "stream": {
                "class": "kplpy.integrations.logging.KinesisHandler",
                "stream": "test",
                "endpoint_url": kinesis.endpoint_url,
                "record_max_buffered_time_ms": 60_000,
                "partition_key": "dict config",
                "formatter": "short",
                "level": "INFO",
            }
        },
        "loggers": {"shop.configured": {"handlers": ["stream"], "level": "DEBUG", "propagate": False}},
    }
    log = logging.getLogger("shop.configured")
    with logging_handlers_kept():
        try:
            logging.config.dictConfig(config)
            (first,) = log.handlers
            log.debug("not this")
            log.info("first")
            logging.config.dictConfig(config)
            log.info("second")
            (second,) = log.handlers
            assert second is not first
            second.close()
            wait_until(lambda: len(of_key(kinesis, "dict config")) == 2)
        finally:
            log.handlers.clear()
    assert sorted(of_key(kinesis, "dict config")) == [b"first", b"second"]


def of_key(kinesis: LocalKinesis, key: str) -> list[bytes]:
    return [each.data for each in read_all(kinesis) if each.partition_key == key]


LOGGING = """
import logging, os, sys
from kplpy.integrations.logging import KinesisHandler
handler = KinesisHandler("test", endpoint_url=sys.argv[1], region_name="us-east-1", partition_key=sys.argv[2])
logging.basicConfig(level=logging.DEBUG, handlers=[handler], format="%(message)s")
log = logging.getLogger("shop")
"""
ENDS = {
    "returns": ("log.info('x')", [b"x"]),
    "logs at the exit": ("import atexit; atexit.register(log.info, 'x'); log.info('y')", [b"x", b"y"]),
    "shut down by hand": ("log.info('x'); logging.shutdown()", [b"x"]),
    "never logged": ("pass", []),
    "forks": (
        """
log.info('parent')
child = os.fork()
log.info('child' if not child else 'parent again')
if child: assert os.waitpid(child, 0)[1] == 0
""",
        [b"child", b"parent", b"parent again"],
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_at_the_end_of_a_process(kinesis: LocalKinesis, end: str) -> None:
    script, lines = ENDS[end]
    if "fork" in script and not hasattr(os, "fork"):
        pytest.skip("no fork")
    if "fork" in script and sys.version_info >= (3, 12):
        script = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)" + script  # threads and a fork
    code, _, stderr = ends(start(LOGGING + script, kinesis.endpoint_url, end))
    assert (code, stderr) == (0, "")
    assert sorted(of_key(kinesis, end)) == lines


def log_many(log: logging.Logger, number: int) -> None:
    for n in range(200):
        log.info("%d %d", number, n)


def test_many_threads_log(log: logging.Logger, kinesis: LocalKinesis) -> None:
    handler = KinesisHandler("test", endpoint_url=kinesis.endpoint_url, partition_key="threads")
    log.addHandler(handler)
    threads = [threading.Thread(target=log_many, args=(log, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.close()
    assert sorted(of_key(kinesis, "threads")) == sorted(b"%d %d" % (n, i) for n in range(4) for i in range(200))


def test_errors_of_formatters_and_key_functions_go_to_handle_error(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch)
    handler = KinesisHandler("logs", partition_key=lambda record: 1 / 0)  # type: ignore[arg-type,return-value]
    handler.handle(log.makeRecord("shop", logging.INFO, "shop.py", 1, "x", (), None))
    handler.handle(log.makeRecord("shop", logging.INFO, "shop.py", 1, "%d", ("no number",), None))
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error
    assert "TypeError: %d format" in error
    handler.close()


def test_bad_arguments_raise_at_construction() -> None:
    with pytest.raises(InvalidRecordError, match="stream must be a stream's ARN"):
        KinesisHandler("no/name")
    with pytest.raises(ConfigError, match="there is no Config field 'regio_name'; did you mean region_name"):
        KinesisHandler("logs", regio_name="eu-west-1")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="partition_key must be a str, a function or None, got 7"):
        KinesisHandler("logs", partition_key=7)  # type: ignore[arg-type]
    with (
        Producer(region_name="us-east-1") as producer,
        pytest.raises(TypeError, match="not both: region_name"),
    ):
        KinesisHandler("logs", producer=producer, region_name="us-east-1")
    assert repr(KinesisHandler("logs", region_name="us-east-1")) == "<KinesisHandler logs (NOTSET)>"


def test_drops_in_a_forked_child_are_reported_by_the_child(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a fork the child counts its own drops, without the parent's."""
    install(monkeypatch)
    handler = KinesisHandler("logs", max_user_record_size=100)
    log.addHandler(handler)
    parents = drops_of(handler)
    be_forked_child(monkeypatch, parents)
    assert parents.forked
    log.info("x" * 101)
    assert "1 log records dropped" in caplog.text
    assert drops_of(handler) is not parents
    handler.close()


def test_futures_of_log_records_are_not_kept(log: logging.Logger, kinesis: LocalKinesis) -> None:
    import gc

    def futures() -> list[RecordFuture]:
        return [each for each in gc.get_objects() if type(each) is RecordFuture]

    others = futures()  # of earlier tests; kept, so that no id is used again
    known = set(map(id, others))
    handler = KinesisHandler("test", endpoint_url=kinesis.endpoint_url)
    log.addHandler(handler)
    for _ in range(100):
        log.info("x")
    handler.close()
    gc.collect()
    assert not [each for each in futures() if id(each) not in known]
