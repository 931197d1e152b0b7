"""Agent: follows log files and sends their records, on one thread for all flows."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from kplpy import KplpyError
from kplpy.agent.configuration import from_mapping, load
from kplpy.agent.settings import AgentSettings
from kplpy.agent.work import REST_S, Work
from kplpy.metrics.sample import Sink

ANSWER_S = 5.0
"""Seconds that a caller of another thread waits for the agent's thread."""

Config = AgentSettings | Mapping[str, Any] | str | os.PathLike[str]


class Agent:
    """Sends the records of log files to Kinesis streams and Firehose delivery streams, as an agent.json says.

    config: the path of an agent.json, a dict with its keys, or AgentSettings.
    metrics_sink: gets the agent's windows of metrics instead of CloudWatch; see Config.metrics_sink. Then emit_metrics
        does not count.

    Use start() and stop(), or a `with` block, which do the work on the thread kplpy-agent. run_once() does it on the
    calling thread. Positions are kept in the checkpoint file, so the next agent continues where this one ended.

    Raises ConfigError, which names the key and the rule.
    """

    def __init__(self, config: Config, *, metrics_sink: Sink | None = None) -> None:
        self.settings = settings_of(config)
        self._metrics_sink = metrics_sink
        self._thread: threading.Thread | None = None
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wake = threading.Event()
        self._is_stopping = False
        self._drain_until = 0.0
        self._work: Work | None = None
        self._is_drained = True

    # --- for any thread ---

    def start(self) -> None:
        """Open the checkpoints and begin to follow the files, on a thread of its own.

        Raises CheckpointError if the checkpoint file is damaged, unwritable or in use by another agent.
        """
        if self._thread is not None:
            raise KplpyError("the agent was started already")
        opened = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            try:
                self._open()
            except BaseException as error:
                failure.append(error)
                return
            finally:
                opened.set()
            self._run()

        thread = threading.Thread(target=run, name="kplpy-agent", daemon=True)
        thread.start()
        opened.wait()
        if failure:
            thread.join()
            raise failure[0]
        self._thread = thread

    def stop(self, timeout: float | None = None) -> bool:
        """Stop reading, deliver what was read, keep the positions, and end.

        timeout: seconds for the delivery; None: shutdownTimeoutMillis. What is left then is sent by the next agent.
        Returns True if nothing was left.
        """
        self._begin_stop(timeout)
        thread = self._thread
        if thread is not None:
            thread.join()
        return self._is_drained

    def _begin_stop(self, timeout: float | None) -> None:
        seconds = self.settings.shutdown_timeout_ms / 1000 if timeout is None else timeout
        self._drain_until = time.monotonic() + seconds
        self._is_stopping = True
        self._wake.set()

    @property
    def is_running(self) -> bool:
        """True from start() until the agent has ended."""
        return self._thread is not None and self._thread.is_alive()

    def reload(self, config: Config) -> None:
        """Follow another configuration from now on: flows are added, removed and changed.

        Flows that are unchanged go on undisturbed. Raises ConfigError, and the old configuration stays.
        """
        settings = settings_of(config)
        self._ask(lambda work: work.reload(settings, time.monotonic()))
        self.settings = settings

    def status(self) -> dict[str, Any]:
        """Return the state of each flow and its files, as `kplpy agent status --json` prints it."""
        found: dict[str, Any] = self._ask(lambda work: work.status())
        return found

    def _ask(self, question: Callable[[Work], Any]) -> Any:
        """Have the agent's thread answer, and return or raise what it did."""
        if self._thread is None or not self._thread.is_alive() or threading.current_thread() is self._thread:
            if self._work is None:
                raise KplpyError("the agent is not running")
            return question(self._work)
        answered = threading.Event()
        answer: list[Any] = []

        def command() -> None:
            try:
                work = self._work
                answer.append(None if work is None else question(work))
            except BaseException as error:
                answer.append(error)
            answered.set()

        self._commands.put(command)
        self._wake.set()
        until = time.monotonic() + ANSWER_S
        while not answered.wait(0.1):
            if not self._thread.is_alive():
                raise KplpyError("the agent has ended")
            if time.monotonic() > until:
                raise KplpyError(f"the agent's thread did not respond within {ANSWER_S:g} s")
        if isinstance(answer[0], BaseException):
            raise answer[0]
        return answer[0]

    def __enter__(self) -> Agent:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    # --- on the agent's thread ---

    def run_once(self, timeout: float | None = None) -> bool:
        """Read what is there, deliver it, keep the positions, and end. Runs on the calling thread.

        Unterminated last lines stay for the next time. timeout: seconds; None: until all is delivered. Returns True if
        all was.
        """
        if self._thread is not None:
            raise KplpyError("the agent was started already")
        until = None if timeout is None else time.monotonic() + timeout
        work = self._open()
        try:
            work.read_to_the_end(until, lambda: self._is_stopping)
        finally:
            self._close(work)
        return self._is_drained

    def _open(self) -> Work:
        self._work = Work(self.settings, self._metrics_sink, self._snapshot)
        return self._work

    def _snapshot(self) -> bytes:
        return json.dumps(self.status()).encode()

    def _run(self) -> None:
        work = self._work
        assert work is not None
        try:
            while not self._is_stopping:
                try:
                    pause = work.turn(time.monotonic())
                except Exception as error:
                    work.raised(error)
                    pause = REST_S
                if pause > 0 and not self._is_stopping:
                    self._wake.wait(pause)
                    self._wake.clear()
                while not self._commands.empty():
                    self._commands.get()()
        finally:
            self._close(work)

    def _close(self, work: Work) -> None:
        try:
            self._is_drained = work.drain(self._drain_until)
        finally:
            work.close()


def settings_of(config: Config) -> AgentSettings:
    """Return the checked settings of a path, a mapping or AgentSettings."""
    if isinstance(config, AgentSettings):
        return config
    if isinstance(config, Mapping):
        return from_mapping(config)
    return load(config)
